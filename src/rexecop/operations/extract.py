"""Ways to get one value out of what a call put out. Odd output yields None, never an error."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from rexecop.operations.gathering import Gathered, read_items, read_lines
from rexecop.operations.patterns import compiled, pattern_problem
from rexecop.operations.reading import Fields, Node, listed
from rexecop.operations.step_output import LINE_MAX, StepOutput
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Ended


class Extractor(Protocol):
    """One way; `of` returns the value in `stream` of an output, or None."""

    def of(self, output: StepOutput, stream: str) -> Json: ...


@dataclass(frozen=True, slots=True)
class Regex:
    """The named group `value` of the first match: line by line, or over the `whole` text."""

    pattern: re.Pattern[str]
    whole: bool

    def of(self, output: StepOutput, stream: str) -> Json:
        texts = [output.text(stream)] if self.whole else output.lines(stream)
        found = (self.pattern.search(text[:LINE_MAX]) for text in texts)
        return next((match["value"] for match in found if match is not None), None)


@dataclass(frozen=True, slots=True)
class KeyValue:
    """What follows `key` and `separator` on a line of its own, quotes around it taken off."""

    key: str
    separator: str

    def of(self, output: StepOutput, stream: str) -> Json:
        for line in output.lines(stream):
            key, separator, value = line.partition(self.separator)
            if separator and key.strip() == self.key:
                value = value.strip()
                quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
                return value[1:-1] if quoted else value
        return None


@dataclass(frozen=True, slots=True)
class Pointer:
    """The value a JSON pointer names in the structured answer or in JSON text."""

    pointer: str

    def of(self, output: StepOutput, stream: str) -> Json:
        return output.value(stream, self.pointer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table: `row` is an index, -1 the last; or the first where `where` equals `equals`."""

    column: int | str
    row: int
    where: int | str | None
    equals: str
    separator: str | None

    def of(self, output: StepOutput, stream: str) -> Json:
        rows = [line.split(self.separator) for line in output.lines(stream) if line.strip()]
        column = _index(self.column, rows)
        where = None if self.where is None else _index(self.where, rows)
        if column is None or (self.where is not None and where is None):
            return None
        if where is not None:
            rows = [row for row in rows if where < len(row) and row[where].strip() == self.equals][:1]
        at = self.row if where is None else 0
        row = rows[at] if rows and at < len(rows) else []
        return row[column].strip() if column < len(row) else None


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole text."""

    def of(self, output: StepOutput, stream: str) -> Json:
        return output.text(stream)


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """The status the call ended with; a script that says that it went well has no other than 0."""

    def of(self, output: StepOutput, stream: str) -> Json:
        went_well = output.ended in (Ended.OK, Ended.SIMULATED)
        return 0 if output.status is None and went_well else output.status


@dataclass(frozen=True, slots=True)
class Count:
    """How many lines that are not empty, or entries at `pointer`."""

    pointer: str | None

    def of(self, output: StepOutput, stream: str) -> Json:
        if self.pointer is None:
            return sum(1 for line in output.lines(stream) if line.strip())
        entries = output.value(stream, self.pointer)
        return len(entries) if isinstance(entries, list | Mapping) else None


@dataclass(frozen=True, slots=True)
class Computed:
    """From facts above: the `percent` that `first` is of `second`, rounded down; their `difference`; or
    the `either` of them that is there, `first` before `second`.
    """

    way: str
    first: str
    second: str

    def of(self, facts: Mapping[str, Json]) -> Json:
        if self.way == "either":
            found = facts.get(self.first)
            return facts.get(self.second) if found is None else found
        first, second = whole(facts.get(self.first)), whole(facts.get(self.second))
        if first is None or second is None:
            return None
        if self.way == "difference":
            return first - second
        return first * 100 // second if second else None


def whole(value: object) -> int | None:
    """Return `value` if it is an integer and no truth value."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _index(column: int | str, rows: list[list[str]]) -> int | None:
    """Return the number of a column, which may be named in the first row; None without rows for a name."""
    if isinstance(column, int):
        return column
    names = [name.strip() for name in rows[0]] if rows else []
    return names.index(column) if column in names else None


def _read_regex(fields: Fields) -> Regex | None:
    pattern = fields.text("regex")
    problem = pattern_problem(pattern, group="value")
    if problem is not None:
        fields.node.refuse(f"pattern `{pattern:.60}`: {problem}", found=pattern)
        return None
    return Regex(compiled(pattern), fields.boolean("whole"))


def _read_pointer(fields: Fields, key: str = "pointer") -> str:
    text = fields.text(key, most=512)
    if text and not text.startswith("/"):
        allowed = "empty, or starting with /"
        fields.node.child(key, text).refuse(
            f"`{text:.60}` is not a JSON pointer", found=text, allowed=allowed
        )
    return text


def _read_cell(fields: Fields) -> Cell:
    row = fields.get("row")
    return Cell(
        column=_column(fields.part("column")),
        row=-1 if row is None or row.value == "last" else row.integer(0, 10_000),
        where=fields.maybe("where", _column),
        equals=fields.text("equals"),
        separator=fields.maybe("separator", lambda node: node.text(8)),
    )


def _column(node: Node) -> int | str:
    return node.integer(0, 255) if isinstance(node.value, int) else node.text(64)


_READERS: Final[Mapping[str, Callable[[Fields], Extractor | Gathered | None]]] = {
    "regex": _read_regex,
    "key_value": lambda fields: KeyValue(fields.text("key_value"), fields.text("separator", "=")),
    "pointer": lambda fields: Pointer(_read_pointer(fields)),
    "column": _read_cell,
    "text": lambda _: Whole(),
    "exit_status": lambda _: ExitStatus(),
    "count": lambda fields: Count(
        None if fields.text("count") == "lines" else _read_pointer(fields, "count")
    ),
    "each": read_lines,
    "items": read_items,
}
_COMPUTED: Final[Mapping[str, str]] = {
    "percent": "part whole",
    "difference": "larger smaller",
    "either": "of or",
}
WAYS: Final = (*_READERS, *_COMPUTED)
# What is said beside a way, and means nothing beside the others.
_BESIDE: Final[Mapping[str, str]] = {
    "regex": "whole",
    "key_value": "separator",
    "column": "row where equals separator",
    "each": "but take even_failed expected",
    "items": "of by dated_by having lacking take even_failed expected",
}
_OF_SOME: Final = frozenset(" ".join(_BESIDE.values()).split())


def read_extractor(fields: Fields, above: Collection[str]) -> Extractor | Gathered | Computed | None:
    """Return the one way `fields` say to get a fact, or None after a finding; `above` are facts before it."""
    ways = [way for way in WAYS if fields.get(way) is not None]
    if len(ways) != 1:
        fields.node.refuse(f"a fact is extracted in {len(ways)} ways, not one", allowed=listed(WAYS))
        return None
    way = ways[0]
    own = _BESIDE.get(way, "").split()
    for key in _OF_SOME.difference(own).intersection(fields.values):
        fields.node.refuse(f"`{key}` does not go with `{way}`", found=key, allowed=listed(own) or "nothing")
    if way in _READERS:
        return _READERS[way](fields)
    node, names = fields.part(way), _COMPUTED[way]
    parts = node.fields(names, names)
    first, second = (parts.text(name) for name in names.split())
    for value in (first, second):
        if value not in above:
            node.refuse(f"`{value}` is not a fact above this one", found=value, allowed=listed(sorted(above)))
            return None
    return Computed(way, first, second)
