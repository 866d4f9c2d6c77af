"""Events and the rules of profiles about them: strict, in order, and no more than a plan."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.operations.errors import EventRefused, ProfileRefused
from rexecop.operations.events import EARLY_MAX, LATE_MAX, Event, read_event
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Problems
from rexecop.operations.trigger_rules import FILE, Decision, TriggerRules, read_trigger_rules
from rexecop.proof.canonical import digest_of
from rexecop.proof.payload import Value
from tests.operations.folders import HELLO, folder

DIGEST: Final = digest_of(b"event")
CLOUD: Final[dict[str, Value]] = {
    "specversion": "1.0",
    "id": "1",
    "source": "/scan",
    "type": "host.seen",
    "subject": "web-1",
    "time": "2027-01-31T10:00:00+01:00",
    "data": {"known": True, "load": 1.5, "host": {"kind": "host"}, "tags": ["a"]},
}
SEED: Final[dict[str, Value]] = {
    "id": "1",
    "source": "/scan",
    "type": "host.seen",
    "subject": "web-1",
    "occurred_at": "2027-01-31T09:00:00Z",
    "payload": CLOUD["data"],
}
RULE: Final = "{id: r, event_type: host.seen, decision: ignore}"
PLANS: Final = "{intent: host_facts, target: localhost}"


def event(**more: Value) -> Event:
    return read_event({**CLOUD, **more}, DIGEST)


def rules(text: str) -> tuple[TriggerRules, list[str]]:
    problems = Problems("profile-refused")
    root = problems.parse(text.encode(), FILE)
    assert root is not None
    return read_trigger_rules(root), [finding.text() for finding in problems.findings]


def when(condition: str) -> TriggerRules:
    found, wrong = rules(
        f"id: x\nrules: [{{id: r, event_type: host.seen, decision: ignore, when: [{condition}]}}]"
    )
    assert wrong == []
    return found


def test_a_cloud_event_and_one_of_the_seeds_say_the_same() -> None:
    assert read_event(CLOUD, DIGEST) == read_event(SEED, DIGEST)
    assert read_event(CLOUD, DIGEST).at == datetime(2027, 1, 31, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("whole", "more", "says"),
    [
        (CLOUD, {"specversion": "0.3"}, "`specversion` is not `1.0`"),
        (CLOUD, {"id": ""}, "`id` is empty"),
        (CLOUD, {"id": 1}, "`id` is no line"),
        (CLOUD, {"source": "a\nb"}, "`source` is no line"),
        (CLOUD, {"type": "x" * 513}, "`type` is no line"),
        (CLOUD, {"time": "2027-01-31T10:00:00"}, "no time with its zone"),
        (CLOUD, {"time": "soon"}, "no time with its zone"),
        (CLOUD, {"datacontenttype": "text/xml"}, "not JSON"),
        (CLOUD, {"data_base64": "AA=="}, "not JSON"),
        (SEED, {"approve": True}, "unknown key `approve`"),
        (SEED, {"payload": []}, "`payload` is not an object"),
        (SEED, {"occurred_at": None}, "`occurred_at` is no line"),
        (SEED, {"dedupe_key": 3}, "`dedupe_key` is no line"),
    ],
)
def test_what_is_no_event_is_refused_with_the_attribute(
    whole: dict[str, Value], more: dict[str, Value], says: str
) -> None:
    with pytest.raises(EventRefused) as refused:
        read_event({**whole, **more}, DIGEST)

    assert says in refused.value.message and refused.value.facts["field"]


@pytest.mark.parametrize("key", ["id", "source", "type", "time"])
def test_an_attribute_that_every_event_has_may_not_be_missing(key: str) -> None:
    with pytest.raises(EventRefused, match=f"`{key}` is missing"):
        read_event({name: value for name, value in CLOUD.items() if name != key}, DIGEST)


def test_an_event_of_another_time_is_refused_at_the_very_edge() -> None:
    one, moment = event(), timedelta(milliseconds=1)

    one.require_recent(one.at + LATE_MAX)
    one.require_recent(one.at - EARLY_MAX)
    for now in (one.at + LATE_MAX + moment, one.at - EARLY_MAX - moment):
        with pytest.raises(EventRefused, match="86400 s before and 300 s after"):
            one.require_recent(now)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("{path: payload.known, operator: equals, value: true}", True),
        ("{path: data.known, operator: equals, value: true}", True),
        ("{path: event.payload.known, operator: not_equals, value: true}", False),
        ('{path: payload.known, operator: equals, value: "true"}', False),
        ("{path: payload.known, operator: equals, value: 1}", False),
        ("{path: payload.load, operator: equals, value: 1.5}", True),
        ("{path: payload.host.kind, operator: in, value: [guest, host]}", True),
        ("{path: payload.host.kind, operator: in, value: [guest]}", False),
        ("{path: payload.none, operator: equals, value: x}", False),
        ("{path: payload.none, operator: not_equals, value: x}", True),
        ("{path: payload.none, operator: exists}", False),
        ("{path: payload.none, operator: exists, value: false}", True),
        ("{path: payload.host.kind, operator: exists, value: true}", True),
        ("{path: payload.tags.0, operator: exists}", False),
        ("{path: subject.known, operator: exists}", False),
        ("{path: subject, operator: equals, value: web-1}", True),
    ],
)
def test_a_condition_holds_of_exactly_what_it_says(condition: str, holds: bool) -> None:
    assert (when(condition).rule_for(event()) is not None) is holds


def test_the_rule_of_the_lowest_number_decides_then_the_first_name_and_only_about_its_type() -> None:
    found, wrong = rules(
        "trigger_rules:\n  id: x\n  rules:\n"
        "  - {id: z, event_type: host.seen, decision: ignore, priority: 5}\n"
        "  - {id: b, event_type: host.seen, decision: ignore}\n"
        "  - {id: a, event_type: host.seen, decision: escalate, priority: 5}\n"
    )

    assert wrong == []
    decided = found.rule_for(event())
    assert decided is not None and (decided.id, decided.decision) == ("a", Decision.ESCALATE)
    assert found.rule_for(event(type="host.gone")) is None
    with pytest.raises(EventRefused, match="no such set of rules"):
        found.rule_for(read_event({**SEED, "rule_set": "y"}, DIGEST))


def test_a_target_is_taken_from_the_event_only_where_it_is_a_name() -> None:
    found, _ = rules(
        "id: x\nrules: [{id: r, event_type: host.seen, decision: plan_operation,"
        " operation: {intent: i, target_from: subject}}]"
    )
    rule = found.rules[0]

    assert rule.target_of(event()) == "web-1"
    for subject in ("", "web-1; reboot", "../x"):
        with pytest.raises(EventRefused, match="names no target at `subject`"):
            rule.target_of(event(subject=subject))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[]", "a mapping"),
        ("{rules: []}", "key `id` is missing"),
        (f"{{id: x, rules: [{RULE}, {RULE}]}}", "two rules are called `r`"),
        (f"{{id: x, rules: [{RULE[:-1]}, start: true}}]}}", "unknown key `start`"),
        (f"{{id: x, rules: [{RULE[:-1]}, operation: {PLANS}}}]}}", "`operation` belongs to"),
        ("{id: x, rules: [{id: r, event_type: t, decision: plan_operation}]}", "`operation` belongs to"),
        ("{id: x, rules: [{id: r, event_type: t, decision: run}]}", "one of plan_operation"),
        (f"{{id: x, rules: [{RULE[:-1]}, when: [{{path: facts.x, operator: exists}}]}}]}}", "begins with"),
        (f"{{id: x, rules: [{RULE[:-1]}, when: [{{path: id, operator: gt, value: 1}}]}}]}}", "one of exists"),
        (f"{{id: x, rules: [{RULE[:-1]}, when: [{{path: id, operator: equals}}]}}]}}", "needs a `value`"),
        (f"{{id: x, rules: [{RULE[:-1]}, cooldown_seconds: 90000}}]}}", "an integer from 0 to 86400"),
        (
            "{id: x, rules: [{id: r, event_type: t, decision: plan_operation,"
            " operation: {intent: i, target: a, target_from: subject}}]}",
            "names its target in one way",
        ),
    ],
)
def test_rules_that_are_none_are_refused_with_the_reason(text: str, says: str) -> None:
    _, wrong = rules(text)

    assert says in " ".join(wrong)
    assert all(line.startswith(f"{FILE}:1: ") for line in wrong)


def test_a_rule_may_only_plan_what_the_profile_has() -> None:
    text = f"id: x\nrules: [{{id: r, event_type: t, decision: plan_operation, operation: {PLANS}}}]"
    files = {**folder(HELLO), FILE: text.encode()}

    loaded = load_profile(files).triggers
    assert loaded is not None and loaded.rules[0].id == "r"
    with pytest.raises(ProfileRefused, match=f"{FILE}:2: trigger rule `r` plans `reboot`"):
        load_profile({**files, FILE: text.replace("host_facts", "reboot").encode()})


def test_the_two_rules_of_tecrax_plan_for_hosts_that_are_known_and_hand_on_the_others() -> None:
    path = Path("profiles/tecrax/src/tecrax/profile") / FILE
    found, wrong = rules((Path(__file__).parents[2] / path).read_text())
    known: dict[str, Value] = {"known": True, "kind": "host"}

    assert wrong == []
    rule = found.rule_for(event(type="network.host_observed", data=known))
    assert rule is not None and rule.operation is not None
    assert (rule.operation.intent, rule.operation.mode) == ("collect_basic_host_inventory", "dry_run")
    assert (rule.target_of(event()), rule.cooldown_seconds) == ("web-1", 300)
    for data in ({**known, "known": False}, {**known, "kind": "printer"}, {}):
        other = found.rule_for(event(type="network.host_observed", data=dict(data)))
        assert other is not None and (other.decision, other.cooldown_seconds) == (Decision.ESCALATE, 300)
