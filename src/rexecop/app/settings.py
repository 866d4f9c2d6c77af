"""Settings: one table, read once, strictly.

A flag wins over the environment, the environment over `rexecop.toml` in the current
folder, that over the user's own file. The project file gives defaults only: whoever
can write into a folder that somebody works in must not choose root, key or storage.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final, Literal, TypeAlias, cast

from rexecop.app.settings_errors import (
    SettingInvalid,
    SettingNotHere,
    SettingsUnreadable,
    SettingUnknown,
)
from rexecop.proof.vocabulary import Mode

Value: TypeAlias = str | int | bool
Output: TypeAlias = Literal["table", "json", "yaml"]

OUTPUTS: Final = ("table", "json", "yaml")
FILE_NAME: Final = "rexecop.toml"
FILE_BYTES_MAX: Final = 64 * 1024  # Every setting written out takes under 2 KiB.
VALUE_LENGTH_MAX: Final = 4096  # As long as a path may be on Linux.
PERMIT_SECONDS_MAX: Final = 60  # Bounds what a thawed process can still do with a permit.
CAPACITY: Final = 100  # As many as one machine drives without any of them noticing the others.
RECONCILE_MARGIN_MS_MAX: Final = 600_000  # Ten minutes: longer is an operator's decision, not a margin.


class Kind(Enum):
    """What values a setting takes."""

    TEXT = "text"
    PATH = "path"
    FLAG = "true or false"
    INTEGER = "integer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One setting, where it may come from, and what it means."""

    name: str
    flag: str | None
    env: str | None
    kind: Kind
    project: bool
    default: Value | None
    meaning: str
    choices: tuple[str, ...] = ()
    low: int = 0
    high: int = 0

    @property
    def takes(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            return ", ".join(f"`{choice}`" for choice in self.choices)
        if self.kind is Kind.INTEGER:
            return f"a whole number from {self.low} to {self.high}"
        return {Kind.FLAG: "`true` or `false`", Kind.PATH: "a path"}.get(self.kind, "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that was set, for one run of one command.

    `identity` is the private key that establishes the requester; without one it is
    the user of the operating system. `as_label` labels and establishes nothing.
    `kernel_guard_key` is a secret and no part of what is shown of this value.
    """

    root: Path
    storage: str
    output: Output
    quiet: bool
    color: bool
    as_label: str | None
    identity: Path | None
    profile: str | None
    env: str | None
    mode: str | None
    target: str | None
    permit_seconds: int
    reconcile_margin_ms: int
    capacity: int = CAPACITY
    kernel_guard_key: str | None = field(default=None, repr=False)
    log: str | None = None
    work: bool = False


SETTINGS: Final = (
    Setting(
        name="root",
        flag="--root",
        env="REXECOP_ROOT",
        kind=Kind.PATH,
        project=False,
        default=".rexecop",
        meaning="the runtime root: ledger, keys, policy and trust",
    ),
    Setting(
        name="storage",
        flag="--storage",
        env="REXECOP_STORAGE",
        kind=Kind.TEXT,
        project=False,
        default="sqlite",
        meaning="`sqlite` keeps the ledger in the root, `postgresql://…` where it says; the root remembers",
    ),
    Setting(
        name="output",
        flag="--output",
        env="REXECOP_OUTPUT",
        kind=Kind.TEXT,
        project=True,
        default="table",
        choices=OUTPUTS,
        meaning="how results are printed; `--json` is short for `--output json`",
    ),
    Setting(
        name="quiet",
        flag="--quiet",
        env="REXECOP_QUIET",
        kind=Kind.FLAG,
        project=True,
        default=False,
        meaning="print only what a script needs: an id, or nothing",
    ),
    Setting(
        name="color",
        flag="--no-color",
        env="REXECOP_COLOR",
        kind=Kind.FLAG,
        project=True,
        default=True,
        meaning="colour on a terminal; any value of `NO_COLOR` turns it off",
    ),
    Setting(
        name="as",
        flag="--as",
        env="REXECOP_AS",
        kind=Kind.TEXT,
        project=False,
        default=None,
        meaning="a label recorded beside the requester; it establishes nothing",
    ),
    Setting(
        name="identity",
        flag="--identity",
        env="REXECOP_IDENTITY",
        kind=Kind.PATH,
        project=False,
        default=None,
        meaning="the SSH private key that establishes the requester; without it the user of the system",
    ),
    Setting(
        name="profile",
        flag="--profile",
        env="REXECOP_PROFILE",
        kind=Kind.TEXT,
        project=True,
        default=None,
        meaning="the profile when none is named",
    ),
    Setting(
        name="env",
        flag="--env",
        env="REXECOP_ENV",
        kind=Kind.TEXT,
        project=True,
        default=None,
        meaning="the environment when none is named",
    ),
    Setting(
        name="mode",
        flag="--mode",
        env="REXECOP_MODE",
        kind=Kind.TEXT,
        project=True,
        default=None,
        choices=tuple(mode.value for mode in Mode),
        meaning="the mode when none is named; with none at all it is `dry_run`",
    ),
    Setting(
        name="target",
        flag="--target",
        env="REXECOP_TARGET",
        kind=Kind.TEXT,
        project=True,
        default=None,
        meaning="the target when none is named",
    ),
    Setting(
        name="permit_seconds",
        flag=None,
        env="REXECOP_PERMIT_SECONDS",
        kind=Kind.INTEGER,
        project=False,
        default=30,
        low=1,
        high=PERMIT_SECONDS_MAX,
        meaning="for how long leave to make one call lasts",
    ),
    Setting(
        name="reconcile_margin_ms",
        flag=None,
        env="REXECOP_RECONCILE_MARGIN_MS",
        kind=Kind.INTEGER,
        project=False,
        default=2000,
        low=0,
        high=RECONCILE_MARGIN_MS_MAX,
        meaning="how long after permit and call have run out an unknown outcome may be settled",
    ),
    Setting(
        name="capacity",
        flag=None,
        env="REXECOP_CAPACITY",
        kind=Kind.INTEGER,
        project=False,
        default=CAPACITY,
        low=1,
        high=10_000,
        meaning="how many operations of the root run at one time; others wait in the queue",
    ),
    Setting(
        name="kernel_guard_key",
        flag=None,
        env="REXECOP_KERNEL_GUARD_KEY",
        kind=Kind.TEXT,
        project=False,
        default=None,
        meaning="the secret, of 32 bytes or more, that evidence folders are guarded and checked with; "
        "never shown",
    ),
    Setting(
        name="log",
        flag=None,
        env="REXECOP_LOG",
        kind=Kind.TEXT,
        project=False,
        default=None,
        meaning="where each record of an operation is told of, as a line of JSON: `stderr`, or a file",
    ),
    Setting(
        name="work",
        flag=None,
        env="REXECOP_WORK",
        kind=Kind.FLAG,
        project=False,
        default=False,
        meaning="whether `rexecop serve` carries out what is queued, too, like `rexecop worker run` does",
    ),
)
SECRET: Final = frozenset({"storage", "kernel_guard_key"})  # A URL may hold a password; errors are kept.


_BY_NAME: Final[Mapping[str, Setting]] = {setting.name: setting for setting in SETTINGS}
_FLAG_WORDS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}


def load_settings(flags: Mapping[str, Value], environ: Mapping[str, str], cwd: Path, home: Path) -> Settings:
    """Return the settings in force; `flags` holds only what was typed, by setting name.

    Raises:
        SettingsUnreadable: a settings file cannot be read or is no TOML.
        SettingUnknown: a settings file has a key that no setting has.
        SettingNotHere: the project file sets what it may not.
        SettingInvalid: a value is not one the setting takes.
    """
    found: dict[str, Value] = {s.name: s.default for s in SETTINGS if s.default is not None}
    found |= _from_file(user_file(environ, home), project=False)
    found |= _from_file(cwd / FILE_NAME, project=True)
    found |= dict(_from_environment(environ))
    for name, value in flags.items():
        setting = _BY_NAME[name]
        found[name] = _parsed(setting, value, setting.flag or name)
    return Settings(
        root=_path(found["root"], cwd, home),
        storage=str(found["storage"]),
        output=cast(Output, found["output"]),
        quiet=bool(found["quiet"]),
        color=bool(found["color"]),
        as_label=_text(found.get("as")),
        identity=_path(found["identity"], cwd, home) if "identity" in found else None,
        profile=_text(found.get("profile")),
        env=_text(found.get("env")),
        mode=_text(found.get("mode")),
        target=_text(found.get("target")),
        permit_seconds=int(found["permit_seconds"]),
        reconcile_margin_ms=int(found["reconcile_margin_ms"]),
        capacity=int(found["capacity"]),
        kernel_guard_key=_text(found.get("kernel_guard_key")),
        log=_text(found.get("log")),
        work=bool(found["work"]),
    )


def user_file(environ: Mapping[str, str], home: Path) -> Path:
    """Return where the user's own settings are."""
    configured = environ.get("XDG_CONFIG_HOME", "")
    base = Path(configured) if configured.startswith("/") else home / ".config"
    return base / "rexecop" / FILE_NAME


def project_file_text(chosen: Mapping[str, str]) -> str:
    """Return a commented `rexecop.toml` for a project folder, with `chosen` settings switched on."""
    lines = ["# Defaults for commands run in this folder. Flags and REXECOP_… variables win over them."]
    for setting in SETTINGS:
        if not setting.project:
            continue
        value = chosen.get(setting.name, setting.default)
        mark = "" if setting.name in chosen else "# "
        lines += ["", f"# {setting.name}: {setting.meaning}", f"{mark}{setting.name} = {_toml(value)}"]
    return "\n".join(lines) + "\n"


def _toml(value: Value | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value or "").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def _from_environment(environ: Mapping[str, str]) -> Iterator[tuple[str, Value]]:
    for setting in SETTINGS:
        if setting.env is not None and (raw := environ.get(setting.env)):
            yield setting.name, _parsed(setting, raw, setting.env)
    if environ.get("NO_COLOR"):
        yield "color", False


def _from_file(path: Path, *, project: bool) -> dict[str, Value]:
    content = _read(path)
    if content is None:
        return {}
    import tomllib  # Most runs find no file to read.

    try:
        table: dict[str, object] = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsUnreadable(f"`{path}` is not TOML: {error}", file=str(path)) from error
    found: dict[str, Value] = {}
    for key, value in table.items():
        place = f"`{_shown(key)}` in `{path}`"
        setting = _BY_NAME.get(key)
        if setting is None:
            known = ", ".join(f"`{s.name}`" for s in SETTINGS if s.project or not project)
            raise SettingUnknown(f"{place} is no setting; known are {known}", file=str(path), key=_shown(key))
        if project and not setting.project:
            raise SettingNotHere(
                f"{place} may not be set there: a project folder gives defaults, never authority",
                file=str(path),
                key=key,
            )
        if not isinstance(value, str | int | bool):
            raise SettingInvalid(f"{place} is not {setting.takes}", file=str(path), key=key)
        found[key] = _parsed(setting, value, place)
    return found


def _read(path: Path) -> str | None:
    """Return the text of a settings file, or None if there is none."""
    try:
        # Without O_NONBLOCK a FIFO in a project folder would hold every command for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise SettingsUnreadable(f"`{path}` cannot be read: {_reason(error)}", file=str(path)) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise SettingsUnreadable(f"`{path}` is not a plain file", file=str(path))
    with open(handle, "rb") as file:
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise SettingsUnreadable(f"`{path}` is longer than {FILE_BYTES_MAX} bytes", file=str(path))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsUnreadable(
            f"`{path}` is not UTF-8 at byte {error.start}", file=str(path), byte=error.start
        ) from error


def _parsed(setting: Setting, value: Value, place: str) -> Value:
    """Return `value` as the setting's kind."""
    parsed = _of_kind(setting, value)
    if parsed is None:
        where = place if place.startswith("`") else f"`{place}`"
        shown = "not usable" if setting.name in SECRET else f"`{_shown(str(value))}`"
        raise SettingInvalid(f"{where} is {shown}; it takes {setting.takes}", setting=setting.name)
    return parsed


def _of_kind(setting: Setting, value: Value) -> Value | None:
    if setting.kind is Kind.FLAG:
        return value if isinstance(value, bool) else _FLAG_WORDS.get(str(value).lower())
    if setting.kind is Kind.INTEGER:
        text = "" if isinstance(value, bool) else str(value)
        number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 else -1
        return number if setting.low <= number <= setting.high else None
    if not isinstance(value, str) or not value or len(value) > VALUE_LENGTH_MAX or "\0" in value:
        return None
    return value if not setting.choices or value in setting.choices else None


def _path(value: Value, cwd: Path, home: Path) -> Path:
    text = str(value)
    if text == "~" or text.startswith("~/"):
        return home / text[2:]
    return cwd / text


def _text(value: Value | None) -> str | None:
    return None if value is None else str(value)


def _shown(text: str) -> str:
    """Return `text` short enough for one line of an error."""
    return text if len(text) <= 80 else f"{text[:77]}..."


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "no valid path"
