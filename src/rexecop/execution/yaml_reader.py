"""From the events of a YAML parser to plain values, as far as `strict_yaml` allows them.

PyYAML's own parser decides what is read. Where libyaml is built in, which is ten times faster, it reads
what both are known to read alike; all else, and whatever it refuses, is left to the slower one, so that
two installations never read one file differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Final, NoReturn

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
from rexecop.execution.strict_yaml import Path, Yaml
from rexecop.proof.canonical import INTEGER_MAX

DEPTH_MAX: Final = 32  # Deeper than any format of ours, well inside what evidence holds.
NUMBER_LENGTH_MAX: Final = 40  # Longer digits are not quantities; Python's own conversion gets slow there.

_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_WORDS: Final[Mapping[str, bool | None]] = {"true": True, "false": False, "null": None, "": None}
# Where the two parsers differ: tabs and old line ends, marks of documents, a comment glued to a block's `|`.
_READ_APART: Final = re.compile(r"[\t\r]|^(?:---|\.\.\.|%)|[|>][-+0-9]*#", re.MULTILINE)
_FORBIDDEN_ESCAPED: Final = re.compile("[\x00\ud800-\udfff]")


def read(text: str, source: str) -> tuple[Yaml, dict[Path, int]]:
    """Return the value of the one document in `text`, and the line of each key and list entry.

    Raises:
        YamlRefused: it is no YAML, or more of it than is allowed.
    """
    if yaml.__with_libyaml__ and _READ_APART.search(text) is None:
        with suppress(yaml.YAMLError, YamlRefused, _ReadApart):
            quick = _QuickReader(text, source, yaml.CSafeLoader)
            return quick.document(), quick.lines
    reader = _Reader(text, source, yaml.SafeLoader)
    try:
        return reader.document(), reader.lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or error.context or "it cannot be read").replace("'", "`")
        raise YamlRefused(f"not valid YAML: {problem}", source=source, line=line, column=column) from error
    except yaml.YAMLError as error:
        raise YamlRefused("not valid YAML", source=source, line=1, column=1) from error


class _Reader:
    """Builds plain values from parser events, as far as they are allowed."""

    def __init__(self, text: str, source: str, loader: type[yaml.SafeLoader | yaml.CSafeLoader]) -> None:
        self._events: Iterator[Event] = yaml.parse(text, Loader=loader)
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


class _ReadApart(Exception):
    """The two parsers may read this differently."""


class _QuickReader(_Reader):
    """Reads by libyaml; it gives empty scalars another place, and more of a `?` counts as plain text."""

    def _next(self) -> Event:
        event = super()._next()
        if isinstance(event, ScalarEvent) and not event.style:
            if not event.value or "?" in event.value:
                raise _ReadApart
            event.style = None
        return event


def _place(event: Event) -> tuple[int, int]:
    """Return line and column, both from 1."""
    mark = event.start_mark
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
