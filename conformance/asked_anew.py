"""Operations that policy came to ask more of on the way, and calls that were asked for in mid-call."""

from __future__ import annotations

from typing import Final

from conformance.tamperings import Case, cutting, earns
from conformance.worlds import (
    APPROVER_KEY,
    ENROLMENTS,
    JAN,
    MARA,
    ONE_OF_OPS,
    PATHS,
    VALUES,
    Book,
    change_step,
    cut,
    instance_chain,
    read_step,
)
from rexecop.proof.chain import Sealed
from rexecop.proof.records import Attempt, Note
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.plan import CallStep
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.vocabulary import Effect, Gate, Phase, State, Verdict

STRICTER: Final = Obligations(output_bytes=4)
KEPT: Final = (ObligationMet(name="output_bytes", met=True, how="largest output kept 9 bytes"),)


def half_done(*, approved: bool = False) -> tuple[Book, CallStep, CallStep, Sealed]:
    """Begun, and asked anew before its second change; the last is the attempt of the first."""
    book = Book("op_anew")
    look, first, second = read_step(), change_step(), change_step("more")
    book.intent()
    book.plan((look, first, second), Effect.CHANGE)
    if approved:
        book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS)
        book.approve(MARA, APPROVER_KEY)
    else:
        book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, output=b"old line\n", facts=PATHS)
    made = book.attempt(first, values=VALUES, target_n=1)
    book.outcome("set", made)
    asked = None if approved else STRICTER
    book.decision(Verdict.APPROVAL_REQUIRED, ONE_OF_OPS, gate=Gate.TICKET, obligations=asked or Obligations())
    return book, first, second, made


def go_on(book: Book, step: CallStep, made: Sealed, *, obligations: tuple[ObligationMet, ...] = ()) -> None:
    """Make the change that is left under a ticket minted before, and close."""
    again = book.attempt(step, values=VALUES, target_n=2, target_prev=made.digest)
    book.outcome(step.id, again)
    book.validation()
    book.receipt(State.COMPLETED, obligations=obligations)


def approved_for_what_is_left() -> Case:
    book, _, second, made = half_done()
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    go_on(book, second, made, obligations=KEPT)
    return Case(bundle=cut(book).bundle())


def asked_for_in_the_course_of_another_call() -> Case:
    book = Book("op_within")
    look, first, second = read_step(), change_step(), change_step("more")
    book.intent()
    book.plan((look, first, second), Effect.CHANGE)
    book.decision(Verdict.ALLOWED)
    book.ticket()
    book.run(look, facts=PATHS)
    outer = book.attempt(first, values=VALUES, target_n=1)
    inner = book.attempt(second, values=VALUES, target_n=2, target_prev=outer.digest, within=outer.digest)
    book.add(Note, topic="leave-refused", text="step set asked for a call that is not in the plan")
    book.outcome("more", inner)
    book.outcome("set", outer)
    book.validation()
    book.receipt(State.COMPLETED)
    return Case(bundle=cut(book).bundle())


def refused_on_the_way_and_undone() -> Case:
    book, first, _, made = half_done()
    book.approve(MARA, APPROVER_KEY, approves=False)
    book.receipt(State.BLOCKED)
    book.add(Command, by=JAN, verb=Verb.UNDO, reason="not half of it")
    undo = first.undo
    assert undo is not None
    back = book.attempt(first, undo, phase=Phase.UNDO, values=VALUES, target_n=2, target_prev=made.digest)
    book.outcome("set", back)
    book.receipt(State.UNDONE)
    return Case(bundle=cut(book).bundle())


@earns("E08v")
def a_call_under_the_terms_that_policy_had_asked_more_than() -> Case:
    book, _, second, made = half_done()
    go_on(book, second, made, obligations=KEPT)
    return cutting(book)


@earns("E08u")
def a_ticket_on_the_approval_that_was_spent() -> Case:
    book, _, second, made = half_done(approved=True)
    book.ticket()
    go_on(book, second, made)
    return cutting(book)


@earns("E08u")
def a_second_ticket_on_one_decision() -> Case:
    book, _, second, made = half_done()
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    book.ticket()
    go_on(book, second, made, obligations=KEPT)
    return cutting(book)


@earns("E07q")
def a_change_made_again_under_the_next_ticket() -> Case:
    book, first, _, made = half_done()
    book.approve(MARA, APPROVER_KEY)
    book.ticket()
    again = book.attempt(first, number=2, values=VALUES, target_n=2, target_prev=made.digest)
    assert isinstance(again.record, Attempt)
    book.outcome("set", again)
    return cutting(book, instance=instance_chain(ENROLMENTS))
