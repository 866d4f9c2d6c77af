"""What needs no runtime root: linting, profiles, and the examples that travel in the wheel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final, TypeAlias

from rexecop.app.backends import backends_of
from rexecop.app.errors import FileMissing
from rexecop.app.files import read_file, read_folder, write_folder, write_new
from rexecop.app.handlers import handler_names
from rexecop.app.profiles import built_in_folder, find_profile, installed_profiles
from rexecop.app.views import SignatureView
from rexecop.operations import days, lint
from rexecop.operations.catalogs import effect_of
from rexecop.operations.days import Followed
from rexecop.operations.errors import IntentUnknown, ProfileRefused
from rexecop.operations.golden import FOLDER, Case, golden_cases, run_case
from rexecop.operations.handlers import FILE as HANDLERS
from rexecop.operations.profile import load_profile
from rexecop.operations.profile_model import IntentSpec, Profile
from rexecop.operations.reading import Finding, unknown
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError

SCAFFOLD: Final = "scaffold"
RUNBOOK_MAX: Final = 64 * 1024  # Characters a person in a hurry could still look through.

DAY_BYTES_MAX: Final = 4 * 1024 * 1024  # Some thousands of observations.

DayLine: TypeAlias = Followed
"""One observation of a day, and what follows from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileLine:
    """An installed profile."""

    name: str
    version: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentLine:
    """One thing a profile offers; `effect` is the most far-reaching of its steps.

    `parameters` has for each its type and whether it is required, in words. The rest is what the
    profile tells operators; `failures` has by class what to make of one.
    """

    name: str
    effect: str
    title: str
    summary: str
    modes: tuple[str, ...]
    parameters: Mapping[str, str]
    label: str
    owners: tuple[str, ...]
    runbook: str
    options: tuple[str, ...]
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileView:
    """A profile, what it offers, and how it is signed, where that was looked at.

    `backends` are code of its package that is not run; `label` is what operators call it, empty where
    that is not said.
    """

    name: str
    version: str
    label: str
    source: str
    description: str
    digest: str
    intents: tuple[IntentLine, ...]
    backends: tuple[str, ...] = ()
    signature: SignatureView | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseLine:
    """A golden case and where it came out otherwise; no differences is a pass."""

    name: str
    differences: tuple[str, ...]


def list_profiles() -> tuple[ProfileLine, ...]:
    """Return the profiles that go by a name."""
    found = [(item, load_profile(item.files)) for item in installed_profiles()]
    return tuple(
        ProfileLine(name=profile.name, version=profile.version, source=item.source) for item, profile in found
    )


def show_profile(name: str) -> ProfileView:
    """Return what the profile `name` (or at that path) offers.

    Raises:
        ProfileUnknown, ProfileRefused.
    """
    found = find_profile(name)
    profile = load_profile(found.files)
    return ProfileView(
        name=profile.name,
        version=profile.version,
        label=profile.words.label,
        source=found.source,
        description=profile.description or profile.words.description,
        digest=profile.digest,
        intents=tuple(_intent_line(intent, profile) for intent in profile.intents.values()),
        backends=backends_of(
            found.folder, (name for spec in profile.connectors.values() for name in spec.backends)
        ),
    )


def _intent_line(intent: IntentSpec, profile: Profile) -> IntentLine:
    words = profile.words.of(intent.id)
    return IntentLine(
        name=intent.id,
        effect=str(effect_of(profile, intent)),
        title=intent.title,
        summary=intent.summary or words.summary or intent.title,
        modes=tuple(str(mode) for mode in intent.modes),
        parameters={} if intent.parameters is None else _parameters(intent.parameters.schema),
        label=words.label,
        owners=words.owners,
        runbook=intent.runbook or words.runbook,
        options=words.options,
        failures=words.failures,
    )


def _parameters(schema: Mapping[str, Json]) -> dict[str, str]:
    required, properties = schema.get("required"), schema.get("properties")
    named = properties if isinstance(properties, Mapping) else {}
    needed = required if isinstance(required, list) else []
    types = {name: spec.get("type") if isinstance(spec, Mapping) else None for name, spec in named.items()}
    return {n: f"{kind or 'any'}{', required' if n in needed else ''}" for n, kind in types.items()}


def lint_profile(name: str) -> tuple[Finding, ...]:
    """Return every finding of the profile `name`, or at that path."""
    found = find_profile(name)
    files = found.files
    actions = None if found.handlers is None else handler_names(found.handlers)
    if isinstance(actions, str):
        said = Finding(
            severity="error", code=ProfileRefused.code, file=HANDLERS, line=1, field="", message=actions
        )
        return (said, *lint.lint_profile(files))
    return lint.lint_profile(files, actions)


def new_profile(folder: Path) -> ProfileView:
    """Write a profile that works into the new or empty `folder`, whose name is the profile's; return it.

    Raises:
        FileRefused: the folder holds something. ProfileRefused: its name cannot name a profile.
    """
    name = folder.resolve().name.encode()
    files = {
        path: data.replace(b"@NAME@", name) for path, data in read_folder(built_in_folder(SCAFFOLD)).items()
    }
    load_profile(files)
    write_folder(folder, files)
    return show_profile(str(folder / "profile.yaml"))


def runbook(profile: str, intent: str) -> str:
    """Return what to do about `intent` of the profile `profile`, or at that path.

    Raises:
        IntentUnknown: there is no such intent. FileMissing: it has no runbook.
    """
    files = find_profile(profile).files
    intents = load_profile(files).intents
    if intent not in intents:
        raise unknown(IntentUnknown, f"profile `{profile}` has no intent `{intent:.60}`", intent, intents)
    path = intents[intent].runbook
    if path not in files:
        raise FileMissing(f"intent `{intent}` of `{profile}` has no runbook in the profile", path=path)
    return files[path].decode("utf-8", "replace")[:RUNBOOK_MAX]


def test_profile(name: str) -> tuple[CaseLine, ...]:
    """Run the golden cases and the days of the profile `name`, or at that path; no target is touched.

    Raises:
        ProfileUnknown, ProfileRefused: there is no such profile, or a case is malformed.
    """
    files = find_profile(name).files
    profile = load_profile(files)
    cases = (
        CaseLine(name=case.name, differences=_differences(case, profile, files))
        for case in golden_cases(files)
    )
    paths = [path for path in sorted(files) if path.startswith(FOLDER) and path.endswith(".day.yaml")]
    return (*cases, *(_day_line(path, _followed(files[path], path, profile)) for path in paths))


def _differences(case: Case, profile: Profile, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Return how the case comes out otherwise; that it cannot be planned is one way."""
    try:
        return run_case(case, profile, files)
    except RexecopError as error:
        return (error.message,)


def replay_day(name: str, path: Path) -> tuple[Followed, ...]:
    """Return what follows from each observation of the day at `path` by the rules of the profile `name`.

    Raises:
        ProfileUnknown, ProfileRefused: there is no such profile or it has no rules, or the day is malformed.
    """
    profile = load_profile(find_profile(name).files)
    return _followed(read_file(path, bytes_max=DAY_BYTES_MAX), path.name, profile)


def _followed(data: bytes, file: str, profile: Profile) -> tuple[Followed, ...]:
    if profile.reactions is None:
        raise ProfileRefused(f"{file}: profile `{profile.name}` has no reactions", file=file)
    return days.replay_day(days.read_day(data, file), profile.reactions)


def _day_line(path: str, followed: tuple[Followed, ...]) -> CaseLine:
    name = path.removeprefix(FOLDER).removesuffix(".day.yaml")
    return CaseLine(name=name, differences=tuple(f"{o.name}: {d}" for o in followed for d in o.differences))


def lint_environment(path: Path) -> tuple[Finding, ...]:
    """Return every finding of an environment file."""
    return lint.lint_environment({path.name: read_file(path)}, None)


def list_examples() -> tuple[str, ...]:
    """Return the examples by the path `copy_examples` puts them at."""
    return tuple(f"examples/{name}" for name in sorted(read_folder(_examples())))


def copy_examples(destination: Path) -> tuple[str, ...]:
    """Copy the examples below `destination`; return the paths written. Files there stay as they are.

    Raises:
        RootUnwritable: a file cannot be written.
    """
    written = []
    for name, data in sorted(read_folder(_examples()).items()):
        path = destination / "examples" / name
        if write_new(path, data, mode=0o644):
            written.append(str(path))
    return tuple(written)


def packaged(name: str) -> str:
    """Return the text of a file that travels with the code."""
    return (files("rexecop.app") / "data" / name).read_text(encoding="utf-8")


def _examples() -> Path:
    """Return where the examples are: in the wheel, or in a checkout."""
    packaged = Path(str(files("rexecop.app") / "data" / "examples"))
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "examples"
