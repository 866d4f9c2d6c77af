"""One fact out of many lines or entries: how many, the most, their names, which expected ones are missing.

An answer that is odd, or that a call did not end well with, yields None: nothing was counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple, Protocol

from rexecop.operations.moments import moment
from rexecop.operations.patterns import compiled, pattern_problem
from rexecop.operations.reading import Fields, Node, listed
from rexecop.operations.step_output import LINE_MAX, StepOutput
from rexecop.proof.canonical import Json
from rexecop.proof.pointer import pointed
from rexecop.proof.vocabulary import GOOD_ENDS

ENTRIES_MAX: Final = 20_000  # As many lines of one output as are looked at.
DIGITS_MAX: Final = 32  # Longer numbers are identifiers.
NAMES_MAX: Final = 512  # Of one table: more guests or mounts than one host has.
TAKES: Final = ("count", "groups", "most", "least", "sum", "newest", "oldest", "names", "absent", "extra")
_COMPARED: Final = ("absent", "extra")
_OF_A_TABLE: Final = ("count", "most", "least", "sum", "newest", "oldest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """What the environment says of a target: limits of its own, and names that have to be there."""

    thresholds: Mapping[str, int] = field(default_factory=dict)
    expected: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ANYWHERE: Final = Site()


class One(NamedTuple):
    """One of several values: the name it goes by, and what it is dated by, None where that is not there."""

    name: str
    value: str
    date: str | None


class Many(Protocol):
    """Where several values come from."""

    def found(self, output: StepOutput, stream: str) -> list[One] | None:
        """Return them in their order; None where the answer is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The named group `value` of every line that `pattern` matches and `but` does not, by `name`."""

    pattern: re.Pattern[str]
    but: re.Pattern[str] | None

    def found(self, output: StepOutput, stream: str) -> list[One] | None:
        by = "name" if "name" in self.pattern.groupindex else "value"
        lines = [line[:LINE_MAX] for line in output.lines(stream)]
        kept = lines if self.but is None else [line for line in lines if not self.but.search(line)]
        found = (self.pattern.search(line) for line in kept)
        matched = (one for one in found if one and one["value"] is not None)
        return [One(str(one[by]), one["value"], one["value"]) for one in matched]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Whether what `at` names in an entry is one of `words` or matches, or with `other` does neither."""

    at: str
    words: tuple[str, ...]
    pattern: re.Pattern[str] | None
    other: bool

    def holds(self, entry: Json) -> bool:
        word = _word(pointed(entry, self.at))
        found = word in self.words
        if self.pattern is not None and word is not None:
            found = found or self.pattern.search(word[:LINE_MAX]) is not None
        return found != self.other


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """What `of` names in each entry of the list, or object, at `pointer`, where all `choices` hold.

    The name a value goes by is what `by` names beside it, and `dated_by` names what it is dated by; the value
    itself where nothing is said.
    """

    pointer: str
    of: str
    by: str
    dated_by: str
    choices: tuple[Choice, ...]

    def found(self, output: StepOutput, stream: str) -> list[One] | None:
        entries = output.value(stream, self.pointer)
        if isinstance(entries, Mapping):
            entries = list(entries.values())
        if not isinstance(entries, list) or len(entries) > ENTRIES_MAX:
            return None
        found = []
        for entry in entries:
            if all(choice.holds(entry) for choice in self.choices):
                name, word, date = (_word(pointed(entry, at)) for at in (self.by, self.of, self.dated_by))
                if word is not None:
                    found.append(One(name or "", word, date))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What is `take`n of many values; `absent` and `extra` compare them with the `expected` of the target.

    With `table` that is one value for each name. With `even_failed` a call that ended badly counts, too.
    """

    many: Many
    take: str
    expected: str
    table: bool = False
    even_failed: bool = False

    def of(self, output: StepOutput, stream: str, site: Site, length_max: int) -> Json:
        """Return the fact, None where there is none. Names are held to `length_max` characters."""
        if output.ended not in GOOD_ENDS and not self.even_failed:
            return None
        many = self.many.found(output, stream)
        if many is None:
            return None
        if not self.table:
            return self._taken(many, site, length_max)
        by_name: dict[str, list[One]] = {}
        for one in many:
            by_name.setdefault(" ".join(one.name.split())[:length_max], []).append(one)
        return {name: self._taken(ones, site, length_max) for name, ones in sorted(by_name.items())}

    def _taken(self, many: list[One], site: Site, length_max: int) -> Json:
        values = [one.value for one in many]
        if self.take in _COMPARED:
            if self.expected not in site.expected:
                return None
            found, wanted = set(values), set(site.expected[self.expected])
            return named(wanted - found if self.take == "absent" else found - wanted, length_max)
        match self.take:
            case "count":
                return len(values)
            case "groups":
                return len(set(values))
            case "names":
                return named(set(values), length_max)
            case "newest" | "oldest":
                times = [(None if one.date is None else moment(one.date), one.value) for one in many]
                dated = sorted((when, value) for when, value in times if when is not None)
                if not dated or len(dated) < len(times):
                    return None
                return dated[-1 if self.take == "newest" else 0][1]
        numbers = [number(value) for value in values]
        known = [value for value in numbers if value is not None]
        if len(known) < len(numbers) or (not known and self.take != "sum"):
            return None
        chosen = max(known) if self.take == "most" else min(known) if self.take == "least" else sum(known)
        return format(Decimal(chosen), "f")


def read_lines(fields: Fields) -> Gathered | None:
    """Return what `each` says."""
    patterns = {key: fields.text(key) for key in ("each", "but") if fields.get(key) is not None}
    for key, pattern in patterns.items():
        problem = pattern_problem(pattern, group="value" if key == "each" else None)
        if problem is not None:
            fields.node.refuse(f"pattern `{pattern:.60}`: {problem}", found=pattern)
            return None
    but = patterns.get("but")
    lines = Lines(pattern=compiled(patterns["each"]), but=None if but is None else compiled(but))
    return _gathered(fields, lines)


def read_items(fields: Fields) -> Gathered | None:
    """Return what `items` says."""
    choices = [
        _choice(fields.part(key), other=key == "lacking")
        for key in ("having", "lacking")
        if fields.get(key) is not None
    ]
    of = _pointer(fields, "of")
    by, dated_by = (of if fields.get(key) is None else _pointer(fields, key) for key in ("by", "dated_by"))
    if fields.get("dated_by") is not None and fields.text("take") not in ("newest", "oldest"):
        words = "`dated_by` goes with `take: newest` and `take: oldest`"
        fields.node.refuse(words, allowed="newest, oldest")
        return None
    pointer = _pointer(fields, "items")
    items = Items(pointer=pointer, of=of, by=by, dated_by=dated_by, choices=tuple(choices))
    return _gathered(fields, items)


def number(text: str) -> Decimal | None:
    """Return the number `text` is, None for what is none, not finite or longer than evidence holds."""
    if len(text) > DIGITS_MAX or not text.isascii():
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    return value if value.is_finite() else None


def _gathered(fields: Fields, many: Many) -> Gathered | None:
    take, expected = fields.one_of("take", TAKES, "count"), fields.token("expected")
    if (take in _COMPARED) != bool(expected):
        fields.node.refuse("`expected` goes with `take: absent` and `take: extra`", allowed=listed(_COMPARED))
        return None
    table = fields.text("type") == "table"
    if table and take not in _OF_A_TABLE:
        fields.node.refuse(f"`{take}` makes no table", found=take, allowed=listed(_OF_A_TABLE))
    even_failed = fields.boolean("even_failed")
    return Gathered(many=many, take=take, expected=expected, table=table, even_failed=even_failed)


def _choice(node: Node, *, other: bool) -> Choice:
    fields = node.fields("at in matching", "at")
    pattern = fields.text("matching")
    problem = pattern_problem(pattern) if pattern else None
    if problem is not None or (fields.get("in") is None and not pattern):
        node.refuse(
            problem or "a choice is made by `in` or `matching`", found=pattern, allowed="in, matching"
        )
        return Choice(at="", words=(), pattern=None, other=other)
    return Choice(
        at=_pointer(fields, "at"),
        words=fields.texts("in", 256),
        pattern=compiled(pattern) if pattern else None,
        other=other,
    )


def _pointer(fields: Fields, key: str) -> str:
    text = fields.text(key, most=512)
    if text and not text.startswith("/"):
        fields.node.child(key, text).refuse(
            f"`{text:.60}` is not a JSON pointer", found=text, allowed="empty, or starting with /"
        )
    return text


def _word(value: Json) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else None


def named(names: Collection[str], length_max: int) -> str | None:
    """Return `names` in their order with commas, whole ones only, and how many more there are."""
    left = sorted(" ".join(name.split()) for name in names)
    text, count = "", 0
    for name in left:
        longer = f"{text}, {name}" if text else name
        more = len(left) - count - 1
        if len(longer) + (len(f", and {more} more") if more else 0) > length_max:
            return f"{text}, and {len(left) - count} more" if text else f"{len(left)} names"
        text, count = longer, count + 1
    return text or None
