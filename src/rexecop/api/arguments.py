"""Arguments of the Python API, checked once: types are promised by whoever calls, and kept by nobody."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from rexecop.api.errors import ArgumentRefused
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import NotCanonical

StrPath: TypeAlias = str | os.PathLike[str]

TEXT_LENGTH_MAX = 4096  # As long as a path may be; a reason is a few lines.
TIMEOUT_SECONDS_MAX = 7 * 24 * 3600  # A week, as for commands.
PARAMETERS_BYTES_MAX = 1 << 20  # More is no parameter but a file; what a profile takes is less.


def text(name: str, value: object) -> str:
    """Return `value`, a text of some length.

    Raises:
        ArgumentRefused: it is another thing, empty or too long.
    """
    if not isinstance(value, str):
        raise ArgumentRefused(f"`{name}` is of type `{type(value).__name__}`; it takes text", argument=name)
    if not value.strip() or len(value) > TEXT_LENGTH_MAX or "\0" in value:
        found = "empty" if not value.strip() else "too long, or holds NUL"
        raise ArgumentRefused(f"`{name}` is {found}; it takes 1 to {TEXT_LENGTH_MAX} letters", argument=name)
    return value


def optional(name: str, value: object) -> str | None:
    """Return `value`, a text or None."""
    return None if value is None else text(name, value)


def usual(name: str, value: object, setting: str | None) -> object:
    """Return `value`, or what `setting` says where it is None.

    Raises:
        ArgumentRefused: neither says anything.
    """
    if value is None and setting is None:
        where = f"give it here or to `open_instance`, or set `{name}` in `rexecop.toml`"
        raise ArgumentRefused(f"no `{name}` is named; {where}", argument=name, next_steps=("rexecop init",))
    return setting if value is None else value


def path(name: str, value: object) -> Path:
    """Return `value` as an absolute path, so that `-` is a file like any other.

    Raises:
        ArgumentRefused: it is no path.
    """
    return Path(text(name, os.fspath(value) if isinstance(value, os.PathLike) else value)).absolute()


def optional_path(name: str, value: object) -> Path | None:
    """Return `value` as an absolute path, or None."""
    return None if value is None else path(name, value)


def word(name: str, value: object, words: Iterable[str]) -> str:
    """Return `value`, one of `words`.

    Raises:
        ArgumentRefused: it is none of them.
    """
    known = [str(each) for each in words]
    if isinstance(value, str) and value in known:
        return str(value)
    found = f"`{value:.60}`" if isinstance(value, str) else f"of type `{type(value).__name__}`"
    allowed = ", ".join(known)
    raise ArgumentRefused(f"`{name}` is {found}; it takes {allowed}", argument=name, allowed=allowed)


def seconds(value: object) -> float | None:
    """Return `value` as the seconds to wait, None for as long as it takes.

    Raises:
        ArgumentRefused: it is no number of seconds up to a week.
    """
    if value is None:
        return None
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    if not 0 < number <= TIMEOUT_SECONDS_MAX:
        what = f"it takes seconds above 0, at most {TIMEOUT_SECONDS_MAX}"
        raise ArgumentRefused(f"`timeout` is `{value!s:.40}`; {what}", argument="timeout")
    return number


def parameters(value: object) -> Mapping[str, Json]:
    """Return a copy of `value`, so that what the caller does with it later changes nothing.

    Raises:
        ArgumentRefused: it is no mapping of names to what evidence can hold.
    """
    if not isinstance(value, Mapping):
        raise ArgumentRefused("`parameters` is no mapping of names to values", argument="parameters")
    try:
        copied = parse_json(canonical_bytes(dict(value)), bytes_max=PARAMETERS_BYTES_MAX)
    except NotCanonical as error:
        raise ArgumentRefused(f"`parameters`: {error.message}", argument="parameters") from error
    assert isinstance(copied, dict)
    return copied


def whole(name: str, value: object, low: int, high: int) -> int:
    """Return `value`, a whole number from `low` to `high`.

    Raises:
        ArgumentRefused: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        what = f"it takes a whole number from {low} to {high}"
        raise ArgumentRefused(f"`{name}` is `{value!s:.40}`; {what}", argument=name)
    return value
