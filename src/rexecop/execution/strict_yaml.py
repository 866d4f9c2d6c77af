"""The one reader of YAML: a small, strict part of the language, with the line of everything.

Typed are only `true`, `false`, `null` (and a value left empty, which is null), decimal
integers within ±2^53 and decimals, which become `Decimal` and keep their digits. All else
is text: `22:00`, `no`, `0755`, `1e5` and `~` mean what they say. Anchors, aliases, tags,
directives, merge keys, repeated keys, keys that are not text, several documents and
control characters are refused, naming the place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from rexecop.execution.errors import YamlRefused

YAML_BYTES_MAX: Final = 1024 * 1024  # Profiles and environments take some kilobytes; a megabyte is a mistake.

if TYPE_CHECKING:
    from decimal import Decimal

Yaml: TypeAlias = "bool | int | Decimal | str | list[Yaml] | dict[str, Yaml] | None"
Path: TypeAlias = tuple[str | int, ...]

# Control characters, other line breaks, and marks that make text read in another order than it stands.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a text says, and the line (from 1) on which each key or list entry stands."""

    source: str
    value: Yaml
    lines: Mapping[Path, int]

    def line(self, path: Path) -> int:
        """Return the line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def load_yaml(data: bytes | str, *, source: str, bytes_max: int = YAML_BYTES_MAX) -> Document:
    """Return the one document in `data`; `source` names it in messages.

    Raises:
        YamlRefused: the text is larger than `bytes_max`, empty, or breaks a rule.
    """
    text = _checked_text(data, source, bytes_max)
    from rexecop.execution.yaml_reader import read  # Who is handed parsed values need not wait for it.

    value, lines = read(text, source)
    return Document(source=source, value=value, lines=lines)


def _checked_text(data: bytes | str, source: str, bytes_max: int) -> str:
    if len(data) > bytes_max:
        what = f"{len(data)} bytes, at most {bytes_max} are read"
        raise YamlRefused(what, source=source, line=1, column=1)
    if isinstance(data, str):
        text = data
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            column = error.start - data.rfind(b"\n", 0, error.start)
            raise YamlRefused("not UTF-8", source=source, line=line, column=column) from error
    found = forbidden_character(text)
    if found is not None:
        name, line, column = found
        what = f"character {name} is not allowed; write it as an escape in double quotes"
        raise YamlRefused(what, source=source, line=line, column=column)
    return text


def forbidden_character(text: str) -> tuple[str, int, int] | None:
    """Return name, line and column of the first character that no text of ours may hold raw, or None."""
    found = _FORBIDDEN.search(text)
    if found is None:
        return None
    at = found.start()
    return f"U+{ord(text[at]):04X}", text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
