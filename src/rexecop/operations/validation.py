"""Validation: every rule of an intent over the facts of an operation. One failing rule fails it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from rexecop.operations.extract import whole
from rexecop.operations.normalizer_spec import Normalizer
from rexecop.operations.reading import Fields, Node
from rexecop.proof.called import WITHIN, Planned, is_within
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.codec import encode
from rexecop.proof.records.plan import CalledIntent, Step
from rexecop.proof.records.validation import RuleResult, RuleVerdict

RULES_MAX: Final = 128  # What one person can read as "what counts as success".
RESULTS_MAX: Final = 4096  # Told one by one, which is more than a person reads; the rest is counted.
RESULTS_BYTES_MAX: Final = 4 * 1024 * 1024  # With what they saw: half of what a record takes.
SHOWN_BYTES_MAX: Final = 4096  # A rule shows the value it judged; the whole evidence stands in outcomes.
PARAMETERS: Final = "parameters"
TARGET: Final = "target"
MORE_TARGETS: Final = "more_targets"

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
    path = next(filter(None, [fields.text(key) for key in ("key", "path")]), "")
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


def gather(
    plan: Planned,
    normalizers: Mapping[str, Normalizer],
    found: Mapping[str, Mapping[str, Json] | None],
    parameters: Mapping[str, Json] | None,
) -> Facts:
    """Return the facts rules look at, from the facts of each step of `plan` (by step id).

    A step whose outcome has no facts leaves its key out.
    """
    targets = [target.id for target in plan.targets]
    return _gathered(plan.steps, targets, normalizers, found, parameters, "")


def gather_within(
    plan: Planned,
    one: CalledIntent,
    normalizers: Mapping[str, Normalizer],
    found: Mapping[str, Mapping[str, Json] | None],
) -> Facts:
    """Return the facts that the rules of an intent look at which the plan calls: as if it were on its own."""
    steps = [step for step in plan.steps if is_within(one, step, plan.rollout)]
    return _gathered(steps, one.targets, normalizers, found, one.parameters, f"{one.prefix}{WITHIN}")


def _gathered(
    steps: Sequence[Step],
    targets: Sequence[str],
    normalizers: Mapping[str, Normalizer],
    found: Mapping[str, Mapping[str, Json] | None],
    parameters: Mapping[str, Json] | None,
    prefix: str,
) -> Facts:
    facts: dict[str, dict[str, Json]] = {
        target: {PARAMETERS: dict(parameters or {}), TARGET: target} for target in targets
    }
    for step in steps:
        values = found.get(step.id)
        if step.normalizer is None or values is None:
            continue
        normalizer, of_target = normalizers.get(step.normalizer), facts.setdefault(step.target, {})
        caller, within, own = step.id.partition("@")[0].removeprefix(prefix).rpartition(WITHIN)
        if normalizer is None:
            # A handler says itself what its facts are called.
            of_target.update({f"{caller}{within}{name}": value for name, value in values.items()})
        else:
            place(of_target, f"{caller}{within}{normalizer.store_as or own}", values)
    return facts


def own_id(step: str) -> str:
    """Return the id its own workflow gives a step: without the steps that called it, and the target."""
    return step.partition("@")[0].rpartition(WITHIN)[2]


def place(facts: dict[str, Json], path: str, value: Json) -> None:
    """Put `value` under the dotted `path`."""
    *groups, last = path.split(".")
    for group in groups:
        facts = cast("dict[str, Json]", facts.setdefault(group, {}))
    facts[last] = value


def evaluate(
    rules: Sequence[Rule], facts: Facts, evaluated: bool
) -> tuple[RuleVerdict, tuple[RuleResult, ...]]:
    """Return the verdict, and every rule's result for every target, or for the first and how many more.

    With `evaluated` false (some steps were only previewed) a rule whose fact is not there
    is not evaluated; otherwise it failed. No rules, or no targets, never pass.
    """
    several, results = len(facts) > 1, list[RuleResult]()
    counts: Counter[tuple[int, RuleVerdict]] = Counter()
    # Of each rule as many of each verdict; the verdict over all rests on one of each.
    each = RESULTS_MAX // (len(RuleVerdict) * max(len(rules), 1))
    each = len(facts) if len(facts) * len(rules) <= RESULTS_MAX else each
    for target, of_target in facts.items():
        for number, rule in enumerate(rules):
            result = _judge(rule, of_target, evaluated, target if several else None)
            counts[number, result.verdict] += 1
            if counts[number, result.verdict] <= each:
                results.append(result)
    results += (
        _counted(rules[number], verdict, count - each)
        for (number, verdict), count in counts.items()
        if count > each
    )
    return merged(verdict for _, verdict in counts), tuple(_fitting(results))


def merged(verdicts: Iterable[RuleVerdict]) -> RuleVerdict:
    """Return the worst of `verdicts`; none at all is a failure."""
    found = set(verdicts)
    if not found or RuleVerdict.FAILED in found:
        return RuleVerdict.FAILED
    return RuleVerdict.NOT_EVALUATED if RuleVerdict.NOT_EVALUATED in found else RuleVerdict.PASSED


def _counted(rule: Rule, verdict: RuleVerdict, count: int) -> RuleResult:
    """Return what stands for the results of `rule` on `count` more targets."""
    name = rule.pass_rule if verdict is RuleVerdict.PASSED else rule.fail_rule
    return RuleResult(rule=name, verdict=verdict, path=rule.path, details={MORE_TARGETS: count})


def _fitting(results: Iterable[RuleResult]) -> Iterator[RuleResult]:
    """Yield `results`, without what they saw from where on their record would be too large."""
    left = RESULTS_BYTES_MAX
    for result in results:
        left -= len(encode(result))
        yield result if left >= 0 else replace(result, expected=None, found=None, details=None)


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
