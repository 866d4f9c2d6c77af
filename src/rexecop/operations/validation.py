"""Validation: every rule of an intent over the facts of an operation. One failing rule fails it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, cast

from rexecop.operations.extract import whole
from rexecop.operations.normalizer_spec import Normalizer
from rexecop.operations.reading import Fields, Node
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.records.plan import PlannedTarget, Step
from rexecop.proof.records.validation import RuleResult, RuleVerdict

RULES_MAX: Final = 128  # What one person can read as "what counts as success".
SHOWN_BYTES_MAX: Final = 4096  # A rule shows the value it judged; the whole evidence stands in outcomes.
PARAMETERS: Final = "parameters"
TARGET: Final = "target"

Facts = Mapping[str, Mapping[str, Json]]
"""Facts by target, then by the key a normalizer stores them under; `parameters` is always there."""

_MISSING: Final = object()
_TYPES: Final = (
    *("require_mapping", "require_truthy_path", "require_equals"),
    *("require_in", "require_at_most", "require_at_least"),
)
_KEYS: Final = "type key path value value_from values rule pass_rule fail_rule details details_from fail pass"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: the value at `path` must stand `test` against `value` or the value at `value_from`."""

    test: str
    path: str
    value: Json
    value_from: str | None
    pass_rule: str
    fail_rule: str
    details: Mapping[str, Json]
    fail_details: Mapping[str, Json]
    details_from: str | None


def read_rules(root: Node, stem: str) -> tuple[Rule, ...]:
    """Return the rules of the file for intent `stem`."""
    fields = root.section("validation_rule").fields("intent steps description", "steps")
    intent = fields.stem("intent", stem)
    rules = tuple(_rule(node, intent) for node in fields.items("steps", RULES_MAX))
    if not rules and fields.get("steps") is not None:
        fields.node.refuse("no rule gives a verdict, and an empty set of rules never passes")
    return rules


def _rule(node: Node, intent: str) -> Rule:
    fields = node.fields(_KEYS, "type")
    kind = fields.one_of("type", _TYPES, _TYPES[0])
    path = fields.text("key") or fields.text("path")
    if not path:
        node.refuse("a rule looks at a `path`", allowed="path, key")
    failing, passing = (fields.part(name).fields("rule details") for name in ("fail", "pass"))
    name = fields.text("rule") or f"{intent}.{path}"
    details = fields.mapping("details")
    return Rule(
        test=kind.removeprefix("require_"),
        path=path,
        value=_expected(kind, fields),
        value_from=fields.text("value_from") or None,
        pass_rule=fields.text("pass_rule") or passing.text("rule") or name,
        fail_rule=fields.text("fail_rule") or failing.text("rule") or name,
        details=details or passing.mapping("details"),
        fail_details=failing.mapping("details") or details,
        details_from=fields.text("details_from") or None,
    )


def _expected(kind: str, fields: Fields) -> Json:
    node = fields.node
    if kind in ("require_mapping", "require_truthy_path"):
        return None
    if kind == "require_in":
        if fields.get("values") is None:
            node.refuse("`require_in` takes `values`")
        return [item.json() for item in fields.items("values", 256)]
    if "value" not in fields.values and not fields.text("value_from"):
        node.refuse(f"`{kind}` takes `value` or `value_from`", allowed="value, value_from")
        return None
    value = fields.maybe("value", Node.json)
    if kind != "require_equals" and not fields.text("value_from") and whole(value) is None:
        node.refuse(f"`{kind}` takes an integer", found=str(value), allowed="an integer")
    return value


class Planned(Protocol):
    """What facts are gathered along: a plan record, or a draft of one."""

    @property
    def targets(self) -> tuple[PlannedTarget, ...]: ...

    @property
    def steps(self) -> tuple[Step, ...]: ...


def gather(
    plan: Planned,
    normalizers: Mapping[str, Normalizer],
    found: Mapping[str, Mapping[str, Json] | None],
    parameters: Mapping[str, Json] | None,
) -> Facts:
    """Return the facts rules look at, from the facts of each step of `plan` (by step id).

    A step whose outcome has no facts leaves its key out.
    """
    facts: dict[str, dict[str, Json]] = {
        target.id: {PARAMETERS: dict(parameters or {}), TARGET: target.id} for target in plan.targets
    }
    for step in plan.steps:
        values = found.get(step.id)
        if step.normalizer is None or values is None:
            continue
        normalizer, of_target = normalizers.get(step.normalizer), facts.setdefault(step.target, {})
        if normalizer is None:
            of_target.update(values)  # A handler says itself what its facts are called.
        else:
            place(of_target, normalizer.store_as or base_id(step.id), values)
    return facts


def base_id(step: str) -> str:
    """Return the id the workflow gives a step: without the target a plan for several adds."""
    return step.split("@", 1)[0]


def place(facts: dict[str, Json], path: str, value: Json) -> None:
    """Put `value` under the dotted `path`."""
    *groups, last = path.split(".")
    for group in groups:
        facts = cast("dict[str, Json]", facts.setdefault(group, {}))
    facts[last] = value


def evaluate(
    rules: Sequence[Rule], facts: Facts, evaluated: bool
) -> tuple[RuleVerdict, tuple[RuleResult, ...]]:
    """Return the verdict and every rule's result for every target.

    With `evaluated` false (some steps were only previewed) a rule whose fact is not there
    is not evaluated; otherwise it failed. No rules, or no targets, never pass.
    """
    several = len(facts) > 1
    results = tuple(
        _judge(rule, of_target, evaluated, target if several else None)
        for target, of_target in facts.items()
        for rule in rules
    )
    verdicts = {result.verdict for result in results}
    if not results or RuleVerdict.FAILED in verdicts:
        return RuleVerdict.FAILED, results
    if RuleVerdict.NOT_EVALUATED in verdicts:
        return RuleVerdict.NOT_EVALUATED, results
    return RuleVerdict.PASSED, results


def _judge(rule: Rule, facts: Mapping[str, Json], evaluated: bool, target: str | None) -> RuleResult:
    found = _at(facts, rule.path)
    expected: object = rule.value if rule.value_from is None else _at(facts, rule.value_from)
    if not evaluated and (found is _MISSING or found is None or expected is _MISSING):
        verdict = RuleVerdict.NOT_EVALUATED
    else:
        verdict = RuleVerdict.PASSED if _holds(rule.test, found, expected) else RuleVerdict.FAILED
    passed = verdict is RuleVerdict.PASSED
    details: dict[str, Json] = {} if target is None else {TARGET: target}
    if rule.details_from is not None:
        more = _at(facts, rule.details_from)
        details |= more if isinstance(more, dict) else {}
    for key, value in (rule.details if passed else rule.fail_details).items():
        quoted = isinstance(value, str) and value.startswith("$")
        details[key] = value_at(facts, str(value)[1:]) if quoted else value
    return RuleResult(
        rule=rule.pass_rule if passed else rule.fail_rule,
        verdict=verdict,
        path=rule.path,
        expected=_value(expected),
        # That a mapping is there was asked, not what stands in it.
        found=None if rule.test == "mapping" else _shown(_value(found)),
        details={key: _shown(value) for key, value in details.items()} or None,
    )


def _holds(test: str, found: object, expected: object) -> bool:
    if found is _MISSING or expected is _MISSING:
        return False
    match test:
        case "mapping":
            return isinstance(found, Mapping)
        case "truthy_path":
            return bool(found)
        case "equals":
            return type(found) is type(expected) and found == expected
        case "in":
            return isinstance(expected, list) and any(type(found) is type(e) and found == e for e in expected)
        case _:
            number, limit = whole(found), whole(expected)
            if number is None or limit is None:
                return False
            return number <= limit if test == "at_most" else number >= limit


def _at(facts: Mapping[str, Json], path: str) -> object:
    value: Json = facts
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _value(found: object) -> Json:
    return None if found is _MISSING else cast("Json", found)


def value_at(facts: Mapping[str, Json], path: str) -> Json:
    """Return the fact at a dotted path, None where there is none."""
    return _value(_at(facts, path))


def _shown(value: Json) -> Json:
    """Return `value`, or a word on its size where it is too large to repeat."""
    size = len(canonical_bytes(value))
    return value if size <= SHOWN_BYTES_MAX else f"{size} bytes"
