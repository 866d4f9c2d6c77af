"""Normalizers as data: how raw output becomes bounded, typed facts and a health status."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.patterns import compiled, pattern_problem
from rexecop.operations.reading import WORD, Fields, Node, listed
from rexecop.proof.call import SLOT_LENGTH_MAX, Scalar
from rexecop.proof.canonical import INTEGER_MAX, Json

FACTS_MAX: Final = 256  # A step that yields more facts than this yields a document.
RULES_MAX: Final = 64  # Rules a person can still read as one assessment.
FACT_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}(\.[a-z_][a-z0-9_]{0,63}){0,3}")
RESERVED: Final = frozenset({"status", "complete", "missing", "findings", "healthy", "contract"})
THIS: Final = "this"

STATUSES: Final = ("healthy", "degraded", "unhealthy", "unknown", "not_applicable")
TYPES: Final = ("string", "integer", "boolean", "decimal", "enum")
STREAMS: Final = ("stdout", "stderr", "data")
TESTS: Final = ("equals", "not_equals", "in", "at_least", "at_most", "missing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Regex:
    """The named group `value` of the first match: line by line, or over the `whole` text."""

    pattern: re.Pattern[str]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """What follows `key` and `separator` on a line of its own, quotes around it taken off."""

    key: str
    separator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """The value a JSON pointer names in the structured answer or in JSON text."""

    pointer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table: `row` is an index, -1 the last; or the first where `where` equals `equals`."""

    column: int | str
    row: int
    where: int | str | None
    equals: str
    separator: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """The whole text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitStatus:
    """The status the call ended with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many lines that are not empty, or entries at `pointer`."""

    pointer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Percent:
    """`part` of `whole`, both facts above, in whole percent, rounded down."""

    part: str
    whole: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`larger` less `smaller`, both facts above."""

    larger: str
    smaller: str


Extractor = Regex | KeyValue | Pointer | Cell | Whole | ExitStatus | Count | Percent | Difference


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSpec:
    """One fact: where it comes from and the closed domain it lies in."""

    name: str
    source: str
    stream: str
    extractor: Extractor
    type: str
    required: bool
    exact: bool
    length_max: int
    words: tuple[str, ...]
    translate: Mapping[str, Scalar]
    least: int
    most: int
    multiply: int
    divide: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """`status` holds where `fact` stands the `test`; `threshold` names a limit a target may override."""

    fact: str
    test: str
    value: Json
    threshold: str | None
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """Facts and status of one component; `store_as` is the key rules find them under."""

    name: str
    store_as: str | None
    contract: Mapping[str, Json] | None
    facts: tuple[FactSpec, ...]
    rules: tuple[StatusRule, ...]
    thresholds: Mapping[str, int]

    def sources(self) -> frozenset[str]:
        """Return the step ids read; `this` stands for the step that names the normalizer."""
        return frozenset(fact.source for fact in self.facts if fact.source)

    def yields(self) -> tuple[str, ...]:
        """Return the names of the single values it yields."""
        assessed = ("status", "healthy") if self.rules else ()
        return (*(fact.name for fact in self.facts), "complete", *assessed)


_HOW: Final = (
    "regex",
    "key_value",
    "pointer",
    "column",
    "text",
    "exit_status",
    "count",
    "percent",
    "difference",
)
_FACT_KEYS: Final = (
    *("from", "stream", "type", "required", "exact", "max_length", "values", "map", "minimum", "maximum"),
    *("multiply", "divide", "whole", "separator", "row", "where", "equals", *_HOW),
)


def read_normalizer(root: Node, stem: str) -> Normalizer:
    """Return the normalizer of a file named `stem`."""
    top = root.fields(("normalizer",), ("normalizer",)).get("normalizer") or root.child("normalizer", {})
    fields = top.fields(
        ("name", "description", "store_as", "contract", "facts", "status", "thresholds"), ("facts",)
    )
    name = fields.token("name", stem)
    if name != stem:
        top.refuse(f"normalizer `{name}` stands in the file of `{stem}`", found=name, allowed=stem)
    thresholds = {
        key: node.integer(-INTEGER_MAX, INTEGER_MAX) for key, node in fields.entries("thresholds", WORD)
    }
    facts = tuple(_facts(fields, top))
    names = {fact.name for fact in facts}
    rules = [_rule(node, names, thresholds) for node in fields.items("status", RULES_MAX)]
    store_as = fields.get("store_as")
    return Normalizer(
        name=name,
        store_as=None if store_as is None else store_as.token(FACT_NAME),
        contract=fields.mapping("contract") or None,
        facts=facts,
        rules=tuple(rules),
        thresholds=thresholds,
    )


def _facts(fields: Fields, top: Node) -> Iterator[FactSpec]:
    seen: set[str] = set()
    for name, node in fields.entries("facts", FACT_NAME):
        if name.split(".")[0] in RESERVED:
            node.refuse(f"`{name}` is a name normalizers fill themselves", found=name)
        if any(name.startswith(f"{other}.") or other.startswith(f"{name}.") for other in seen):
            node.refuse(f"`{name}` is both a fact and a group of facts", found=name)
        if len(seen) == FACTS_MAX:
            top.refuse(f"more than {FACTS_MAX} facts", allowed=str(FACTS_MAX))
        fact = _fact(name, node, seen)
        if fact is not None:
            yield fact
        seen.add(name)


def _fact(name: str, node: Node, above: set[str]) -> FactSpec | None:
    fields = node.fields(_FACT_KEYS)
    ways = [way for way in _HOW if fields.get(way) is not None]
    if len(ways) != 1:
        node.refuse(f"fact `{name}` is extracted in {len(ways)} ways, not one", allowed=listed(_HOW))
        return None
    extractor = _extractor(ways[0], node, fields, above)
    if extractor is None:
        return None
    computed = isinstance(extractor, Percent | Difference)
    counted = computed or isinstance(extractor, Count | ExitStatus)
    words = fields.texts("values", 256)
    kind = fields.one_of("type", TYPES, "enum" if words else ("integer" if counted else "string"))
    if (kind == "enum") != bool(words):
        node.refuse(f"fact `{name}`: `values` and type `enum` go together")
    translate = {
        key: item.scalar() for key, item in fields.entries("map", re.compile(r".{0,128}", re.DOTALL))
    }
    return FactSpec(
        name=name,
        source="" if computed else fields.token("from", THIS),
        stream=fields.one_of("stream", STREAMS, "stdout"),
        extractor=extractor,
        type=kind,
        required=fields.boolean("required", default=True),
        exact=fields.boolean("exact"),
        length_max=fields.integer("max_length", 256, 1, SLOT_LENGTH_MAX),
        words=words,
        translate=translate,
        least=fields.integer("minimum", -INTEGER_MAX, -INTEGER_MAX, INTEGER_MAX),
        most=fields.integer("maximum", INTEGER_MAX, -INTEGER_MAX, INTEGER_MAX),
        multiply=fields.integer("multiply", 1, 1, 10**9),
        divide=fields.integer("divide", 1, 1, 10**9),
    )


def _extractor(way: str, node: Node, fields: Fields, above: set[str]) -> Extractor | None:
    match way:
        case "regex":
            return _regex(node, fields)
        case "key_value":
            return KeyValue(key=fields.text("key_value"), separator=fields.text("separator", "="))
        case "pointer":
            return _pointer(fields, "pointer")
        case "column":
            return _cell(fields)
        case "text":
            return Whole()
        case "exit_status":
            return ExitStatus()
        case "count":
            return _count(fields)
        case _:
            return _computed(way, fields, above)


def _regex(node: Node, fields: Fields) -> Regex | None:
    pattern = fields.text("regex")
    problem = pattern_problem(pattern, group="value")
    if problem is not None:
        node.refuse(f"pattern `{pattern:.60}`: {problem}", found=pattern[:60])
        return None
    return Regex(pattern=compiled(pattern), whole=fields.boolean("whole"))


def _pointer(fields: Fields, key: str) -> Pointer | None:
    text = fields.text(key, most=512)
    node = fields.get(key)
    if text and not text.startswith("/"):
        if node is not None:
            node.refuse(
                f"`{text:.60}` is not a JSON pointer", found=text[:60], allowed="empty, or starting with /"
            )
        return None
    return Pointer(pointer=text)


def _count(fields: Fields) -> Count | None:
    what = fields.text("count")
    if what == "lines":
        return Count(pointer=None)
    pointer = _pointer(fields, "count")
    return None if pointer is None else Count(pointer=pointer.pointer)


def _cell(fields: Fields) -> Cell:
    where, row, separator = fields.get("where"), fields.get("row"), fields.get("separator")
    last = row is not None and row.value == "last"
    return Cell(
        column=_column(fields.get("column")),
        row=-1 if row is None or last else row.integer(0, 10_000),
        where=None if where is None else _column(where),
        equals=fields.text("equals"),
        separator=None if separator is None else separator.text(8),
    )


def _column(node: Node | None) -> int | str:
    if node is None:
        return 0
    return node.integer(0, 255) if isinstance(node.value, int) else node.text(64)


def _computed(way: str, fields: Fields, above: set[str]) -> Percent | Difference | None:
    node = fields.get(way)
    if node is None:
        return None
    names = ("part", "whole") if way == "percent" else ("larger", "smaller")
    parts = node.fields(names, names)
    values = [parts.text(name) for name in names]
    for value in values:
        if value not in above:
            node.refuse(f"`{value}` is not a fact above this one", found=value, allowed=listed(sorted(above)))
            return None
    if way == "percent":
        return Percent(part=values[0], whole=values[1])
    return Difference(larger=values[0], smaller=values[1])


def _rule(node: Node, facts: set[str], thresholds: Mapping[str, int]) -> StatusRule:
    fields = node.fields((*TESTS, "fact", "threshold", "status", "reason"), ("fact", "status"))
    tests = [test for test in TESTS if fields.get(test) is not None]
    if len(tests) != 1:
        node.refuse(f"a status rule has {len(tests)} tests, not one", allowed=listed(TESTS))
    test = tests[0] if tests else "missing"
    fact = fields.text("fact")
    if fact not in facts and fact != "complete":
        node.refuse(f"`{fact}` is not a fact of this normalizer", found=fact, allowed=listed(sorted(facts)))
    value_node = fields.get(test)
    value: Json = None if value_node is None else value_node.json()
    threshold = None
    if test in ("at_least", "at_most") and isinstance(value, str) and value in thresholds:
        threshold, value = value, thresholds[value]
    if test in ("at_least", "at_most") and (isinstance(value, bool) or not isinstance(value, int)):
        node.refuse(
            f"`{test}` takes an integer or a threshold", found=str(value)[:60], allowed=listed(thresholds)
        )
    if test == "in" and not isinstance(value, list):
        node.refuse("`in` takes a list")
    return StatusRule(
        fact=fact,
        test=test,
        value=value,
        threshold=threshold,
        status=fields.one_of("status", STATUSES, "unknown"),
        reason=fields.token("reason", f"{fact.replace('.', '_')}_{test}"),
    )
