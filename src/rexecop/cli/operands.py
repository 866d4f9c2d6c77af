"""Arguments that many commands share, checked before anything else happens."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import click

from rexecop.cli.errors import FileUnreadable, OperationNameBad, ParameterBad, Usage
from rexecop.proof.canonical import Json, parse_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.note import NOTE_BYTES_MAX

F = TypeVar("F", bound=Callable[..., int | None])

TIMEOUT_SECONDS_MAX: Final = 7 * 24 * 3600  # A week; longer is not waiting any more.
PARAMETERS_MAX: Final = 256  # More belong into an environment.
PARAMETER_BYTES_MAX: Final = 64 * 1024  # A quarter of what a record may hold.

# An id or its start, a short number, or the last one. Anything else never reaches the store.
_OPERATION: Final = re.compile(r"@|[1-9][0-9]{0,8}|(?:op_)?[0-9A-Za-z][0-9A-Za-z-]{2,63}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,127}")
_AGO: Final = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_GIVEN: Final = "rexecop.operation"


def operation_name(text: str) -> str:
    """Return `text` if it can name an operation.

    Raises:
        OperationNameBad: it cannot.
    """
    if _OPERATION.fullmatch(text) is None:
        shown = text if len(text) <= 40 else f"{text[:37]}..."
        raise OperationNameBad(
            f"`{shown}` names no operation; give an id, its start, a short number, or `@` for the last",
            next_steps=("rexecop list",),
            found=shown,
        )
    return text


def takes_operation(function: F) -> F:
    """Give a command `operation`: typed alone, or with `--operation`."""
    return _takes(function, required=True)


def may_take_operation(function: F) -> F:
    """Give a command `operation`, None if it was not named."""
    return _takes(function, required=False)


def _takes(function: F, *, required: bool) -> F:
    def remember(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        ctx.meta[_GIVEN] = value

    def settle(ctx: click.Context, _: click.Parameter, value: str | None) -> str | None:
        flagged = ctx.meta.get(_GIVEN)
        if value is not None and flagged is not None and value != flagged:
            raise Usage("two operations are named, with `--operation` and without")
        name = value if value is not None else flagged
        if name is None and required and not ctx.resilient_parsing:
            raise Usage(
                "no operation is named; give an id, a short number, or `@` for the last",
                next_steps=("rexecop list", f"{ctx.command_path} @"),
            )
        return None if name is None else operation_name(str(name))

    named = click.option(
        "--operation",
        "named_operation",
        metavar="ID",
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="The operation.",
    )
    alone = click.argument("operation", required=False, metavar="[OPERATION]", callback=settle)
    return alone(named(function))


def takes_reason(function: F) -> F:
    """Give a command `--reason`."""
    return click.option("--reason", help="Why; recorded.")(function)


def takes_waiting(function: F) -> F:
    """Give a command that may have to wait in the queue `--timeout`, `--wait` and `--detach`."""
    seconds = click.FloatRange(0.001, TIMEOUT_SECONDS_MAX)
    timeout = click.option("--timeout", type=seconds, help="Seconds to wait.")
    wait = click.option("--wait", is_flag=True, help="Wait for its turn and for approval, too.")
    words = "Let it wait in the queue for a worker; ends with 5 at once."
    return timeout(wait(click.option("--detach", is_flag=True, help=words)(function)))


def takes_exit_code(function: F) -> F:
    """Give a reading command `--exit-code`."""
    return click.option("--exit-code", is_flag=True, help="Leave with the code of the operation's state.")(
        function
    )


def parameters(pairs: Sequence[str]) -> dict[str, Json]:
    """Return `name=text` and `name:=json` as values by name.

    Raises:
        ParameterBad: a pair is neither, a name is given twice, or there are too many.
    """
    if len(pairs) > PARAMETERS_MAX:
        raise ParameterBad(f"{len(pairs)} parameters are given, at most {PARAMETERS_MAX} are taken")
    found: dict[str, Json] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        typed = name.endswith(":")
        name = name.removesuffix(":")
        if not separator or _NAME.fullmatch(name) is None:
            raise ParameterBad(f"parameter `{pair[:80]}` is not `name=text` or `name:=json`")
        if name in found:
            raise ParameterBad(f"parameter `{name}` is given twice", parameter=name)
        if len(text.encode("utf-8", "surrogateescape")) > PARAMETER_BYTES_MAX:
            raise ParameterBad(
                f"parameter `{name}` is longer than {PARAMETER_BYTES_MAX} bytes", parameter=name
            )
        found[name] = _typed(name, text) if typed else _text(name, text)
    return found


def _typed(name: str, text: str) -> Json:
    try:
        return parse_json(text, bytes_max=PARAMETER_BYTES_MAX)
    except RexecopError as error:
        raise ParameterBad(f"parameter `{name}`: {error.message}", parameter=name) from error


def _text(name: str, text: str) -> str:
    if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ParameterBad(f"parameter `{name}` is not UTF-8", parameter=name)
    return text


def takes_trust(function: F) -> F:
    """Give a checking command `--trust` and `--checkpoint`."""
    trust = click.option(
        "--trust", metavar="DIR", help="The keys you trust; without it those of the root, if any."
    )
    held = click.option("--checkpoint", metavar="FILE", help="A checkpoint you kept: the log must extend it.")
    return trust(held(function))


def held(checkpoint: str | None) -> bytes | None:
    """Return the note of the checkpoint that was kept, if one is named."""
    return None if checkpoint is None else given(checkpoint, NOTE_BYTES_MAX)


def given(file: str, bytes_max: int) -> bytes:
    """Return what is in `file`, or for `-` what is piped in.

    Raises:
        FileUnreadable: more than `bytes_max` is piped in. FileMissing, FileRefused: see `app.files`.
    """
    if file != "-":
        from rexecop.app.files import read_file

        return read_file(Path(file), bytes_max=bytes_max)
    data = sys.stdin.buffer.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise FileUnreadable(f"more than {bytes_max} bytes are piped in")
    return data


def log_bound(value: str | None) -> int | bytes | None:
    """Return the size of the log that was typed, or the bytes of the checkpoint in the file named.

    Raises:
        FileMissing, FileRefused: it is a file that cannot be read.
    """
    from rexecop.app.files import read_file
    from rexecop.proof.note import NOTE_BYTES_MAX

    if value is None or (value.isascii() and value.isdigit() and len(value) <= 16):
        return None if value is None else int(value)
    return read_file(Path(value), bytes_max=NOTE_BYTES_MAX)


def since(text: str) -> datetime:
    """Return the moment that `text` names: so long ago (`30m`, `2h`, `3d`), a date, or a time with its zone.

    Raises:
        Usage: it is none.
    """
    if found := _AGO.fullmatch(text):
        from rexecop.app.clock import SystemClock

        return SystemClock().now() - int(found[1]) * _UNITS[found[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or (moment.tzinfo is None and len(text) > len("2026-01-31")):
        raise Usage(f"`{text[:40]}` is no time; `--since` takes `2h`, `3d`, a date, or a time with its zone")
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def path(value: str | None) -> Path | None:
    """Return a path that was typed, or None."""
    return None if value is None else Path(value)
