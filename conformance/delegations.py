"""Votes said for another person: the chain that gave them away, and everything that gives none."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from conformance.memory_signer import MemorySigner
from conformance.tamperings import Case, cutting, earns, replace_contents
from conformance.worlds import (
    APPROVER_KEY,
    COVERED,
    ENROLMENTS,
    INSTANCE,
    JAN,
    MARA,
    ONE_OF_OPS,
    OTTO,
    PATHS,
    REQUESTER_KEY,
    SECOND_APPROVER_KEY,
    START,
    STRANGER_KEY,
    TRUSTED,
    VALUES,
    Book,
    cut,
    enrol,
    instance_chain,
    paused_change,
    planned_change,
    read_step,
    recorded,
    resumed_change,
    standing,
)
from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.codec import encode
from rexecop.proof.principal import Principal
from rexecop.proof.records import Approval, Delegation, Record
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE, DelegationStatement
from rexecop.proof.signer import Signer
from rexecop.proof.verify import TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Effect, Established, Role, State, Verdict

Made = Callable[[int, Digest | None], Record]
NORA_KEY: Final = MemorySigner(8)
NORA: Final = Principal(person="nora", established=Established.KEY, credential=NORA_KEY.key_id)
BOTH: Final = TrustedKeys(
    keys=(*TRUSTED.keys, TrustedKey(role=Role.APPROVER, name="otto", public=SECOND_APPROVER_KEY.public))
)


def giving(
    giver: Principal = MARA,
    to: str = "otto",
    *,
    key: Signer = APPROVER_KEY,
    by: Principal | None = None,
    at: datetime = START,
    **more: Any,
) -> Made:
    """`giver` gives `to` their vote for a month, signed with `key`."""
    said = DelegationStatement(
        instance=INSTANCE,
        giver=giver,
        delegate=to,
        until=START + timedelta(days=30),
        nonce="given-1",
        reason="on leave",
    )
    said = replace(said, **more)
    signature = sshsig.sign(key, DELEGATION_NAMESPACE, encode(said))

    def made(n: int, prev: Digest | None) -> Record:
        fields: dict[str, Any] = {"statement": said, "signature": signature}
        return Delegation(operation=INSTANCE, n=n, prev=prev, at=at, by=by or giver, **fields)

    return made


def chain_of(*made: Made) -> list[Sealed]:
    return instance_chain((*ENROLMENTS, *made))


def taking_back(given: Made, *before: Made, at: datetime = START) -> Made:
    """The giver takes `given` back, which stands in the chain behind `before`."""
    digest = chain_of(*before, given)[-1].digest
    return giving(nonce="back", withdraws=digest, at=at)


def voted_change(by: Principal = OTTO, key: Signer = SECOND_APPROVER_KEY, **more: Any) -> Book:
    """A change that `by` approved for Mara, up to its ticket, and its first step."""
    book, look, _ = planned_change()
    book.approve(by, key, **({"on_behalf_of": "mara"} | more))
    book.ticket()
    book.run(look, facts=PATHS)
    return book


def _voted(*made: Made, **more: Any) -> Case:
    return cutting(voted_change(**more), instance=chain_of(*made))


# --- nothing wrong: `honest` lists these ---


def vote_for_another_person() -> Case:
    book, look, change = planned_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    book.ticket()
    book.run(look, facts=PATHS)
    book.outcome("set", book.attempt(change, values=VALUES, target_n=1))
    book.validation()
    book.receipt(State.COMPLETED)
    given = giving(environments=("here", "there"), intents=("hello/set_line",), effects=(Effect.CHANGE,))
    return Case(bundle=cut(book, instance=chain_of(given)).bundle(), trust=BOTH)


def vote_for_a_person_the_verifier_does_not_know() -> Case:
    otto_alone = tuple(key for key in BOTH.keys if key.name != "mara")
    return replace(_voted(giving()), trust=TrustedKeys(keys=otto_alone))


def vote_before_it_was_taken_back() -> Case:
    given = giving()
    later = taking_back(given, at=START + timedelta(hours=2))
    return cutting(voted_change(), instance=chain_of(given, later), late=1)


def two_who_gave_each_other_their_votes_and_used_none() -> Case:
    book, look, _ = planned_change_for_two()
    book.approve(MARA, APPROVER_KEY)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    book.ticket()
    book.run(look, facts=PATHS)
    other = giving(OTTO, "mara", key=SECOND_APPROVER_KEY, nonce="given-2")
    return Case(bundle=cut(book, instance=chain_of(giving(), other)).bundle(), trust=BOTH)


def no_for_another_person_taken_back_by_them() -> Case:
    book, look, _ = planned_change()
    no = book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara", approves=False)
    book.receipt(State.BLOCKED)
    book.approve(MARA, APPROVER_KEY, approves=False, withdraws=no.digest)
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    book.ticket()
    book.run(look, facts=PATHS)
    return cutting(book, instance=chain_of(giving()))


def step_approved_for_another_person() -> Case:
    book, step, call = paused_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara", step="set", call=call)
    resumed_change(book, step)
    return Case(bundle=cut(book, instance=chain_of(giving())).bundle(), trust=BOTH)


def vote_with_groups_that_only_the_instance_knows() -> Case:
    made = cut(voted_change(), instance=chain_of(giving()))
    others = tuple(item for item in made.contents.inputs if item.role != "policy-pack")
    return Case(bundle=replace_contents(made, inputs=others).bundle())


def planned_change_for_two(**more: Any) -> tuple[Book, Any, Any]:
    book, look, change = planned_change()
    book.records.pop()
    book.decision(Verdict.APPROVAL_REQUIRED, ApprovalRule(count=2, group="ops"), **more)
    return book, look, change


# --- false ones ---


@earns("E03f")
def a_delegation_inside_an_operation() -> Case:
    book = voted_change()
    record = chain_of(giving())[-1].record
    assert isinstance(record, Delegation)
    book.add(Delegation, by=MARA, statement=record.statement, signature=record.signature)
    return cutting(book, instance=chain_of(giving()))


@earns("E04r")
def a_delegation_signed_by_another_key_than_it_names() -> Case:
    return _voted(giving(key=STRANGER_KEY))


@earns("E04r")
def a_delegation_whose_end_was_edited() -> Case:
    def later(n: int, prev: Digest | None) -> Record:
        record = giving()(n, prev)
        assert isinstance(record, Delegation)
        return replace(record, statement=replace(record.statement, until=START + timedelta(days=31)))

    return _voted(later)


@earns("E04r")
def an_approval_shown_as_a_delegation() -> Case:
    def other(n: int, prev: Digest | None) -> Record:
        record = giving()(n, prev)
        assert isinstance(record, Delegation)
        armored = sshsig.sign(APPROVER_KEY, "approval@rexecop", encode(record.statement))
        return replace(record, signature=armored)

    return _voted(other)


@earns("E04l")
def a_delegation_with_a_new_key_for_a_giver_the_verifier_knows() -> Case:
    other = replace(MARA, credential=STRANGER_KEY.key_id)
    return _voted(enrol("mara", Role.APPROVER, STRANGER_KEY), giving(other, key=STRANGER_KEY))


@earns("E08a")
def a_vote_said_by_who_asked() -> Case:
    enrolled = enrol("jan", Role.APPROVER, REQUESTER_KEY)
    return _voted(enrolled, giving(to="jan"), by=JAN, key=REQUESTER_KEY)


@earns("E08a")
def a_vote_said_for_who_asked() -> Case:
    enrolled = enrol("jan", Role.APPROVER, REQUESTER_KEY)
    return _voted(enrolled, giving(JAN, key=REQUESTER_KEY), on_behalf_of="jan")


@earns("E08b")
def a_vote_of_somebody_whose_key_was_revoked() -> Case:
    return _voted(giving(), enrol("mara", Role.APPROVER, APPROVER_KEY, revoked=True))


@earns("E08b")
def a_vote_of_somebody_enrolled_after_the_plan() -> Case:
    late, after = START + timedelta(hours=1, milliseconds=250), START + timedelta(hours=1, milliseconds=260)
    nora = enrol("nora", Role.APPROVER, NORA_KEY, at=late)
    return _voted(nora, giving(NORA, key=NORA_KEY, at=after), on_behalf_of="nora")


@earns("E08k")
def a_vote_of_somebody_the_requester_enrolled() -> Case:
    nora = enrol("nora", Role.APPROVER, NORA_KEY, by=JAN)
    return _voted(nora, giving(NORA, key=NORA_KEY), on_behalf_of="nora")


@earns("E08g")
def a_no_said_for_another_person_overlooked() -> Case:
    book, _, _ = planned_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara", approves=False)
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book, instance=chain_of(giving()))


@earns("E08g")
def a_no_that_the_delegate_took_back_for_the_giver() -> Case:
    book, _, _ = planned_change()
    no = book.approve(MARA, APPROVER_KEY, approves=False)
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara", approves=False, withdraws=no.digest)
    book.approve(OTTO, SECOND_APPROVER_KEY)
    book.ticket()
    return cutting(book, instance=chain_of(giving()))


@earns("E08h")
def a_delegate_who_is_in_no_group() -> Case:
    book = voted_change(by=NORA, key=NORA_KEY)
    _with_delegate_groups(book, ())
    return cutting(book, instance=chain_of(enrol("nora", Role.APPROVER, NORA_KEY), giving(to="nora")))


@earns("E08h")
def a_delegate_whom_the_policy_puts_in_no_group() -> Case:
    return _voted(enrol("nora", Role.APPROVER, NORA_KEY), giving(to="nora"), by=NORA, key=NORA_KEY)


@earns("E08h")
def a_delegate_of_somebody_who_is_not_asked() -> Case:
    nora = enrol("nora", Role.APPROVER, NORA_KEY)
    return _voted(nora, giving(NORA, key=NORA_KEY), on_behalf_of="nora")


def _with_delegate_groups(book: Book, groups: tuple[str, ...]) -> None:
    """Write the one approval of `book`, and all that rests on it, anew."""
    at = next(n for n, one in enumerate(book.records) if isinstance(one.record, Approval))
    record = book.records[at].record
    assert isinstance(record, Approval)
    book.records = [*book.records[:at], seal(replace(record, delegate_groups=groups))]
    book.ticket()


@earns("E08l")
def a_delegate_who_votes_for_both() -> Case:
    book, _, _ = planned_change_for_two()
    book.approve(OTTO, SECOND_APPROVER_KEY)
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    book.ticket()
    return cutting(book, instance=chain_of(giving()))


@earns("E08l")
def a_giver_who_votes_after_her_delegate() -> Case:
    book, _, _ = planned_change_for_two()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    return cutting(book, instance=chain_of(giving()))


@earns("E08p")
def a_delegate_with_a_conflict_of_interest() -> Case:
    limits = (ApprovalLimit(at_most=0, group="night"),)
    book, _, _ = planned_change()
    book.records.pop()
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS, approval_limits=limits)
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara")
    _with_delegate_groups(book, ("night",))
    made = cut(book, instance=chain_of(giving()))
    others = tuple(item for item in made.contents.inputs if item.role != "policy-pack")
    return Case(bundle=replace_contents(made, inputs=others).bundle())


@earns("E08s")
def a_step_approved_for_somebody_who_took_the_vote_back() -> Case:
    book, step, call = paused_change()
    book.approve(OTTO, SECOND_APPROVER_KEY, on_behalf_of="mara", step="set", call=call)
    resumed_change(book, step)
    given = giving()
    return cutting(book, instance=chain_of(given, taking_back(given)))


@earns("E08t")
def a_vote_that_nobody_gave_away() -> Case:
    return _voted()


@earns("E08t")
def a_vote_that_had_been_taken_back() -> Case:
    given = giving()
    return _voted(given, taking_back(given))


@earns("E08t")
def a_vote_taken_back_and_recorded_again() -> Case:
    given = giving()
    return _voted(given, taking_back(given), given)


@earns("E08t")
def a_vote_given_only_afterwards() -> Case:
    return _voted(giving(at=START + timedelta(hours=2)))


@earns("E08t")
def a_vote_given_until_before_it_was_used() -> Case:
    return _voted(giving(until=START + timedelta(minutes=30)))


@earns("E08t")
def a_vote_given_for_longer_than_it_may_be() -> Case:
    return _voted(giving(until=START + timedelta(days=61)))


@earns("E08t")
def a_vote_given_for_another_environment() -> Case:
    return _voted(giving(environments=("there",)))


@earns("E08t")
def a_vote_given_for_another_intent() -> Case:
    return _voted(giving(intents=("other/set_line", "look")))


@earns("E08t")
def a_vote_given_for_reads() -> Case:
    return _voted(giving(effects=(Effect.READ,)))


@earns("E08t")
def a_vote_given_to_somebody_else() -> Case:
    return _voted(giving(to="nora"))


@earns("E08t")
def a_vote_passed_on_by_the_delegate() -> Case:
    passed = giving(OTTO, "nora", key=SECOND_APPROVER_KEY, nonce="given-2")
    return _voted(enrol("nora", Role.APPROVER, NORA_KEY), giving(), passed, by=NORA, key=NORA_KEY)


@earns("E08t")
def a_vote_whose_giving_was_recorded_by_who_asked() -> Case:
    return _voted(giving(by=JAN))


@earns("E08t")
def a_vote_given_in_another_instance() -> Case:
    return _voted(giving(instance="inst_other"))


@earns("E08t")
def a_vote_given_with_a_key_enrolled_later() -> Case:
    nora = enrol("nora", Role.APPROVER, NORA_KEY, at=START + timedelta(minutes=5))
    return _voted(giving(NORA, key=NORA_KEY), nora, on_behalf_of="nora")


@earns("E08t")
def a_standing_approval_for_somebody_else() -> Case:
    book = Book("op_change")
    book.intent(parameters={"line": "new"})
    book.plan((read_step(),), Effect.READ)
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
    said = replace(standing(book, COVERED)[0], approver=OTTO, on_behalf_of="mara")
    signature = sshsig.sign(SECOND_APPROVER_KEY, "approval@rexecop", encode(said))
    fields: dict[str, Any] = {"groups": ("ops",), "delegate_groups": ("ops",), "use": 1}
    book.add(Approval, statement=said, signature=signature, **fields)
    book.ticket()
    return cutting(book, instance=chain_of(giving(), recorded(said, signature)))
