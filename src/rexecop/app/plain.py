"""Answers as what JSON and YAML hold: every shell writes the same values the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Final

_AS_THEY_ARE: Final = (str, int, bool)


@cache
def _names(kind: type[object]) -> tuple[str, ...] | None:
    """Return the names of the fields of a dataclass, None for any other type."""
    if not dataclasses.is_dataclass(kind):
        return None
    return tuple(field.name for field in dataclasses.fields(kind))


def plain(value: object) -> object:
    """Return `value` as what JSON and YAML hold: dataclasses become objects, times RFC 3339 in UTC."""
    kind = type(value)
    if value is None or kind in _AS_THEY_ARE:
        return value
    if (names := _names(kind)) is not None:  # type: ignore[arg-type]  # Types are hashable.
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, dict | Mapping):  # What is a `dict` is known to be one at once.
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | frozenset | set):
        return [plain(item) for item in (sorted(value) if isinstance(value, frozenset | set) else value)]
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, int):
        return value
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | bytearray | PurePath):
        return [plain(item) for item in value]
    return str(value)


def moment(value: datetime) -> str:
    """Return a time in UTC, to the millisecond, as the records write it."""
    text = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"
