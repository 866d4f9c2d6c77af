"""The one reader of YAML: a small, strict part of the language, with the line of everything.

Typed are only `true`, `false`, `null` (and a value left empty, which is null), decimal
integers within ±2^53 and decimals, which become `Decimal` and keep their digits. All else
is text: `22:00`, `no`, `0755`, `1e5` and `~` mean what they say. Anchors, aliases, tags,
directives, merge keys, repeated keys, keys that are not text, several documents and
control characters are refused, naming the place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NoReturn, TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from rexecop.execution.errors import YamlRefused
from rexecop.proof.canonical import INTEGER_MAX

YAML_BYTES_MAX: Final = 1024 * 1024  # Profiles and environments take some kilobytes; a megabyte is a mistake.
DEPTH_MAX: Final = 32  # Deeper than any format of ours, well inside what evidence holds.
NUMBER_LENGTH_MAX: Final = 40  # Longer digits are not quantities; Python's own conversion gets slow there.

Yaml: TypeAlias = "bool | int | Decimal | str | list[Yaml] | dict[str, Yaml] | None"
Path: TypeAlias = tuple[str | int, ...]

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_WORDS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None, "": None}
# Control characters, other line breaks, and marks that make text read in another order than it stands.
_FORBIDDEN: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
_FORBIDDEN_ESCAPED: Final = re.compile("[\x00\ud800-\udfff]")


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
    reader = _Reader(text, source)
    try:
        value = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or error.context or "it cannot be read").replace("'", "`")
        raise YamlRefused(f"not valid YAML: {problem}", source=source, line=line, column=column) from error
    except yaml.YAMLError as error:
        raise YamlRefused("not valid YAML", source=source, line=1, column=1) from error
    return Document(source=source, value=value, lines=reader.lines)


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


class _Reader:
    """Builds plain values from parser events, as far as they are allowed."""

    def __init__(self, text: str, source: str) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._source = source
        self.lines: dict[Path, int] = {}

    def document(self) -> Yaml:
        self._next()  # the stream's start
        start = self._next()
        if isinstance(start, StreamEndEvent):
            self._refuse(start, "there is nothing in it")
        if isinstance(start, DocumentStartEvent) and (start.version or start.tags):
            self._refuse(start, "directives are not allowed")
        first = self._next()
        self.lines[()] = _place(first)[0]
        value = self._value(first, ())
        end = self._next()
        if not isinstance(end, DocumentEndEvent):
            self._refuse(end, "there is something after its end")
        after = self._next()
        if not isinstance(after, StreamEndEvent):
            self._refuse(after, "a second document begins here, only one is allowed")
        return value

    def _next(self) -> Event:
        return next(self._events)

    def _value(self, event: Event, path: Path) -> Yaml:
        if isinstance(event, AliasEvent):
            self._refuse(event, f"alias `*{event.anchor}` is not allowed; write the value out")
        if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent):
            if event.anchor is not None:
                self._refuse(event, f"anchor `&{event.anchor}` is not allowed; write the value out")
            if event.tag is not None:
                self._refuse(event, f"tag `{event.tag}` is not allowed")
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if len(path) >= DEPTH_MAX:
            self._refuse(event, f"nesting is deeper than {DEPTH_MAX}")
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path)
        self._refuse(event, "a value belongs here")

    def _mapping(self, path: Path) -> dict[str, Yaml]:
        found: dict[str, Yaml] = {}
        while not isinstance(event := self._next(), MappingEndEvent):
            key = self._key(event)
            place = (*path, key)
            if key in found:
                self._refuse(event, f"key `{key:.60}` is already on line {self.lines[place]}")
            self.lines[place] = _place(event)[0]
            found[key] = self._value(self._next(), place)
        return found

    def _key(self, event: Event) -> str:
        if not isinstance(event, ScalarEvent):
            self._refuse(event, "a key is text here, nothing else")
        key = self._value(event, ())
        if not isinstance(key, str):
            self._refuse(event, f"key `{event.value:.60}` is not text; put it in quotes")
        if key == "<<" and event.style is None:
            self._refuse(event, "merge key `<<` is not allowed; write the values out")
        return key

    def _sequence(self, path: Path) -> list[Yaml]:
        found: list[Yaml] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            place = (*path, len(found))
            self.lines[place] = _place(event)[0]
            found.append(self._value(event, place))
        return found

    def _scalar(self, event: ScalarEvent) -> Yaml:
        text: str = event.value
        if event.style is not None:
            if _FORBIDDEN_ESCAPED.search(text):
                self._refuse(event, "an escape for NUL or half a character is not allowed")
            return text
        if text in _WORDS:
            return _WORDS[text]
        if not (text[0] == "-" or "0" <= text[0] <= "9"):
            return text
        whole = _INTEGER.fullmatch(text) is not None
        if not whole and _DECIMAL.fullmatch(text) is None:
            return text
        if len(text) > NUMBER_LENGTH_MAX:
            self._refuse(event, f"number has {len(text)} characters, at most {NUMBER_LENGTH_MAX} are read")
        if not whole:
            return Decimal(text)
        if not -INTEGER_MAX <= int(text) <= INTEGER_MAX:
            self._refuse(event, f"integer `{text}` is beyond ±2^53; put it in quotes")
        return int(text)

    def _refuse(self, event: Event, what: str) -> NoReturn:
        line, column = _place(event)
        raise YamlRefused(what, source=self._source, line=line, column=column)


def _place(event: Event) -> tuple[int, int]:
    """Return line and column, both from 1."""
    mark = event.start_mark
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
