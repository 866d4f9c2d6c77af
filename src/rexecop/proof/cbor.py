"""CBOR (RFC 8949), written the one deterministic way; nothing here reads it.

Shortest heads, definite lengths, map keys in the order of their bytes (section
4.2.1), no floats: one value has one spelling, so the same evidence is the same file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rexecop.proof.canonical import DEPTH_MAX
from rexecop.proof.errors import NotCanonical

Cbor: TypeAlias = "bool | int | bytes | str | Tag | Sequence[Cbor] | Mapping[int | str, Cbor] | None"

_SIMPLE: Final = {False: b"\xf4", True: b"\xf5", None: b"\xf6"}
_WIDTHS: Final = ((24, 1), (25, 2), (26, 4), (27, 8))


@dataclass(frozen=True, slots=True)
class Tag:
    """`value` marked as what `number` stands for."""

    number: int
    value: Cbor


def encode(value: Cbor, depth: int = 0) -> bytes:
    """Return the deterministic encoding of `value`.

    Raises:
        NotCanonical: an integer beyond 64 bits, a lone surrogate, a float or other type, or
            nesting deeper than `DEPTH_MAX`.
    """
    if depth > DEPTH_MAX:
        raise NotCanonical(f"nesting is deeper than {DEPTH_MAX}", limit=DEPTH_MAX)
    if value is None or isinstance(value, bool):
        return _SIMPLE[value]
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = _utf8(value)
        return _head(3, len(text)) + text
    if isinstance(value, Tag):
        return _head(6, value.number) + encode(value.value, depth + 1)
    if isinstance(value, Mapping):
        pairs = sorted((encode(key), encode(item, depth + 1)) for key, item in value.items())
        return _head(5, len(pairs)) + b"".join(key + item for key, item in pairs)
    if isinstance(value, list | tuple):
        return _head(4, len(value)) + b"".join(encode(item, depth + 1) for item in value)
    raise NotCanonical(f"a value of type `{type(value).__name__}` has no place in CBOR here")


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for low, width in _WIDTHS:
        if argument < 1 << 8 * width:
            return bytes([major << 5 | low]) + argument.to_bytes(width, "big")
    raise NotCanonical("an integer is beyond 64 bits")


def _utf8(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotCanonical("a string holds a lone surrogate", found="lone surrogate") from error
