"""The reference pages, written from the code: commands, error codes, exit codes and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Final

import click

import rexecop
from rexecop.app.settings import SETTINGS, Kind
from rexecop.cli.exits import MEANINGS, STATE_EXITS, Exit
from rexecop.cli.failures import exit_of
from rexecop.cli.parsing import VerbWithMore, global_options, program
from rexecop.cli.table import ALIASES, ENTRIES, GROUPS, MORE, SPELLINGS, Entry
from rexecop.proof.errors import RexecopError

_GROUP_TITLES: Final = {**{name: name.capitalize() for name in GROUPS}, MORE: "More"}

# Variables that no setting has: read where they act.
_OTHER_VARIABLES: Final = (
    ("NO_COLOR", "any value turns colour off"),
    ("REXECOP_DEBUG", "`1` prints the whole traceback beside the one line of an error"),
    (
        "REXECOP_SECRET_…",
        "a secret, by its reference in capitals: `REXECOP_SECRET_DB_PASSWORD` is `db-password`",
    ),
    ("REXECOP_SECRETS_FILE", "a private YAML file with secrets by reference, under `secrets`"),
    ("CREDENTIALS_DIRECTORY", "where systemd puts the credentials of a service"),
    ("SSH_AUTH_SOCK", "the SSH agent that `approve --agent` signs with"),
    ("XDG_CONFIG_HOME", "where the user's own settings are (`$XDG_CONFIG_HOME/rexecop/rexecop.toml`)"),
    ("OPENEXEC_MODE", "how `rexecop serve` allows requests to `/execute`: `demo`, or `clawshield`"),
    ("OPENEXEC_ALLOWED_ACTIONS", "the only actions it serves there, with commas"),
    ("CLAWSHIELD_TENANT_ID", "whose approvals of requests count there"),
    ("CLAWSHIELD_PUBLIC_KEY", "the Ed25519 key (PEM) that these are signed by"),
    ("CLAWSHIELD_SECRET_KEY", "or the secret that both share"),
    ("REXECOP_ARTIFACT_FRAMING", "how their fields are signed: `strict`, or `concatenated`"),
    ("COLUMNS", "the width that tables are fitted to"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeRow:
    """One error code: what it means and how a command ends with it."""

    code: str
    meaning: str
    exit: Exit
    layer: str


def verbs_page() -> str:
    """Return the page of all commands."""
    lines = [
        "# Commands",
        "",
        "What each command takes. Written from the code by `make docs`; every example is run by a test.",
        "",
        "An operation is named by its id, the start of it, its short number (`12`), or `@` for the last,",
        "alone or with `--operation`.",
        "",
        "## Global options",
        "",
        "They stand before or after the command.",
        "",
        *_option_lines(global_options(hidden=False)),
    ]
    ctx = click.Context(program, info_name="rexecop")
    for group, title in _GROUP_TITLES.items():
        lines += ["", f"## {title}"]
        for entry in ENTRIES:
            if entry.group == group:
                lines += _entry_lines(ctx, entry)
    lines += ["", "## Other names", ""]
    lines += [f"- `{name}` is `{meant}`" for name, meant in {**ALIASES, **SPELLINGS}.items()]
    return "\n".join(lines) + "\n"


def _entry_lines(top: click.Context, entry: Entry) -> Iterator[str]:
    command = program.get_command(top, entry.name)
    if command is None:
        raise LookupError(entry.name)
    ctx = click.Context(command, info_name=entry.name, parent=top)
    yield from ("", f"### {entry.name}", "", f"{entry.summary.capitalize()}.", "")
    yield from ("```console", f"$ {entry.example}", "```", "")
    yield from _command_lines(ctx, command)


def _command_lines(ctx: click.Context, command: click.Command) -> Iterator[str]:
    own = command.own if isinstance(command, VerbWithMore) else command
    if isinstance(own, click.Group):
        yield _text(own)
    else:
        yield from _usage_lines(ctx, own)
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(ctx):
        below = command.get_command(ctx, name)
        if below is not None:
            inner = click.Context(below, info_name=name, parent=ctx)
            words = inner.command_path.partition(" ")[2]
            yield from ("", f"#### {words}", "", *_command_lines(inner, below))


def _usage_lines(ctx: click.Context, command: click.Command) -> Iterator[str]:
    yield f"`{' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}`"
    yield ""
    yield _text(command)
    options = [param for param in command.params if isinstance(param, click.Option)]
    if options:
        yield ""
        yield from _option_lines(options)


def _text(command: click.Command) -> str:
    paragraphs = (command.help or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _option_lines(options: list[click.Option]) -> Iterator[str]:
    for option in options:
        names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
        values = f" {_values(option)}" if not option.is_flag else ""
        needed = " Required." if option.required else ""
        yield f"- {names}{values}: {option.help}{needed}"


def _values(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return "one of " + ", ".join(f"`{choice}`" for choice in option.type.choices)
    return f"`{option.metavar or option.type.name.upper()}`"


def codes_page() -> str:
    """Return the page of all error codes."""
    rows = error_codes()
    lines = [
        "# Error codes",
        "",
        "What an error code means and how a command ends with it. Written from the code by `make docs`.",
        "",
        "An error is one line on stderr, `rexecop: error[code]: message`, and below it the commands that may",
        'help; with `--json` it is one object `{"code", "message", "facts", "next"}` on stderr.',
        "",
        "| Code | Means | Exit | Layer |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{row.code}` | {row.meaning} | {row.exit.value} | {row.layer} |" for row in rows]
    return "\n".join(lines) + "\n"


def error_codes() -> list[CodeRow]:
    """Return every code of every error in the package, by code."""
    for module in walk_packages(rexecop.__path__, "rexecop."):
        # Error trees live in `errors.py`, `*_errors.py` and `failures.py`; a test holds the package to it.
        if module.name.endswith(("errors", "failures")):
            import_module(module.name)
    rows: dict[str, CodeRow] = {}
    for error in _below(RexecopError):
        meaning = " ".join((error.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
        layer = error.__module__.split(".")[1]
        rows.setdefault(
            error.code,
            CodeRow(code=error.code, meaning=meaning, exit=exit_of(error), layer=layer),
        )
    rows["internal-error"] = CodeRow(
        code="internal-error",
        meaning="Something nobody expected; `REXECOP_DEBUG=1` shows where",
        exit=exit_of(RexecopError),
        layer="any",
    )
    return sorted(rows.values(), key=lambda row: row.code)


def _below(error: type[RexecopError]) -> Iterator[type[RexecopError]]:
    for child in sorted(error.__subclasses__(), key=lambda c: (c.__module__, c.__name__)):
        if child.__module__.startswith("rexecop."):
            yield child
            yield from _below(child)


def exits_page() -> str:
    """Return the page of exit codes."""
    lines = [
        "# Exit codes",
        "",
        "What a command's exit code says. The table is frozen: scripts may rest on it.",
        "",
        "A verdict is an answer, not an error: it is printed on stdout and has a code of its own.",
        "",
        "| Code | Says |",
        "|---|---|",
    ]
    lines += [f"| {code.value} | {meaning} |" for code, meaning in MEANINGS.items()]
    lines += [
        "",
        "## States",
        "",
        "What `start` and its kin end with, and reading commands with `--exit-code`.",
    ]
    lines += ["", "| State | Code |", "|---|---|"]
    lines += [f"| `{state}` | {code.value} |" for state, code in STATE_EXITS.items()]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the page of settings."""
    lines = [
        "# Settings",
        "",
        "Every setting and where it may come from. Written from the code by `make docs`.",
        "",
        "A flag wins over the environment, that over `rexecop.toml` in the current folder, that over the",
        "user's own `~/.config/rexecop/rexecop.toml`. The project file gives defaults only: root, storage",
        "and keys are not taken from a folder that somebody else may have prepared.",
        "",
        "| Setting | Flag | Variable | Project file | Takes | Default | Means |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in SETTINGS:
        flag = f"`{s.flag}`" if s.flag else ""
        default = (
            "" if s.default is None else f"`{str(s.default).lower() if s.kind is Kind.FLAG else s.default}`"
        )
        project = "yes" if s.project else "no"
        lines.append(f"| `{s.name}` | {flag} | `{s.env}` | {project} | {s.takes} | {default} | {s.meaning} |")
    lines += ["", "## Other variables", "", "| Variable | Means |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in _OTHER_VARIABLES]
    return "\n".join(lines) + "\n"


PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "verbs.md": verbs_page,
    "codes.md": codes_page,
    "exit-codes.md": exits_page,
    "settings.md": settings_page,
}
