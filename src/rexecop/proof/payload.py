"""Payloads: JSON with decimals, and the one text by which evidence holds it.

Evidence knows no floats. A payload travels inside it as text: sorted keys, nothing
between the parts, ASCII, the shortest decimals that read back the same. `1` and `1.0`
stay two different payloads.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias, cast

from rexecop.proof.errors import NotCanonical

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

DEPTH_MAX: Final = 64  # Deeper nesting serves no action and exhausts stacks.

_INFINITE: Final = (float("inf"), float("-inf"))

_compact = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
_spaced = json.JSONEncoder(sort_keys=True, allow_nan=False).encode


def payload_text(value: Value) -> str:
    """Return the one text of `value`.

    Raises:
        NotCanonical: `value` holds NaN or infinity, or is nested too deep.
    """
    return _written(_compact, value)


def spaced_text(value: Value) -> str:
    """Return `value` with sorted keys and a space after each `,` and `:`, ASCII.

    Raises:
        NotCanonical: as `payload_text`.
    """
    return _written(_spaced, value)


def parse_payload(data: bytes | str, *, bytes_max: int) -> Value:
    """Parse one JSON text strictly; decimals are allowed.

    Raises:
        NotCanonical: longer than `bytes_max`, not UTF-8, a repeated key, NaN, a number without
            bounds, a lone surrogate, trailing data, or nested deeper than `DEPTH_MAX`.
    """
    if len(data) > bytes_max:
        raise NotCanonical(f"{len(data)} bytes, at most {bytes_max} are read", limit=bytes_max)
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        value = cast("Value", _decoder.decode(text))
    except json.JSONDecodeError as error:
        raise NotCanonical(f"not JSON: {error.msg.lower()} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise NotCanonical(f"not strict JSON: {_reason(error)}") from error
    if "\\u" in text or text.count("[") + text.count("{") > DEPTH_MAX:
        _check(value)
    return value


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return f"nesting is deeper than {DEPTH_MAX}"
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8"
    return str(error) if isinstance(error, _Refused) else "a number is too long"


class _Refused(ValueError):
    """Something JSON parsers let through and we do not."""


def _no_duplicates(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Refused("an object repeats a key")
    return found


def _decimal(text: str) -> float:
    value = float(text)
    if value in _INFINITE:
        raise _Refused("a number is too large")
    return value


def _refuse_constant(text: str) -> Value:
    raise _Refused(f"`{text}` is no JSON number")


_decoder = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_float=_decimal, parse_constant=_refuse_constant
)


def _check(value: Value) -> None:
    """Return only if nesting is within `DEPTH_MAX` and every string, keys included, is whole."""
    level, depth = [value], 0
    while level:
        inner: list[Value] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend((*item, *item.values()))
            elif isinstance(item, list):
                inner.extend(item)
            # Written as a pair of escapes a character is whole; half of one has no bytes to be kept as.
            elif isinstance(item, str) and any("\ud800" <= char <= "\udfff" for char in item):
                raise NotCanonical("a string holds a lone surrogate")
        depth += any(isinstance(item, dict | list) for item in level)
        if depth > DEPTH_MAX:
            raise NotCanonical(f"nesting is deeper than {DEPTH_MAX}", limit=DEPTH_MAX)
        level = inner


def _written(encode: Callable[[object], str], value: Value) -> str:
    try:
        return encode(value)
    except (ValueError, RecursionError) as error:
        raise NotCanonical("a payload holds no NaN, no infinity, and no endless nesting") from error
