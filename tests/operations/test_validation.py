"""Validation: all rules count, one failing rule fails all, and what was not seen does not pass."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations import validation
from rexecop.operations.errors import ProfileRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Problems
from rexecop.operations.validation import Rule, evaluate, gather, place, read_rules
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.validation import RuleVerdict
from rexecop.proof.times import parse_time
from rexecop.proof.vocabulary import Effect, Mode
from tests.operations.folders import ENVIRONMENTS, TECRAX, environment_file, folder, plan

PASSED, FAILED, OPEN = RuleVerdict.PASSED, RuleVerdict.FAILED, RuleVerdict.NOT_EVALUATED


def rules(*lines: str) -> tuple[Rule, ...]:
    text = "validation_rule:\n  intent: look\n  steps:\n" + "".join(f"    - {{{line}}}\n" for line in lines)
    problems = Problems(ProfileRefused.code)
    root = problems.parse(text, "validation_rules/look.yaml")
    assert root is not None
    found = read_rules(root, "look")
    problems.raise_first(ProfileRefused)
    return found


def verdict(line: str, facts: Mapping[str, Json], evaluated: bool = True) -> RuleVerdict:
    return evaluate(rules(line), {"web": facts}, evaluated)[0]


CASES = [
    ("type: require_mapping, key: a", {"a": {}}, PASSED),
    ("type: require_mapping, key: a", {"a": 1}, FAILED),
    ("type: require_mapping, key: a", {}, FAILED),
    ("type: require_truthy_path, path: a.b", {"a": {"b": "x"}}, PASSED),
    ("type: require_truthy_path, path: a.b", {"a": {"b": ""}}, FAILED),
    ("type: require_truthy_path, path: a.b", {"a": 1}, FAILED),
    ("type: require_equals, path: a, value: 1", {"a": 1}, PASSED),
    ("type: require_equals, path: a, value: true", {"a": 1}, FAILED),
    ("type: require_equals, path: a, value: '1'", {"a": 1}, FAILED),
    ("type: require_equals, path: a, value: null", {"a": None}, PASSED),
    ("type: require_equals, path: a, value: null", {}, FAILED),
    ("type: require_equals, path: a, value_from: b.c", {"a": "x", "b": {"c": "x"}}, PASSED),
    ("type: require_equals, path: a, value_from: b.c", {"a": "x"}, FAILED),
    ("type: require_in, path: a, values: [x, y]", {"a": "y"}, PASSED),
    ("type: require_in, path: a, values: [1]", {"a": True}, FAILED),
    ("type: require_at_most, path: a, value: 5", {"a": 5}, PASSED),
    ("type: require_at_most, path: a, value: 5", {"a": 6}, FAILED),
    ("type: require_at_least, path: a, value: 5", {"a": 5}, PASSED),
    ("type: require_at_least, path: a, value: 5", {"a": "9"}, FAILED),
]


@pytest.mark.parametrize(("line", "facts", "expected"), CASES)
def test_each_kind_of_rule_judges_its_path(
    line: str, facts: Mapping[str, Json], expected: RuleVerdict
) -> None:
    assert verdict(line, facts) is expected


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_one_failing_rule_fails_all_wherever_it_stands(outcomes: list[bool]) -> None:
    lines = [f"type: require_equals, path: f{index}, value: true" for index in range(len(outcomes))]
    facts = {f"f{index}": outcome for index, outcome in enumerate(outcomes)}

    found, results = evaluate(rules(*lines), {"web": facts}, True)

    assert len(results) == len(outcomes)
    assert found is (PASSED if all(outcomes) else FAILED)


def test_no_rules_and_no_targets_never_pass() -> None:
    assert evaluate((), {"web": {}}, True)[0] is FAILED
    assert evaluate(rules("type: require_mapping, key: a"), {}, True)[0] is FAILED


def test_a_fact_that_was_only_previewed_is_not_evaluated() -> None:
    line = "type: require_equals, path: a, value: 1"

    assert verdict(line, {}, evaluated=False) is OPEN
    assert verdict(line, {"a": None}, evaluated=False) is OPEN
    assert verdict(line, {"a": 2}, evaluated=False) is FAILED
    assert verdict(line, {"a": 1}, evaluated=False) is PASSED


def test_details_quote_facts_and_each_verdict_has_its_rule() -> None:
    line = "type: require_equals, path: a.ok, value: true, pass_rule: p, fail_rule: f"
    line += ", details: {n: $a.n, m: $a.gone}"
    good = evaluate(rules(line), {"web": {"a": {"ok": True, "n": 3}}}, True)[1][0]
    bad = evaluate(rules(line), {"web": {"a": {"ok": False}}}, True)[1][0]

    assert (good.rule, good.details) == ("p", {"n": 3, "m": None})
    assert (bad.rule, bad.found) == ("f", False)


def test_details_from_a_path_are_taken_whole_and_large_values_by_size() -> None:
    line = "type: require_truthy_path, path: a.ok, details_from: a"
    found = evaluate(rules(line), {"web": {"a": {"ok": True, "log": "x" * 9000}}}, True)[1][0]

    assert found.details == {"ok": True, "log": "9002 bytes"}


BROKEN = [
    ("type: require_equals, path: a", "value"),
    ("type: require_equals, value: 1", "path"),
    ("type: require_in, path: a, value: 1", "values"),
    ("type: require_at_most, path: a, value: high", "integer"),
    ("type: require_luck, path: a", "one of"),
    ("typo: require_mapping, key: a", "unknown key"),
]


@pytest.mark.parametrize(("line", "named"), BROKEN)
def test_a_rule_that_says_nothing_is_refused(line: str, named: str) -> None:
    with pytest.raises(ProfileRefused, match=named):
        rules(line)


def test_a_file_without_rules_is_refused() -> None:
    problems = Problems(ProfileRefused.code)
    root = problems.parse("validation_rule: {intent: look, steps: []}", "validation_rules/look.yaml")
    assert root is not None

    assert read_rules(root, "look") == ()
    with pytest.raises(ProfileRefused, match="never passes"):
        problems.raise_first(ProfileRefused)


def test_facts_are_put_under_dotted_keys() -> None:
    facts: dict[str, Json] = {}
    place(facts, "a.b", 1)
    place(facts, "a.c", 2)

    assert facts == {"a": {"b": 1, "c": 2}}


def test_every_member_of_a_group_is_judged_by_its_own_facts() -> None:
    profile = load_profile(folder(TECRAX))
    site = environment_file(ENVIRONMENTS / "small-public-unit-proxmox.example.yaml")
    draft = plan(profile, site, "check_backup_status", "all_critical_vms", Mode.DRY_RUN)
    digest = Digest("sha256:" + "0" * 64)
    record = Plan(
        operation="op_x", n=1, prev=None, at=parse_time("2026-01-01T00:00:00.000Z"), by=ENGINE,
        intent=digest, profile=digest, environment=digest, effect=Effect.READ, risk="low",
        targets=draft.targets, steps=draft.steps,
    )  # fmt: skip
    good: dict[str, Json] = {"healthy": True, "age_hours": 7, "last_result": "ok", "findings": []}
    found: dict[str, Mapping[str, Json] | None] = {step.id: good for step in draft.steps}

    facts = gather(record, profile.normalizers, found, {"x": 1})
    overall, results = evaluate(profile.rules["check_backup_status"], facts, True)
    covered = [r for r in results if r.rule == "check_backup_status.all_critical_covered"]

    assert facts["vm-pbs-01"]["parameters"] == {"x": 1}
    assert overall is PASSED
    assert [(r.details or {})["target"] for r in covered] == ["vm-zabbix-01", "vm-pbs-01"]

    found[draft.steps[1].id] = {**good, "healthy": False}
    assert (
        evaluate(
            profile.rules["check_backup_status"], gather(record, profile.normalizers, found, None), True
        )[0]
        is FAILED
    )


def test_of_many_targets_results_are_counted_and_one_that_failed_is_always_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = rules("type: require_truthy_path, path: a, rule: a_there", "type: require_truthy_path, path: b")
    facts = {f"h{n}": {"a": n != 77, "b": True} for n in range(100)}
    told = evaluate(both, facts, True)
    assert told[0] is FAILED and len(told[1]) == 200

    monkeypatch.setattr(validation, "RESULTS_MAX", 60)
    found, results = evaluate(both, facts, True)
    failed = [one for one in results if one.verdict is FAILED]
    more = [one.details["more_targets"] for one in results if one.details and "more_targets" in one.details]

    assert found is FAILED and [one.details for one in failed] == [{"target": "h77"}]
    assert more == [89, 90] and len(results) == 23
    monkeypatch.setattr(validation, "RESULTS_BYTES_MAX", 500)
    assert evaluate(both, facts, True)[1][-2].details is None
    assert [one.verdict for one in evaluate(both, facts, True)[1]] == [one.verdict for one in results]
