"""Finding profiles: installed ones by name, others by path. Plug-ins are loaded here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path

from rexecop.app.files import read_folder
from rexecop.operations.errors import ProfileUnknown

GROUP = "rexecop.profiles"
HELLO = "hello"
BUILT_IN = ("adhoc", HELLO)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProfile:
    """The folder of a profile and where it came from."""

    name: str
    source: str
    folder: Path

    @property
    def files(self) -> Mapping[str, bytes]:
        """Its files, read now.

        Raises:
            FileMissing, FileRefused: they cannot be read.
        """
        return read_folder(self.folder)


def find_profile(name: str) -> FoundProfile:
    """Return the profile called `name`, or at the path `name` (its folder or `profile.yaml`).

    Raises:
        ProfileUnknown: neither an installed profile nor a folder with a `profile.yaml`.
    """
    if name in BUILT_IN:
        return FoundProfile(name=name, source="built in", folder=built_in_folder(name))
    installed = _installed()
    if name in installed:
        point = installed[name]
        return FoundProfile(name=name, source=_source(point), folder=profile_folder(point))
    path = Path(name)
    folder = path.parent if path.name == "profile.yaml" else path
    if (folder / "profile.yaml").is_file():
        return FoundProfile(name=folder.name, source=str(folder), folder=folder)
    known = ", ".join(sorted({*BUILT_IN, *installed}))
    raise ProfileUnknown(
        f"no profile `{name}`; installed: {known}, or give a path to a folder with `profile.yaml`",
        profile=name,
        next_steps=("rexecop profile list", "rexecop examples copy"),
    )


def installed_profiles() -> tuple[FoundProfile, ...]:
    """Return every profile that goes by a name."""
    names = sorted({*BUILT_IN, *_installed()})
    return tuple(find_profile(name) for name in names)


@cache
def _installed() -> Mapping[str, EntryPoint]:
    """Return the installed profiles; what is installed is looked up once in a process."""
    return {point.name: point for point in entry_points(group=GROUP)}


def profile_folder(point: EntryPoint) -> Path:
    """Return the folder an installed profile names."""
    root = point.load()
    return Path(root() if callable(root) else root)


def built_in_folder(name: str = HELLO) -> Path:
    """Return the folder of a profile that comes with the package."""
    return Path(str(files("rexecop.app") / "data" / name))


def _source(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
