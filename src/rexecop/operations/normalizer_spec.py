"""Normalizers as data: how raw output becomes bounded, typed facts and a health status."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.operations.extract import WAYS, Computed, Count, ExitStatus, Extractor, read_extractor
from rexecop.operations.gathering import Gathered
from rexecop.operations.moments import UNITS
from rexecop.operations.reading import WORD, Fields, Node, listed
from rexecop.proof.call import SLOT_LENGTH_MAX
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.message import Scalar

FACTS_MAX: Final = 256  # A step that yields more facts than this yields a document.
RULES_MAX: Final = 64  # Rules a person can still read as one assessment.
FACT_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}(\.[a-z_][a-z0-9_]{0,63}){0,3}")
RESERVED: Final = frozenset({"status", "complete", "missing", "findings", "healthy", "contract"})
THIS: Final = "this"

STATUSES: Final = ("healthy", "degraded", "unhealthy", "unknown", "not_applicable")
TYPES: Final = ("string", "integer", "boolean", "decimal", "enum", "table")
STREAMS: Final = ("stdout", "stderr", "data")
TESTS: Final = ("equals", "not_equals", "in", "at_least", "at_most", "has_bits", "missing")
_FACT_KEYS: Final = (
    "from stream type required exact max_length values map minimum maximum multiply divide whole separator "
    "row where equals take but of by dated_by having lacking even_failed expected age left full "
    + " ".join(WAYS)
)
_MAPPED: Final = re.compile(r".{0,128}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactSpec:
    """One fact: where it comes from and the closed domain it lies in.

    With a `clock` (`age` or `left`) it is how many of `unit` ago or ahead the moment found is.
    `full` is the value at which nothing more fits: reports say in how many days that will be.
    A `table` has an integer for each of many names.
    """

    name: str
    source: str
    stream: str
    extractor: Extractor | Gathered | Computed
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
    clock: str = ""
    unit: str = ""
    full: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """`status` holds where `fact` stands the `test` against `value`, or what a target has as `threshold`.

    It is looked at only where `given` holds, too.
    """

    fact: str
    test: str
    value: Json
    status: str
    reason: str
    threshold: str = ""
    given: StatusRule | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalizer:
    """Facts and status of one component; `store_as` is the key rules find them under."""

    name: str
    store_as: str | None
    contract: Mapping[str, Json] | None
    facts: tuple[FactSpec, ...]
    rules: tuple[StatusRule, ...]

    def sources(self) -> frozenset[str]:
        """Return the step ids read; `this` stands for the step that names the normalizer."""
        return frozenset(fact.source for fact in self.facts if fact.source)

    def limits(self) -> frozenset[str]:
        """Return the names of the limits that an environment may set otherwise for a target."""
        return frozenset(rule.threshold for rule in self.rules if rule.threshold)

    def limits_by_name(self) -> frozenset[str]:
        """Return those that may be set for one name of a table, as `LIMIT_NAME`."""
        tables = {fact.name for fact in self.facts if fact.type == "table"}
        return frozenset(rule.threshold for rule in self.rules if rule.threshold and rule.fact in tables)

    def expects(self) -> frozenset[str]:
        """Return the names of the lists of what has to be there that it compares with."""
        gathered = (fact.extractor for fact in self.facts)
        return frozenset(one.expected for one in gathered if isinstance(one, Gathered) and one.expected)

    def yields(self) -> tuple[str, ...]:
        """Return the names of the single values it yields."""
        assessed = ("status", "healthy") if self.rules else ()
        return (*(fact.name for fact in self.facts), "complete", *assessed)


def read_normalizer(root: Node, stem: str) -> Normalizer:
    """Return the normalizer of a file named `stem`."""
    fields = root.section("normalizer").fields(
        "name description store_as contract facts status thresholds", "facts"
    )
    thresholds = {
        key: node.integer(-INTEGER_MAX, INTEGER_MAX) for key, node in fields.entries("thresholds", WORD)
    }
    facts = tuple(_facts(fields))
    names = {fact.name for fact in facts}
    return Normalizer(
        name=fields.stem("name", stem),
        store_as=fields.maybe("store_as", lambda node: node.token(FACT_NAME)),
        contract=fields.mapping("contract") or None,
        facts=facts,
        rules=tuple(_rule(node, names, thresholds) for node in fields.items("status", RULES_MAX)),
    )


def _facts(fields: Fields) -> Iterator[FactSpec]:
    seen: set[str] = set()
    for name, node in fields.entries("facts", FACT_NAME):
        if name.split(".")[0] in RESERVED:
            node.refuse(f"`{name}` is a name normalizers fill themselves", found=name)
        if any(name.startswith(f"{other}.") or other.startswith(f"{name}.") for other in seen):
            node.refuse(f"`{name}` is both a fact and a group of facts", found=name)
        if len(seen) == FACTS_MAX:
            fields.node.refuse(f"more than {FACTS_MAX} facts", allowed=str(FACTS_MAX))
        part = node.fields(_FACT_KEYS)
        extractor = read_extractor(part, seen)
        if extractor is not None:
            yield _fact(name, part, extractor)
        seen.add(name)


def _fact(name: str, fields: Fields, extractor: Extractor | Gathered | Computed) -> FactSpec:
    clocks = [key for key in ("age", "left") if fields.get(key) is not None]
    if len(clocks) > 1 or (clocks and isinstance(extractor, Computed)):
        fields.node.refuse("`age` or `left` goes with what is read from an output, and not both")
    counted = isinstance(extractor, Computed | Count | ExitStatus) or bool(clocks)
    counted = counted or (isinstance(extractor, Gathered) and extractor.take in ("count", "groups"))
    words = fields.texts("values", 256)
    kind = fields.one_of("type", TYPES, "enum" if words else ("integer" if counted else "string"))
    if (kind == "enum") != bool(words):
        fields.node.refuse(f"fact `{name}`: `values` and type `enum` go together")
    full = fields.maybe("full", lambda node: node.integer(1, INTEGER_MAX))
    if full is not None and kind not in ("integer", "table"):
        allowed = "integer, table"
        fields.node.refuse(f"fact `{name}`: `full` goes with type `integer`", found=kind, allowed=allowed)
    return FactSpec(
        name=name,
        source="" if isinstance(extractor, Computed) else fields.token("from", THIS),
        stream=fields.one_of("stream", STREAMS, "stdout"),
        extractor=extractor,
        type=kind,
        required=fields.boolean("required", default=True),
        exact=fields.boolean("exact"),
        length_max=fields.integer("max_length", 256, 1, SLOT_LENGTH_MAX),
        words=words,
        translate={key: item.scalar() for key, item in fields.entries("map", _MAPPED)},
        least=fields.integer("minimum", -INTEGER_MAX, -INTEGER_MAX, INTEGER_MAX),
        most=fields.integer("maximum", INTEGER_MAX, -INTEGER_MAX, INTEGER_MAX),
        multiply=fields.integer("multiply", 1, 1, 10**9),
        divide=fields.integer("divide", 1, 1, 10**9),
        clock=clocks[0] if clocks else "",
        unit=fields.one_of(clocks[0], tuple(UNITS), "days") if clocks else "",
        full=full,
    )


def _rule(node: Node, facts: set[str], thresholds: Mapping[str, int]) -> StatusRule:
    fields = node.fields(f"{' '.join(TESTS)} fact status reason given", "fact status")
    given = fields.maybe("given", lambda part: _given(part, facts, thresholds))
    return _test(fields, facts, thresholds, given)


def _given(node: Node, facts: set[str], thresholds: Mapping[str, int]) -> StatusRule:
    return _test(node.fields(f"{' '.join(TESTS)} fact", "fact"), facts, thresholds, None)


def _test(
    fields: Fields, facts: set[str], thresholds: Mapping[str, int], given: StatusRule | None
) -> StatusRule:
    node = fields.node
    tests = [test for test in TESTS if fields.get(test) is not None]
    if len(tests) != 1:
        node.refuse(f"a status rule has {len(tests)} tests, not one", allowed=listed(TESTS))
    test = tests[0] if tests else "missing"
    fact = fields.text("fact")
    if fact not in facts and fact != "complete":
        node.refuse(f"`{fact}` is not a fact of this normalizer", found=fact, allowed=listed(sorted(facts)))
    value = fields.maybe(test, Node.json)
    threshold = ""
    if test in ("at_least", "at_most", "has_bits"):
        if isinstance(value, str) and value in thresholds:
            threshold, value = value, thresholds[value]
        if isinstance(value, bool) or not isinstance(value, int):
            message = f"`{test}` takes an integer or a threshold"
            node.refuse(message, found=str(value), allowed=listed(thresholds))
    if test == "in" and not isinstance(value, list):
        node.refuse("`in` takes a list")
    return StatusRule(
        fact=fact,
        test=test,
        value=value,
        status=fields.one_of("status", STATUSES, "unknown"),
        reason=fields.token("reason", f"{fact.replace('.', '_')}_{test}"),
        threshold=threshold,
        given=given,
    )
