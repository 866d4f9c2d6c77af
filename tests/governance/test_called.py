"""What policy says about an intent holds for it within another: nothing is wider than the answer to each."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.engines.asking import consult
from rexecop.engines.recent import counted
from rexecop.governance.admission import Policy, decide
from rexecop.governance.obligations import tighter
from rexecop.governance.pack import Pack
from rexecop.governance.schedules import read_entry
from rexecop.governance.steps import admit
from rexecop.governance.why import of_answer
from rexecop.governance.windows import Schedule
from rexecop.proof.halts import names_of, stopping_request
from rexecop.proof.records.decision import ApprovalRule, Opinion, PolicyRequest, RequestIntent, RequestTarget
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import CalledIntent, Plan
from rexecop.proof.records.ticket import budget_subjects
from rexecop.proof.request import intents_within, parts_of, policy_request
from rexecop.proof.vocabulary import Effect, Gate, HaltScope, Mode, Verdict
from tests.governance.cases import ALICE, INSTANCE, NOW, ROOT, SOME, STEP, intent, pack_files, plan, request

LISTED: Final = (
    "people: {alice: {groups: [sre]}, bob: {groups: [sre]}}\ngroups: [sre, network]\n"
    "actions: {'intent:hello/*': destroy, 'intent:hello/drain': destroy, 'intent:hello/restart': destroy, "
    "'call:hello/*': destroy}\n"
)
ALL: Final = '@id("all") permit (principal, action, resource);\n'
DRAIN: Final = 'action in Action::"intent:hello/drain"'
BALANCER: Final = RequestTarget(id="lb-1", type="balancer", criticality="high")
CALLED: Final = RequestIntent(
    prefix="drain",
    intent="drain",
    effect=Effect.CHANGE,
    risk="high",
    simulated=False,
    targets=(BALANCER,),
    parameters={"pool": "blue"},
)
NESTED: Final = request(called=(CALLED,))


def policy(rules: str = "", requirements: str = "", entities: str = LISTED) -> Policy:
    return Policy([Pack.parse(pack_files(ALL + rules, requirements, entities))])


def rule(number: int, effect: str, scope: str, what: str, notes: str = "") -> str:
    return f'@id("r{number}") {notes} {effect} (principal, {scope}, {what});\n'


SCOPES: Final = st.sampled_from(["action", DRAIN, 'action in Action::"intent:hello/restart"'])
WHERE: Final = st.sampled_from(["resource", 'resource == Target::"lb-1"', 'resource == Target::"host-1"'])
NOTES: Final = st.sampled_from(
    [
        '@approvals("1 of sre")',
        '@approvals("2 of network")',
        '@approvals("1 of network, no_peers of sre")',
        '@obligations("timeout<=5s")',
        '@obligations("output_bytes<=9, budget(intent)<=2/1h")',
        '@obligations("receipt")',
    ]
)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(SCOPES, WHERE), max_size=2),
    st.lists(st.tuples(SCOPES, WHERE, NOTES), max_size=4),
    st.booleans(),
)
def test_the_answer_is_as_strict_as_that_to_each_intent_in_it(
    forbids: list[tuple[str, str]], requires: list[tuple[str, str, str]], rare: bool
) -> None:
    no = "".join(rule(n, "forbid", *one) for n, one in enumerate(forbids)) if rare else ""
    more = "".join(
        rule(n, "permit", scope, where, notes) for n, (scope, where, notes) in enumerate(requires, 10)
    )
    asked = policy(no, more)

    whole, parts = decide(asked, NESTED), [decide(asked, part) for part in parts_of(NESTED)]

    assert not whole.errors
    assert [tighter(whole.terms, part.terms) for part in parts] == [None, None]
    blocked = any(part.terms.verdict is Verdict.BLOCKED for part in parts)
    assert (whole.terms.verdict is Verdict.BLOCKED) == blocked
    if not blocked:
        named = {item.id for part in parts for item in part.rules}
        assert {item.id for item in whole.rules} == named
        for group in ("sre", "network"):  # And it asks for nothing that neither asks for.
            counts = [one.count for part in parts for one in part.terms.approvals if one.group == group]
            found = [one.count for one in whole.terms.approvals if one.group == group]
            assert found == ([max(counts)] if counts else [])


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        ('context.intent == "hello/drain" && context.risk == "high"', True),
        ('context.parameters.hasTag("pool") && context.parameters.getTag("pool") == "blue"', True),
        ('resource.criticality == "high"', True),
        ('context.intent == "hello/drain" && resource == Target::"host-1"', False),
        ('context.intent == "hello/restart" && resource == Target::"lb-1"', False),
    ],
)
def test_rules_see_each_intent_with_its_own_target_parameters_and_risk(condition: str, held: bool) -> None:
    found = decide(
        policy(f'@id("no") forbid (principal, action, resource) when {{ {condition} }};\n'), NESTED
    )
    assert (found.terms.verdict is Verdict.BLOCKED) is held, found.reason


def test_a_no_names_the_intent_that_it_is_about() -> None:
    no = policy(f'@id("frozen") @reason("the pool is frozen") forbid (principal, {DRAIN}, resource);\n')
    found = decide(no, NESTED)

    assert found.reason == "intent `drain`, which it calls: forbidden by `test/frozen`: the pool is frozen"
    assert any(line.startswith("asked for what it calls: `alice`") for line in of_answer(found, NESTED))
    assert decide(no, request()).terms.verdict is Verdict.ALLOWED


def test_an_intent_that_no_listing_has_is_denied_within_another_too() -> None:
    known = LISTED.replace("'intent:hello/*': destroy, 'intent:hello/drain': destroy, ", "")
    asked = policy(entities=known)

    assert decide(asked, request()).terms.verdict is Verdict.ALLOWED
    assert "`intent:hello/drain` is not among them" in decide(asked, NESTED).reason


def test_in_an_emergency_each_intent_needs_a_rule_for_emergencies_of_its_own() -> None:
    emergency = replace(NESTED, break_glass=True)
    fire = rule(
        1,
        "permit",
        'action in Action::"intent:hello/restart"',
        "resource",
        '@approvals("2 of sre") @break_glass("1 of sre")',
    )
    one = policy(requirements=fire)
    assert decide(one, replace(emergency, called=())).terms.verdict is Verdict.APPROVAL_REQUIRED
    assert decide(one, emergency).terms.verdict is Verdict.BLOCKED


def test_all_targets_are_held_to_their_windows_at_one_time() -> None:
    here = read_entry({"timezone": "UTC", "start": "10:00", "end": "14:00", "targets": ["host-1"]})
    there = read_entry({"timezone": "UTC", "start": "12:00", "end": "16:00", "targets": ["lb-1"]})
    schedule = Schedule(source="environment", windows=(here, there))

    alone = decide(policy(), request(), schedule).terms
    both = decide(policy(), NESTED, schedule).terms
    morning = NOW.replace(hour=0, minute=0)
    assert (alone.not_before, alone.not_after) == (
        morning + timedelta(hours=10),
        morning + timedelta(hours=14),
    )
    assert (both.not_before, both.not_after) == (morning + timedelta(hours=12), morning + timedelta(hours=14))
    never = replace(there, opens=14 * 60, closes=15 * 60)
    blocked = decide(policy(), NESTED, Schedule(source="environment", windows=(here, never)))
    assert blocked.terms.verdict is Verdict.BLOCKED and "no time is open" in blocked.reason


def nested_plan() -> tuple[Intent, Plan]:
    asked = intent()
    step = replace(STEP, id="drain/restart", slots=None)
    made = plan(asked, step, replace(STEP, needs=("drain/restart",))).record
    called = CalledIntent(
        prefix="drain", intent="drain", targets=("host-1",), effect=Effect.CHANGE, risk="high"
    )
    assert isinstance(made, Plan) and isinstance(asked.record, Intent)
    return asked.record, replace(made, called=(called,))


def test_a_call_is_asked_about_for_the_intents_in_whose_course_it_is() -> None:
    asked, made = nested_plan()

    whole = policy_request(asked, made, gate=Gate.PLAN, now=NOW)
    at = {
        step: [
            one.intent for one in intents_within(whole, made, [one for one in made.steps if one.id == step])
        ]
        for step in ("drain/restart", "restart")
    }
    assert at == {"drain/restart": ["drain"], "restart": []}


def test_policy_that_speaks_of_calls_names_the_step_of_what_is_called_that_needs_more() -> None:
    asked, made = nested_plan()
    when = ' when { context.gate == "call" && context has step };'
    more = rule(1, "permit", DRAIN, "resource", '@approvals("1 of network")').replace(";", when)
    found = admit(policy(requirements=more), policy_request(asked, made, gate=Gate.PLAN, now=NOW), made)

    assert [one.step for one in found.terms.steps] == ["drain/restart"]
    assert found.terms.steps[0].approvals == (ApprovalRule(count=1, group="network"),)


class Outside:
    """A decision point that says no to one intent."""

    def __init__(self, no: str) -> None:
        self.no, self.asked = no, list[str]()

    async def of(self, asked: PolicyRequest) -> Opinion:
        self.asked.append(asked.intent)
        allowed = asked.intent != self.no
        return Opinion(source="outside", allowed=allowed, reason=f"about {asked.intent}", answer=SOME)


def test_a_decision_point_outside_is_asked_about_every_intent() -> None:
    answer = decide(policy(), NESTED)
    willing, unwilling = Outside("nothing"), Outside("drain")

    found = asyncio.run(consult(willing, answer, NESTED))
    assert willing.asked == ["restart", "drain"] and found.terms.verdict is Verdict.ALLOWED
    assert found.opinion is not None and found.opinion.reason == "about restart"
    denied = asyncio.run(consult(unwilling, answer, NESTED))
    assert denied.terms.verdict is Verdict.BLOCKED and denied.reason == "`outside` denies: about drain"


def test_a_halt_of_an_intent_stops_what_calls_it_and_a_budget_of_intents_counts_both() -> None:
    asked, made = nested_plan()
    fields = {"operation": INSTANCE, "n": 1, "prev": SOME, "at": NOW, "by": ROOT, "reason": "a drill"}
    halt = Halt(**fields, scope=HaltScope.INTENT, name="hello/drain", lifted=False)  # type: ignore[arg-type]

    assert stopping_request([halt], NESTED) is halt and stopping_request([halt], request()) is None
    assert {(HaltScope.INTENT, "drain"), (HaltScope.INTENT, "hello/restart")} <= names_of(asked, made)
    assert budget_subjects(asked, made, "intent") == ("hello/restart", "hello/drain")
    assert budget_subjects(asked, made, "principal") == (ALICE.person,)


def test_what_only_reads_may_not_call_what_changes() -> None:
    found = decide(policy(), replace(NESTED, mode=Mode.READ_ONLY, effect=Effect.READ))
    assert found.terms.verdict is Verdict.BLOCKED and "only reads" in found.reason


class Changes:
    """A ledger in which the balancer was drained an hour ago, and a host was restarted twice."""

    def changed_since(self, since: object, most: int) -> list[tuple[str, SimpleNamespace]]:
        done = (("lb-1", "drain"), ("host-1", "restart"), ("host-1", "restart"))
        return [
            (
                target,
                SimpleNamespace(
                    operation=f"op_{number}",
                    profile="hello",
                    intent=name,
                    requester="bob",
                    updated=NOW - timedelta(minutes=9),
                ),
            )
            for number, (target, name) in enumerate(done)
        ]


def test_how_often_before_is_counted_for_each_intent_and_its_own_rule_sees_it() -> None:
    often = policy(
        f'@id("rarely") forbid (principal, {DRAIN}, resource) when {{ context.recent.intent_hour >= 1 }};\n'
    )
    asked = counted(often, Changes(), "op_9", NESTED)  # type: ignore[arg-type]

    assert asked.recent is not None and asked.called[0].recent is not None
    assert (asked.recent.intent_hour, asked.recent.target_hour) == (2, 2)
    assert (asked.called[0].recent.intent_hour, asked.called[0].recent.same_hour) == (1, 1)
    assert decide(often, asked).terms.verdict is Verdict.BLOCKED
    other = replace(NESTED, called=(replace(CALLED, intent="fill"),))
    assert decide(often, counted(often, Changes(), "op_9", other)).terms.verdict is Verdict.ALLOWED  # type: ignore[arg-type]
