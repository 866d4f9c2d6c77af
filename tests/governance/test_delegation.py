"""Votes given to others: what counts as whose, and everything that gives nobody a vote."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rexecop.governance.approvals import groups_of, require_may_approve
from rexecop.governance.delegation import (
    DelegationScope,
    delegation_statement,
    read_scope,
    scope_in_words,
)
from rexecop.governance.errors import ApprovalRefused, DelegationRefused
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.delegation import DELEGATION_VALID_MAX, Given, delegations, resting_on
from rexecop.proof.quorum import Groups, Tally, tally
from rexecop.proof.records import Approval, Delegation, Intent, Plan
from rexecop.proof.records.approval import Coverage
from rexecop.proof.records.decision import ApprovalLimit, Terms
from rexecop.proof.standing import coverage_digest
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Effect, Established, Mode
from tests.governance import cases
from tests.governance.cases import ENROLMENTS, MINUTE, NOW, approval, by_key, delegation, enrolled, statement

AT = NOW + 5 * MINUTE
INTENT = cases.intent()
PLAN = cases.plan(INTENT)
# Of these only carol and dora are asked; bob and mallory have a vote where somebody gave it to them.
GROUPS: Groups = {
    "ops": frozenset({"alice", "carol", "dora"}),
    "night": frozenset({"bob"}),
    "payments": frozenset({"mallory"}),
}
KNOWN = (*ENROLMENTS, enrolled("mallory"))
ONE, TWO = cases.terms((1, "ops")), cases.terms((2, "ops"))
GIVEN = delegation("carol", "bob")


def count(
    *said: Sealed,
    chain: tuple[Sealed, ...] = (GIVEN,),
    terms: Terms = ONE,
    enrolments: tuple[Enrolment, ...] = KNOWN,
    intent: Sealed = INTENT,
    groups: Groups | None = GROUPS,
) -> Tally:
    return tally(
        intent=intent,
        plan=cases.plan(intent),
        terms=terms,
        preview=cases.PREVIEW,
        approvals=said,
        enrolments=enrolments,
        groups=groups,
        at=AT,
        instance=chain,
    )


def yes(
    person: str,
    behalf: str | None = None,
    *,
    terms: Terms = ONE,
    n: int = 3,
    at: timedelta = MINUTE,
    intent: Sealed = INTENT,
    **changes: object,
) -> Sealed:
    plan, nonce = cases.plan(intent), f"{n} of {person}"
    said = statement(plan, terms, person, on_behalf_of=behalf, nonce=nonce, **changes)
    return approval(said, n=n, at=NOW + at)


def codes(found: Tally) -> list[str]:
    return [one.code for one in found.excluded]


def test_a_yes_said_for_another_person_is_that_persons_vote_and_says_who_spoke() -> None:
    found = count(yes("bob", "carol"))

    assert found.satisfied
    assert [(one.person, one.said_by, one.groups) for one in found.counted] == [
        ("carol", "bob for carol", ("ops",))
    ]
    assert found.counted[0].credential == by_key("bob").credential


def test_nobody_has_a_vote_that_they_do_not_claim_and_no_vote_of_their_own_by_it() -> None:
    assert codes(count(yes("bob"))) == ["approver-not-in-group"]


TOGETHER: dict[str, list[Sealed]] = {
    "the giver as well": [yes("bob", "carol", terms=TWO), yes("carol", terms=TWO, n=4)],
    "the giver first": [yes("carol", terms=TWO), yes("bob", "carol", terms=TWO, n=4)],
    "for two people": [yes("bob", "carol", terms=TWO), yes("bob", "dora", terms=TWO, n=4)],
    "two for one person": [yes("bob", "carol", terms=TWO), yes("dora", "carol", terms=TWO, n=4)],
    "for another and for themselves": [yes("dora", "carol", terms=TWO), yes("dora", terms=TWO, n=4)],
    "for themselves and for another": [yes("dora", terms=TWO), yes("dora", "carol", terms=TWO, n=4)],
    "each for the other": [yes("dora", "carol", terms=TWO), yes("carol", "dora", terms=TWO, n=4)],
}
ALL_GIVEN = (
    GIVEN,
    delegation("dora", "bob"),
    delegation("carol", "dora"),
    delegation("dora", "carol"),
)


@pytest.mark.parametrize("who", TOGETHER)
def test_two_people_of_whom_one_speaks_for_the_other_are_one_person(who: str) -> None:
    found = count(*TOGETHER[who], chain=ALL_GIVEN, terms=TWO)

    assert len(found.counted) == 1 and codes(found) == ["person-repeated"]
    assert not found.satisfied


def test_a_delegation_that_nobody_uses_takes_nobodys_vote_away() -> None:
    found = count(yes("carol", terms=TWO), yes("dora", terms=TWO, n=4), chain=ALL_GIVEN, terms=TWO)

    assert found.satisfied


def back(given: Sealed, person: str = "carol", at: timedelta = MINUTE) -> Sealed:
    """Return `person` taking `given` back that long after the plan."""
    said = given.record.statement  # type: ignore[attr-defined]
    return delegation(person, said.delegate, n=10, at=NOW + at, nonce="back", withdraws=given.digest)


OTHER = digest_of(b"other")
VOID: dict[str, Callable[[], tuple[Sealed, ...]]] = {
    "none": lambda: (),
    "to somebody else": lambda: (delegation("carol", "dora"),),
    "by somebody else": lambda: (delegation("dora", "bob"),),
    "of a delegate, who cannot pass it on": lambda: (
        delegation("carol", "dora"),
        delegation("dora", "bob"),
    ),
    "ended": lambda: (delegation("carol", "bob", until=NOW + MINUTE),),
    "taken back": lambda: (GIVEN, back(GIVEN)),
    "recorded again after it was taken back": lambda: (
        GIVEN,
        back(GIVEN, at=-MINUTE),
        seal(replace(GIVEN.record, n=11, at=NOW)),
    ),
    "dated after the vote": lambda: (delegation("carol", "bob", at=NOW + 2 * MINUTE),),
    "without an end in sight": lambda: (delegation("carol", "bob", until=NOW + DELEGATION_VALID_MAX),),
    "recorded by the one who asks": lambda: (delegation("carol", "bob", by=cases.ALICE),),
    "recorded by the delegate": lambda: (delegation("carol", "bob", by=by_key("bob")),),
    "of another instance": lambda: (delegation("carol", "bob", instance="in_other"),),
    "for another environment": lambda: (delegation("carol", "bob", environments=("there",)),),
    "for another intent": lambda: (delegation("carol", "bob", intents=("other/restart",)),),
    "for another effect": lambda: (delegation("carol", "bob", effects=(Effect.READ,)),),
    "for one of them only": lambda: (
        delegation("carol", "bob", environments=("here",), effects=(Effect.DESTROY,)),
    ),
}


@pytest.mark.parametrize("case", VOID)
def test_what_does_not_give_the_vote_away_gives_none(case: str) -> None:
    found = count(yes("bob", "carol"), chain=VOID[case]())

    assert codes(found) == ["delegation-missing"] and not found.satisfied


@pytest.mark.parametrize(
    "scope",
    [
        {"environments": ("there", "here")},
        {"intents": ("restart",)},
        {"intents": ("hello/restart",)},
        {"effects": (Effect.CHANGE,), "environments": ("here",)},
        {"until": NOW - 30 * MINUTE + DELEGATION_VALID_MAX},
    ],
)
def test_within_its_bounds_a_delegation_counts(scope: dict[str, Any]) -> None:
    assert count(yes("bob", "carol"), chain=(delegation("carol", "bob", **scope),)).satisfied


def test_the_newest_that_stands_and_covers_counts_whatever_else_was_given() -> None:
    first, narrow = GIVEN, delegation("carol", "bob", n=10, nonce="n", environments=("there",))

    assert count(yes("bob", "carol"), chain=(first, narrow)).satisfied
    assert count(yes("bob", "carol"), chain=(first, narrow, back(narrow))).satisfied
    assert not count(yes("bob", "carol"), chain=(first, narrow, back(first))).satisfied


def test_a_vote_said_before_its_delegation_was_taken_back_or_ended_still_counts() -> None:
    assert count(yes("bob", "carol"), chain=(GIVEN, back(GIVEN, at=2 * MINUTE))).satisfied
    assert count(yes("bob", "carol"), chain=(delegation("carol", "bob", until=NOW + 2 * MINUTE),)).satisfied


def test_only_who_gave_it_takes_a_delegation_back() -> None:
    assert count(yes("bob", "carol"), chain=(GIVEN, back(GIVEN, "dora"))).satisfied
    given = delegations((GIVEN, back(GIVEN)), AT)
    assert [one.revoked for one in given] == [NOW + MINUTE]


def test_one_given_after_the_plan_counts_for_the_giver_signs_it() -> None:
    assert count(yes("bob", "carol"), chain=(delegation("carol", "bob", at=NOW + MINUTE),)).satisfied


def test_at_the_end_of_time_a_delegation_still_has_an_end() -> None:
    last = datetime(9999, 12, 31, tzinfo=UTC)
    given = delegation("carol", "bob", at=last, until=last + MINUTE)
    asked, planned = INTENT.record, PLAN.record
    assert isinstance(asked, Intent) and isinstance(planned, Plan)

    found = resting_on("bob", "carol", asked, planned, (given,), last)

    assert isinstance(found, Given) and found.sealed is given


FORGED: dict[str, Callable[[], Sealed]] = {
    "by the key of another": lambda: delegation("carol", "bob", key="dora"),
    "over another text": lambda: _with(GIVEN, until=NOW + 20 * MINUTE),
}


def _with(given: Sealed, **changes: object) -> Sealed:
    record = given.record
    assert isinstance(record, Delegation)
    return seal(replace(record, statement=replace(record.statement, **changes)))  # type: ignore[arg-type]


@pytest.mark.parametrize("case", FORGED)
def test_a_delegation_that_the_giver_did_not_sign_gives_nothing(case: str) -> None:
    assert codes(count(yes("bob", "carol"), chain=(FORGED[case](),))) == ["delegation-signature-wrong"]


GIVERS_KEY = [
    ("approver-key-invalid", (enrolled("carol", revoked=NOW + 2 * MINUTE),)),
    ("approver-key-invalid", (enrolled("carol", expires=AT),)),
    ("approver-unknown", ()),
    ("key-enrolled-after-plan", (enrolled("carol", since=NOW),)),
    ("key-enrolled-by-requester", (enrolled("carol", by=cases.ALICE),)),
    ("key-shared-with-requester", (enrolled("carol"), enrolled("alice", key="carol"))),
    ("delegation-missing", (enrolled("carol", since=NOW - 20 * MINUTE),)),
    (
        "delegation-missing",
        (enrolled("carol", revoked=NOW - 25 * MINUTE), enrolled("carol", since=NOW - 20 * MINUTE)),
    ),
]


@pytest.mark.parametrize(("code", "carols"), GIVERS_KEY)
def test_a_givers_key_that_does_not_count_gives_nothing(code: str, carols: tuple[Enrolment, ...]) -> None:
    others = tuple(one for one in KNOWN if one.person != "carol")

    assert codes(count(yes("bob", "carol"), enrolments=(*others, *carols))) == [code]


def test_neither_who_asked_nor_anything_of_theirs_speaks_or_is_spoken_for() -> None:
    for giver, to, said, code in (
        ("carol", "alice", yes("alice", "carol"), "self-approval"),
        ("alice", "bob", yes("bob", "alice"), "self-approval"),
    ):
        assert codes(count(said, chain=(delegation(giver, to),))) == [code]
    shared = (*KNOWN, enrolled("alice", key="bob"))
    assert codes(count(yes("bob", "carol"), enrolments=shared)) == ["key-shared-with-requester"]


@pytest.mark.parametrize(("giver", "to"), [("carol", "dora"), ("dora", "carol")])
def test_the_sponsor_of_an_agent_neither_speaks_nor_is_spoken_for_unless_terms_say_so(
    giver: str, to: str
) -> None:
    intent = cases.intent(by=by_key("robot", "mallory"), sponsor="dora")
    chain, may = (delegation(giver, to),), replace(ONE, sponsor_may_approve=True)
    known = tuple(one for one in KNOWN if one.person != "mallory")

    found = count(yes(to, giver, intent=intent), chain=chain, intent=intent, enrolments=known)

    assert codes(found) == ["sponsor-approval"]
    said = yes(to, giver, intent=intent, terms=may)
    assert count(said, chain=chain, intent=intent, terms=may, enrolments=known).satisfied


def test_who_is_in_no_group_as_agents_are_speaks_for_nobody() -> None:
    chain = (delegation("carol", "mallory"),)
    nowhere = {name: people for name, people in GROUPS.items() if name != "payments"}

    assert count(yes("mallory", "carol"), chain=chain).satisfied
    assert codes(count(yes("mallory", "carol"), chain=chain, groups=nowhere)) == ["approver-not-in-group"]


@pytest.mark.parametrize("most", [0, 1])
def test_a_conflict_of_interest_of_either_keeps_the_vote_out(most: int) -> None:
    limits = (ApprovalLimit(at_most=most, group="payments"),)
    terms = replace(TWO, approval_limits=limits)
    chain = (delegation("carol", "mallory"), delegation("mallory", "bob"))
    mallory_too = GROUPS | {"ops": GROUPS["ops"] | {"mallory"}}  # type: ignore[operator]
    said = (yes("mallory", "carol", terms=terms), yes("dora", terms=terms, n=4))

    found = count(*said, chain=chain, terms=terms, groups=mallory_too)

    assert codes(found) == ([] if most else ["conflict-of-interest"])
    assert found.satisfied == bool(most)
    for_mallory = count(yes("bob", "mallory", terms=terms), chain=chain, terms=terms, groups=mallory_too)
    assert codes(for_mallory) == ([] if most else ["conflict-of-interest"])


def test_nobody_approves_beforehand_for_somebody_else() -> None:
    covers = Coverage(
        profile=cases.SOME,
        environment=cases.SOME,
        intent="restart",
        mode=Mode.APPLY,
        targets=("host-1",),
        parameters=(),
        uses=1,
    )
    named = coverage_digest(covers)
    said = statement(PLAN, ONE, "bob", on_behalf_of="carol", covers=covers, plan=named, preview=named)
    given = approval(said)
    record = given.record
    assert isinstance(record, Approval)
    used = seal(replace(record, use=1, n=4))

    assert codes(count(used, chain=(GIVEN, given))) == ["delegation-missing"]


NO = yes("bob", "carol", approves=False)


def taking(what: Sealed, person: str, behalf: str | None = None, at: timedelta = 2 * MINUTE) -> Sealed:
    return yes(person, behalf, n=6, at=at, approves=False, withdraws=what.digest)


def test_a_no_said_for_another_person_denies_until_either_takes_it_back() -> None:
    assert count(yes("dora", n=5), NO).denied_by == ("bob for carol",)
    for withdrawal in (taking(NO, "carol"), taking(NO, "bob", "carol")):
        assert count(yes("dora", n=5), NO, withdrawal).satisfied


def test_nobody_takes_back_what_they_may_not_speak_for() -> None:
    own = yes("carol", approves=False)
    ended = (GIVEN, back(GIVEN, at=1.5 * MINUTE))
    for said, chain in (
        (taking(NO, "bob"), (GIVEN,)),
        (taking(NO, "dora", "carol"), (GIVEN, delegation("carol", "dora"))),
        (taking(NO, "bob", "carol"), ended),
    ):
        assert count(yes("dora", n=5), NO, said, chain=chain).denied_by
    assert count(yes("dora", n=5), own, taking(own, "bob", "carol")).denied_by == ("carol",)


def test_without_the_pack_the_recorded_groups_of_both_stand() -> None:
    record = yes("bob", "carol").record
    assert isinstance(record, Approval)
    known = seal(replace(record, groups=("ops",), delegate_groups=("night",)))
    unknown = seal(replace(record, groups=("ops",)))

    assert count(known, groups=None).satisfied
    assert codes(count(unknown, groups=None)) == ["approver-not-in-group"]


def may(person: str, behalf: str, chain: tuple[Sealed, ...] = (GIVEN,), terms: Terms = ONE) -> None:
    require_may_approve(
        by_key(person),
        intent=INTENT,
        plan=PLAN,
        terms=terms,
        enrolments=KNOWN,
        groups=GROUPS,
        at=AT,
        behalf=behalf,
        instance=chain,
    )


def test_an_approver_is_told_before_signing_what_would_not_count() -> None:
    may("bob", "carol")
    limited = replace(ONE, approval_limits=(ApprovalLimit(at_most=0, group="night"),))
    for person, behalf, chain, terms, code in (
        ("bob", "dora", (GIVEN,), ONE, "delegation-missing"),
        ("bob", "carol", (delegation("carol", "bob", key="dora"),), ONE, "delegation-signature-wrong"),
        ("alice", "carol", (delegation("carol", "alice"),), ONE, "self-approval"),
        ("bob", "alice", (delegation("alice", "bob"),), ONE, "self-approval"),
        ("bob", "mallory", (delegation("mallory", "bob"),), ONE, "approver-not-in-group"),
        ("bob", "carol", (GIVEN,), limited, "conflict-of-interest"),
    ):
        with pytest.raises(ApprovalRefused) as refused:
            may(person, behalf, chain, terms)
        assert refused.value.code == code
    assert groups_of("carol", GROUPS) == ("ops",)


def test_a_scope_is_read_and_told_as_it_is_typed() -> None:
    typed = ("effect:destroy", "environment:prod", "effect:change", "intent:hello/restart")
    scope = read_scope(typed)

    assert scope == DelegationScope(
        environments=("prod",), intents=("hello/restart",), effects=(Effect.CHANGE, Effect.DESTROY)
    )
    said = delegation("carol", "bob", environments=scope.environments, effects=scope.effects).record
    assert isinstance(said, Delegation)
    assert scope_in_words(said.statement) == "environment:prod and effect:change or effect:destroy"
    assert scope_in_words(GIVEN.record.statement) == "everything"  # type: ignore[attr-defined]


@pytest.mark.parametrize("typed", ["all", "environment:", "target:db-1", "effect:drop", "", ":x"])
def test_what_is_no_scope_is_refused_with_what_is(typed: str) -> None:
    with pytest.raises(DelegationRefused) as wrong:
        read_scope([typed])
    assert "effect:change" in str(wrong.value.facts["allowed"])


@pytest.mark.parametrize(
    "changes",
    [
        {"until": NOW},
        {"until": NOW + DELEGATION_VALID_MAX + MINUTE},
        {"reason": "  "},
        {"reason": "x" * 1001},
        {"delegate": "CAROL"},
    ],
)
def test_a_vote_that_cannot_be_given_like_that_is_refused(changes: dict[str, object]) -> None:
    fields: dict[str, object] = {
        "instance": cases.INSTANCE,
        "giver": by_key("carol"),
        "delegate": "bob",
        "scope": DelegationScope(),
        "nonce": "n",
        "now": NOW,
        "until": NOW + DELEGATION_VALID_MAX,
        "reason": "on leave",
    }
    assert delegation_statement(**fields).delegate == "bob"  # type: ignore[arg-type]
    with pytest.raises(DelegationRefused):
        delegation_statement(**(fields | changes))  # type: ignore[arg-type]


def test_a_giver_known_by_anything_but_a_key_gives_nothing() -> None:
    by_session = replace(by_key("carol"), established=Established.OIDC)
    chain = (delegation("carol", "bob", giver=by_session),)

    assert codes(count(yes("bob", "carol"), chain=chain)) == ["approver-not-established"]
