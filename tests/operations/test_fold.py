"""The fold: one reading of the records, the same in pieces, after a restart, and from the bytes."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.errors import IllegalMove, NothingToUndo
from rexecop.operations.fold import Operation, fold
from rexecop.operations.index import row_of
from rexecop.operations.machine import TERMINAL, TRANSITIONS
from rexecop.operations.next import Close, Park, next_effect
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import Sealed, seal, unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.vocabulary import State
from tests.docs.lifecycle import COMMANDS, heard_in
from tests.operations.lives import lives
from tests.sim.world import ALICE


@st.composite
def histories(draw: st.DrawFn) -> tuple[Sealed, ...]:
    return draw(st.sampled_from(lives()))


@given(histories(), st.data())
def test_a_prefix_and_the_rest_fold_to_the_same_as_all(
    records: tuple[Sealed, ...], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(records)))
    op = fold(records[:cut])
    for sealed in records[cut:]:
        op.apply(sealed)
    assert op == fold(records)


@given(histories())
def test_folding_is_deterministic_and_the_same_from_bytes(records: tuple[Sealed, ...]) -> None:
    assert fold(records) == fold(records) == fold([unseal(sealed.body) for sealed in records])


@given(histories(), st.data())
def test_what_is_next_is_a_pure_function_of_the_records(
    records: tuple[Sealed, ...], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(3, len(records)))
    op = fold(records[:cut])
    before = copy.deepcopy(op)
    assert next_effect(op) == next_effect(fold(unseal(sealed.body) for sealed in records[:cut]))
    assert op == before


@given(histories())
def test_every_terminal_arrival_asks_for_a_receipt_and_nothing_else_does(records: tuple[Sealed, ...]) -> None:
    op = Operation()
    for sealed in records:
        before, due = op.state, op.receipt_due
        op.apply(sealed)
        if isinstance(sealed.record, Receipt):
            assert due and not op.receipt_due
        elif op.state in TERMINAL and op.state is not before:
            assert op.receipt_due and isinstance(next_effect(op), Close)
        if op.receipt_due:
            assert op.state in TERMINAL


@given(histories())
def test_ended_operations_need_nothing(records: tuple[Sealed, ...]) -> None:
    assert isinstance(next_effect(fold(records)), Park)


@given(histories())
def test_the_index_row_counts_and_names_what_was_folded(records: tuple[Sealed, ...]) -> None:
    row = row_of(fold(records))
    assert (row.records, row.head, row.updated) == (len(records), records[-1].digest, records[-1].record.at)


@given(histories(), st.data())
def test_a_record_left_out_is_named_or_harmless_and_never_a_crash(
    records: tuple[Sealed, ...], data: st.DataObject
) -> None:
    gone = data.draw(st.integers(0, len(records) - 1))
    try:
        fold(records[:gone] + records[gone + 1 :])
    except RexecopError as error:
        assert error.code in ("illegal-move", "chain-broken", "nothing-to-undo")


def after(records: tuple[Sealed, ...], verb: Verb) -> Sealed:
    last = records[-1]
    return seal(
        Command(
            operation=last.record.operation,
            n=len(records),
            prev=last.digest,
            at=last.record.at,
            by=ALICE,
            verb=verb,
        )
    )


@given(histories(), st.sampled_from(Verb))
def test_a_command_that_may_not_follow_changes_nothing(records: tuple[Sealed, ...], verb: Verb) -> None:
    op = fold(records)
    before = copy.deepcopy(op)
    try:
        op.apply(after(records, verb))
    except RexecopError:
        assert op == before
    else:
        assert op.state is not before.state


@given(histories())
def test_an_outcome_of_no_open_attempt_is_refused(records: tuple[Sealed, ...]) -> None:
    outcomes = [sealed for sealed in records if isinstance(sealed.record, Outcome) and sealed.record.attempt]
    if not outcomes:
        return
    with pytest.raises(RexecopError) as refused:
        fold((*records, outcomes[-1]))
    assert refused.value.code == "chain-broken"


def test_an_attempt_outside_the_plan_is_refused() -> None:
    records = next(r for r in lives() if any(isinstance(s.record, Attempt) for s in r))
    place, attempt = next((n, s.record) for n, s in enumerate(records) if isinstance(s.record, Attempt))
    with pytest.raises(RexecopError) as refused:
        fold((*records[:place], seal(replace(attempt, target="elsewhere"))))
    assert refused.value.code == "chain-broken"


def test_a_receipt_in_mid_run_does_not_end_anything() -> None:
    records = next(r for r in lives() if any(isinstance(s.record, Attempt) for s in r))
    place = next(n for n, s in enumerate(records) if isinstance(s.record, Attempt))
    head = records[place]
    early = Receipt(
        operation=head.record.operation,
        n=place + 1,
        prev=head.digest,
        at=head.record.at,
        by=ENGINE,
        state=State.COMPLETED,
        head=head.digest,
        attempts=1,
        outcomes={},
        reason="early",
        facts=digest_of(b"none"),
    )
    op = fold(records[: place + 1])
    with pytest.raises(IllegalMove):
        op.apply(seal(early))


def test_the_lives_cover_the_states_that_matter() -> None:
    seen: Counter[State] = Counter()
    for records in lives():
        op = Operation()
        for sealed in records:
            op.apply(sealed)
            seen[op.state] += 1
    assert {
        State.COMPLETED,
        State.FAILED,
        State.INDETERMINATE,
        State.PAUSED,
        State.RETRYING,
        State.UNDONE,
        State.CANCELLED,
    } <= set(seen)


@given(histories(), st.data(), st.sampled_from(sorted(COMMANDS)))
def test_a_command_is_heard_only_where_its_page_says_and_else_refused_naming_both_states(
    records: tuple[Sealed, ...], data: st.DataObject, name: str
) -> None:
    before = records[: data.draw(st.integers(3, len(records)))]
    op, (verb, event) = fold(before), COMMANDS[name]
    state, goals = op.state, {moves[event] for moves in TRANSITIONS.values() if event in moves}
    try:
        op.apply(after(before, verb))
    except NothingToUndo:
        assert verb is Verb.UNDO and not op.to_undo() and state in heard_in(event)
    except IllegalMove as refused:
        assert f"`{state}`" in refused.message and any(f"`{goal}`" in refused.message for goal in goals)
        assert state not in heard_in(event) or (verb is Verb.RETRY and not op.may_retry)
        assert refused.event not in refused.allowed
    else:
        assert state in heard_in(event)
