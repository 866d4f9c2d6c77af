"""Which approvals count: separation of duties, signatures, and quorums."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.errors import ChainBroken
from rexecop.proof.quorum import Groups, ProvedBy, Tally, tally
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import ApprovalLimit, Terms
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Established, Mode, Role
from tests.governance import cases
from tests.governance.cases import (
    ENROLMENTS,
    GROUPS,
    MINUTE,
    NOW,
    approval,
    by_key,
    delegation,
    enrolled,
    statement,
)
from tests.spec.quorum import enough, voters

AT = NOW + 5 * MINUTE
INTENT = cases.intent()
PLAN = cases.plan(INTENT)
ONE = cases.terms((1, "approvers"))


def count(
    *approvals: Sealed,
    intent: Sealed = INTENT,
    plan: Sealed = PLAN,
    terms: Terms = ONE,
    enrolments: tuple[Enrolment, ...] = ENROLMENTS,
    groups: Groups | None = GROUPS,
    instance: tuple[Sealed, ...] = (),
) -> Tally:
    return tally(
        intent=intent,
        plan=plan,
        terms=terms,
        preview=cases.PREVIEW,
        approvals=approvals,
        enrolments=enrolments,
        groups=groups,
        at=AT,
        instance=instance,
    )


def yes(person: str, n: int = 3, **changes: object) -> Sealed:
    return approval(statement(PLAN, ONE, person, **changes), n=n)


def test_one_good_approval_is_counted_and_enough() -> None:
    found = count(yes("bob"))

    assert found.satisfied
    assert [counted.person for counted in found.counted] == ["bob"]
    assert found.proved_by is ProvedBy.KEYS


def test_no_approvals_are_never_enough_whatever_is_asked() -> None:
    for terms in (ONE, cases.terms(), cases.BLOCKED, cases.terms((0, "approvers"))):
        assert not count(terms=terms).satisfied


def test_terms_that_ask_nobody_are_not_satisfied_by_a_volunteer() -> None:
    allowed = cases.terms()

    assert not count(approval(statement(PLAN, allowed, "bob")), terms=allowed).satisfied


def test_a_plan_of_another_intent_is_no_case() -> None:
    with pytest.raises(ChainBroken):
        count(yes("bob"), intent=cases.intent(mode=Mode.DRY_RUN))


OTHER = digest_of(b"other")
WRONG: dict[str, tuple[str, Callable[[], Sealed]]] = {
    "another operation": ("approval-other-operation", lambda: yes("bob", operation="op_other")),
    "another plan": ("approval-other-plan", lambda: yes("bob", plan=OTHER)),
    "other terms": ("approval-other-terms", lambda: yes("bob", terms=OTHER)),
    "another preview": ("approval-other-preview", lambda: yes("bob", preview=OTHER)),
    "expired": ("approval-expired", lambda: yes("bob", expires=AT)),
    "dated ahead": (
        "approval-from-the-future",
        lambda: approval(statement(PLAN, ONE, "bob"), at=AT + MINUTE),
    ),
    "no nonce": ("nonce-missing", lambda: yes("bob", nonce="")),
    "the requester's own key": ("self-approval", lambda: yes("alice")),
    "a stranger": ("approver-unknown", lambda: yes("mallory")),
    "another's name": (
        "approver-unknown",
        lambda: approval(statement(PLAN, ONE, "bob", approver=by_key("bob", "mallory")), key="mallory"),
    ),
    "another's name and key, own signature": (
        "approval-signature-wrong",
        lambda: approval(statement(PLAN, ONE, "bob"), key="mallory"),
    ),
    "another namespace": (
        "approval-signature-wrong",
        lambda: approval(statement(PLAN, ONE, "bob"), namespace="intent@rexecop"),
    ),
    "another text": (
        "approval-signature-wrong",
        lambda: approval(statement(PLAN, ONE, "bob"), signed=b"another text"),
    ),
    "a name without a key": (
        "approver-not-established",
        lambda: yes("bob", approver=replace(by_key("bob"), established=Established.OS_USER)),
    ),
    "not an approval": ("not-an-approval", lambda: PLAN),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_approval_is_excluded_with_its_code(case: str) -> None:
    code, make = WRONG[case]

    found = count(make())

    assert [excluded.code for excluded in found.excluded] == [code]
    assert not found.satisfied


REQUESTER_KEY = (*ENROLMENTS[1:], enrolled("alice", key="bob", role=Role.REQUESTER))
BY_ALICE = (enrolled("bob", by=cases.ALICE),)
BY_ALICE_UNDER_ANOTHER_NAME = (enrolled("bob", by=replace(cases.ALICE, person="helper")),)
THROUGH_MALLORY = (enrolled("mallory", by=cases.ALICE), enrolled("bob", by=by_key("mallory")))
AGENT = cases.intent(by=by_key("robot", "dora"), sponsor="bob")


@pytest.mark.parametrize(
    ("code", "enrolments"),
    [
        ("key-shared-with-requester", REQUESTER_KEY),
        ("key-enrolled-by-requester", BY_ALICE),
        ("key-enrolled-by-requester", BY_ALICE_UNDER_ANOTHER_NAME),
        ("key-enrolled-by-requester", THROUGH_MALLORY),
        ("key-enrolled-after-plan", (enrolled("bob", since=NOW),)),
        ("approver-key-invalid", (enrolled("bob", revoked=AT),)),
        ("approver-key-invalid", (enrolled("bob", expires=AT),)),
        ("approver-unknown", (enrolled("bob", role=Role.REQUESTER),)),
        ("approval-signature-wrong", (replace(enrolled("bob"), public=cases.KEYS["carol"].public.line),)),
        ("approval-signature-wrong", (replace(enrolled("bob"), public="nonsense"),)),
    ],
)
def test_a_key_that_does_not_count_is_excluded_with_its_code(
    code: str, enrolments: tuple[Enrolment, ...]
) -> None:
    found = count(yes("bob"), enrolments=enrolments)

    assert [excluded.code for excluded in found.excluded] == [code]
    assert not found.satisfied


@pytest.mark.parametrize(("person", "code"), [("bob", "sponsor-approval"), ("dora", "self-approval")])
def test_neither_the_sponsor_nor_the_credential_of_an_agent_approves(person: str, code: str) -> None:
    plan = cases.plan(AGENT)

    found = count(approval(statement(plan, ONE, person)), intent=AGENT, plan=plan)

    assert [excluded.code for excluded in found.excluded] == [code]


def test_a_requester_spelled_differently_is_still_the_requester() -> None:
    said = statement(PLAN, ONE, "alice", approver=replace(by_key("alice"), person="\uff21LICE"))
    spelled = (enrolled("alice"), replace(enrolled("alice"), person="\uff21LICE"))

    assert count(approval(said, key="alice"), enrolments=spelled).excluded[0].code == "self-approval"


def test_somebody_outside_the_groups_does_not_count() -> None:
    sre = cases.terms((1, "sre"))

    found = count(approval(statement(PLAN, sre, "dora")), terms=sre)

    assert [excluded.code for excluded in found.excluded] == ["approver-not-in-group"]


def test_a_nonce_and_a_person_count_once() -> None:
    two = cases.terms((2, "approvers"))
    bob = [approval(statement(PLAN, two, "bob", nonce=nonce), n=n) for n, nonce in ((3, "a"), (4, "b"))]
    copied = approval(statement(PLAN, two, "carol", nonce="a"), n=5)

    found = count(*bob, copied, terms=two)

    assert [excluded.code for excluded in found.excluded] == ["person-repeated", "nonce-repeated"]
    assert [(rule.count, rule.group) for rule in found.missing] == [(1, "approvers")]


def test_an_entitled_no_denies_however_many_say_yes() -> None:
    no = approval(
        statement(PLAN, ONE, "carol", approves=False, expires=NOW, terms=OTHER, reason="not now"), n=4
    )

    found = count(yes("bob"), no, yes("dora", n=5))

    assert found.denied_by == ("carol",)
    assert not found.satisfied


def test_a_no_of_somebody_who_could_not_say_yes_denies_nothing() -> None:
    noes = [approval(statement(PLAN, ONE, person, approves=False), n=4) for person in ("alice", "mallory")]

    assert count(yes("bob"), *noes).satisfied


def test_one_person_fills_one_place_even_when_he_is_in_both_groups() -> None:
    both = cases.terms((1, "approvers"), (1, "sre"))
    bob, carol, dora = (
        approval(statement(PLAN, both, person), n=n) for n, person in enumerate(("bob", "carol", "dora"), 3)
    )

    assert not count(bob, terms=both).satisfied
    assert count(bob, carol, terms=both).satisfied
    assert count(dora, bob, terms=both).satisfied


def test_without_the_pack_recorded_groups_are_taken_unchecked_and_that_is_said() -> None:
    sre = cases.terms((1, "sre"))

    found = count(yes("bob"), groups=None)

    assert found.satisfied
    assert not found.membership_checked
    assert not count(approval(statement(PLAN, sre, "bob")), terms=sre, groups=None).satisfied


def test_a_huge_count_in_terms_costs_nothing_and_is_not_reached() -> None:
    many = cases.terms((2**50, "approvers"))

    found = count(approval(statement(PLAN, many, "bob")), terms=many)

    assert found.missing[0].count == 2**50 - 1


def back(given: Sealed, person: str, n: int = 5, **changes: object) -> Sealed:
    """Return `person` taking back `given`."""
    said = statement(PLAN, ONE, person, approves=False, withdraws=given.digest, nonce=f"n{n}")
    return approval(replace(said, **changes), n=n)  # type: ignore[arg-type]


NO = approval(statement(PLAN, ONE, "carol", approves=False), n=4)


def test_a_no_stands_until_the_same_person_takes_it_back() -> None:
    assert count(yes("bob"), NO).denied_by == ("carol",)
    found = count(yes("bob"), NO, back(NO, "carol"))
    assert found.satisfied and not found.denied_by
    assert [(one.code, one.approval) for one in found.excluded] == [("approval-withdrawn", NO.digest)]


@pytest.mark.parametrize(
    "made",
    [
        lambda: back(NO, "bob"),
        lambda: back(NO, "carol", approves=True),
        lambda: back(NO, "carol", n=2),
        lambda: back(NO, "carol", plan=OTHER),
        lambda: approval(back(NO, "carol").record.statement, key="mallory", n=5),  # type: ignore[attr-defined]
        lambda: back(back(NO, "carol"), "carol", n=6),
    ],
    ids=["another person", "a yes", "before it", "another plan", "another key", "a withdrawal taken back"],
)
def test_nothing_else_takes_a_no_back(made: Callable[[], Sealed]) -> None:
    assert count(yes("bob"), NO, made()).denied_by == ("carol",)


def test_a_yes_taken_back_does_not_count_and_may_be_given_again() -> None:
    first = yes("bob")
    again = yes("bob", n=6, nonce="again")

    assert not count(first, back(first, "bob")).satisfied
    assert [one.approval for one in count(first, back(first, "bob"), again).counted] == [again.digest]


LENIENT = replace(ONE, session_may_approve=True)


def unsigned(
    person: str, terms: Terms = LENIENT, *, subject: str = "", n: int = 3, **changes: object
) -> Sealed:
    """Return the word of `person` by session, with nothing signed."""
    who = f"https://login.example#{subject or person}"
    by = replace(by_key("bob"), person=person, established=Established.OIDC, credential=who)
    said = statement(PLAN, terms, "bob", **{"approver": by, "nonce": who, **changes})
    record = approval(said, key="bob").record
    assert isinstance(record, Approval)
    return seal(replace(record, by=by, signature="", n=n))


def test_an_unsigned_yes_counts_where_the_terms_take_it_and_is_told_apart() -> None:
    found = count(unsigned("bob"), terms=LENIENT)

    assert found.satisfied and found.proved_by is ProvedBy.SESSIONS
    assert (found.counted[0].signed, found.counted[0].credential) == (False, "https://login.example#bob")
    assert [one.code for one in count(unsigned("bob", ONE)).excluded] == ["session-may-not-approve"]


def test_of_two_one_may_sign_and_one_speak_by_session_but_not_the_same_person_or_subject() -> None:
    terms = replace(cases.terms((2, "approvers")), session_may_approve=True)
    signed = approval(statement(PLAN, terms, "carol"), n=2)

    both = count(signed, unsigned("bob", terms), terms=terms)
    assert both.satisfied and both.proved_by is ProvedBy.SESSIONS
    assert not count(signed, unsigned("Carol ", terms), terms=terms).satisfied
    twice = unsigned("bob", terms, subject="x"), unsigned("dora", terms, subject="x", n=4, nonce="again")
    assert [one.code for one in count(*twice, terms=terms).excluded] == ["person-repeated"]


def test_what_was_signed_is_not_taken_back_without_a_signature() -> None:
    no = approval(statement(PLAN, LENIENT, "bob", approves=False), n=2)
    taken = unsigned("bob", approves=False, withdraws=no.digest)

    assert count(no, taken, unsigned("carol", n=5), terms=LENIENT).denied_by == ("bob",)
    spoken = unsigned("bob", approves=False, n=2)
    with_key = approval(statement(PLAN, LENIENT, "bob", approves=False, withdraws=spoken.digest))
    assert count(spoken, with_key, unsigned("carol", n=5), terms=LENIENT).satisfied


SPONSORED = replace(ONE, sponsor_may_approve=True)


def by_sponsor(person: str, *enrolments: Enrolment) -> Tally:
    plan = cases.plan(AGENT)
    said = approval(statement(plan, SPONSORED, person))
    return count(said, intent=AGENT, plan=plan, terms=SPONSORED, enrolments=enrolments or ENROLMENTS)


def test_the_sponsor_counts_where_the_terms_say_so_even_with_a_key_he_enrolled_himself() -> None:
    assert by_sponsor("bob").satisfied
    assert by_sponsor("bob", enrolled("bob", by=by_key("bob"))).satisfied


@pytest.mark.parametrize(
    ("person", "enrolment", "code"),
    [
        ("carol", enrolled("carol", by=by_key("bob")), "key-enrolled-by-requester"),
        ("bob", enrolled("bob", by=by_key("robot", "dora")), "key-enrolled-by-requester"),
        ("dora", enrolled("dora"), "self-approval"),
    ],
)
def test_a_sponsor_brings_nobody_along_and_the_agent_brings_no_sponsor(
    person: str, enrolment: Enrolment, code: str
) -> None:
    assert [one.code for one in by_sponsor(person, enrolment).excluded] == [code]


@pytest.mark.parametrize(
    ("most", "counted"), [(0, ["dora"]), (1, ["bob", "dora"]), (2, ["bob", "carol", "dora"])]
)
def test_of_a_limited_group_no_more_count_than_may(most: int, counted: list[str]) -> None:
    terms = replace(
        cases.terms((2, "approvers")), approval_limits=(ApprovalLimit(at_most=most, group="sre"),)
    )
    said = [approval(statement(PLAN, terms, person), n=n) for n, person in enumerate(PEOPLE, 3)]

    found = count(*said, terms=terms)

    assert [one.person for one in found.counted] == counted
    assert {one.code for one in found.excluded} <= {"conflict-of-interest"}
    assert found.satisfied == (len(counted) >= 2)


PEOPLE = ("bob", "carol", "dora")
membership = st.dictionaries(st.sampled_from("xyz"), st.frozensets(st.sampled_from(PEOPLE)), max_size=3)
asked = st.lists(
    st.tuples(st.integers(1, 2), st.sampled_from("xyz")), min_size=1, max_size=3, unique_by=lambda r: r[1]
)


@given(asked, membership, st.lists(st.sampled_from(PEOPLE), max_size=5))
def test_the_quorum_is_what_trying_every_seating_finds(
    rules: list[tuple[int, str]], groups: dict[str, frozenset[str]], people: list[str]
) -> None:
    terms = cases.terms(*rules)
    said = [approval(statement(PLAN, terms, person), n=n) for n, person in enumerate(people, 3)]

    found = count(*said, terms=terms, groups=groups)

    assert found.satisfied == enough(rules, groups, set(people))
    shuffled = sorted(said * 2, key=lambda sealed: sealed.digest)
    assert count(*shuffled, terms=terms, groups=groups) == found


EVERYBODY = ("alice", *PEOPLE)
pairs = st.tuples(st.sampled_from(EVERYBODY), st.sampled_from(EVERYBODY))
everywhere = st.dictionaries(st.sampled_from("xyz"), st.frozensets(st.sampled_from(EVERYBODY)), max_size=3)


@given(asked, everywhere, st.sets(pairs, max_size=4), st.lists(pairs, max_size=6))
def test_with_votes_given_away_it_is_still_what_trying_every_seating_finds(
    rules: list[tuple[int, str]],
    groups: dict[str, frozenset[str]],
    given_away: set[tuple[str, str]],
    votes: list[tuple[str, str]],
) -> None:
    terms = cases.terms(*rules)
    chain = tuple(delegation(giver, to) for giver, to in sorted(given_away) if giver != to)
    said = [
        approval(
            statement(
                PLAN,
                terms,
                speaker,
                nonce=f"{n} of {speaker}",
                on_behalf_of=None if speaker == voter else voter,
            ),
            n=n,
        )
        for n, (speaker, voter) in enumerate(votes, 3)
    ]

    found = count(*said, terms=terms, groups=groups, instance=chain)

    counted = voters(votes, given_away, rules, groups, "alice")
    assert [one.person for one in found.counted] == counted
    assert found.satisfied == enough(rules, groups, set(counted))
    assert len({one.person for one in found.counted}) == len(found.counted)
