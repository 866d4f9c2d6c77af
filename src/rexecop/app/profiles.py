"""Finding profiles: installed ones by name, others by path. Plug-ins are loaded here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path

from rexecop.app.files import FolderWatch, read_folder
from rexecop.app.handlers import handlers_beside, handlers_called, named_in_files, package_folder
from rexecop.operations.errors import ProfileUnknown

GROUP = "rexecop.profiles"
HELLO = "hello"
BUILT_IN = ("adhoc", HELLO)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProfile:
    """The folder of a profile and where it came from; `handlers` come with an installed one."""

    name: str
    source: str
    folder: Path
    handlers: EntryPoint | None = None

    @property
    def files(self) -> Mapping[str, bytes]:
        """Its files, read now.

        Raises:
            FileMissing, FileRefused: they cannot be read.
        """
        return {**read_folder(self.folder), **named_in_files(self.handlers)}

    def watches(self) -> tuple[FolderWatch, ...]:
        """Return what tells when something of it changed."""
        code = None if self.handlers is None else package_folder(self.handlers)
        return tuple(FolderWatch(folder) for folder in (self.folder, code) if folder is not None)


def find_profile(name: str) -> FoundProfile:
    """Return the profile called `name`, or at the path `name` (its folder or `profile.yaml`).

    Raises:
        ProfileUnknown: neither an installed profile nor a folder with a `profile.yaml`.
    """
    if name in BUILT_IN:
        return FoundProfile(name=name, source="built in", folder=built_in_folder(name))
    installed = _installed()
    if name in installed:
        point, folder = installed[name], profile_folder(installed[name])
        handlers = handlers_called(name) or handlers_beside(folder)
        return FoundProfile(name=name, source=_source(point), folder=folder, handlers=handlers)
    path = Path(name)
    folder = path.parent if path.name == "profile.yaml" else path
    if (folder / "profile.yaml").is_file():
        # The same profile by its path has the same handlers.
        return FoundProfile(
            name=folder.name, source=str(folder), folder=folder, handlers=handlers_beside(folder)
        )
    known = ", ".join(sorted({*BUILT_IN, *installed}))
    raise ProfileUnknown(
        f"no profile `{name}`; installed: {known}, or give a path to a folder with `profile.yaml`",
        profile=name,
        next_steps=("rexecop profile list", "rexecop examples copy"),
    )


def lasting_name(name: str) -> str:
    """Return what `find_profile` finds the profile `name` by from any folder; raises as it does."""
    found = find_profile(name)
    return str(found.folder.absolute()) if found.source == str(found.folder) else name


def installed_profiles() -> tuple[FoundProfile, ...]:
    """Return every profile that goes by a name."""
    names = sorted({*BUILT_IN, *_installed()})
    return tuple(find_profile(name) for name in names)


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Return the installed profiles; what is installed is looked up once in a process."""
    return {point.name: point for point in entry_points(group=GROUP)}


def profile_folder(point: EntryPoint) -> Path:
    """Return the folder an installed profile names.

    A package that wants what is not installed here cannot say: then it is where packages have it.

    Raises:
        ProfileUnknown: it cannot be imported, and has no such folder.
    """
    try:
        root = point.load()
    except ImportError as error:
        package = package_folder(point)
        if package is None or not (package / "profile" / "profile.yaml").is_file():
            raise ProfileUnknown(
                f"profile `{point.name}` cannot be loaded: {error}", profile=point.name
            ) from error
        return package / "profile"
    return Path(root() if callable(root) else root)


def built_in_folder(name: str = HELLO) -> Path:
    """Return the folder of a profile that comes with the package."""
    return Path(str(files("rexecop.app") / "data" / name))


def _source(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
