"""What is next: one thing at a time, from the records alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import DRIVABLE, TERMINAL
from rexecop.operations.next import (
    RETRY_AFTER_MAX_MS,
    Close,
    Decline,
    Derive,
    Make,
    Mint,
    Park,
    Validate,
    is_wanted,
    next_effect,
    probe_of,
)
from rexecop.proof.call import fill
from rexecop.proof.chain import Sealed
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Measured, Outcome
from rexecop.proof.records.plan import CallStep, Retry
from rexecop.proof.vocabulary import Effect, Phase, State
from tests.operations.lives import lives


@cache
def moments() -> list[tuple[Operation, Sealed | None]]:
    """Return every operation after every one of its records, with the record that followed."""
    found: list[tuple[Operation, Sealed | None]] = []
    for records in lives():
        for cut in range(1, len(records) + 1):
            found.append((fold(records[:cut]), records[cut] if cut < len(records) else None))
    return found


def test_nothing_is_made_while_an_attempt_is_open_or_unknown() -> None:
    held = [op for op, _ in moments() if op.in_flight or op.unknown]
    assert held
    for op in held:
        assert isinstance(next_effect(op), Park | Close)


def test_only_what_is_drivable_or_due_a_receipt_needs_anything() -> None:
    for op, _ in moments():
        effect = next_effect(op)
        if not isinstance(effect, Park):
            assert op.state in DRIVABLE or (op.receipt_due and op.state in TERMINAL)


def test_a_call_is_made_as_planned_with_the_next_number() -> None:
    seen = 0
    for op, _ in moments():
        effect = next_effect(op)
        if not isinstance(effect, Make):
            continue
        seen += 1
        planned = next(
            s for s in op.the_plan.steps if (s.id, s.target) == (effect.step.id, effect.step.target)
        )
        assert effect.step == planned
        assert effect.call == fill(effect.template, effect.values)
        made = [
            s
            for s in (op.undo if effect.phase is Phase.UNDO else op.steps).values()
            if s.step.id == effect.step.id
        ]
        assert effect.number == (made[0].attempts if made else 0) + 1
    assert seen > 20


def test_what_was_next_is_what_the_engine_recorded() -> None:
    for op, followed in moments():
        effect = next_effect(op)
        if isinstance(effect, Make) and followed is not None and isinstance(followed.record, Attempt):
            record = followed.record
            assert (record.phase, record.permit.step, record.permit.attempt) == (
                effect.phase,
                effect.step.id,
                effect.number,
            )


def test_a_call_is_wanted_as_long_as_it_is_next_and_nobody_asked_to_stop() -> None:
    seen = 0
    for op, _ in moments():
        make = next_effect(op)
        if not isinstance(make, Make) or make.phase is not Phase.DO:
            continue
        seen += 1
        assert is_wanted(op, make)
        assert not is_wanted(op, replace(make, number=make.number + 1))
        assert not is_wanted(replace(op, pause_asked=True), make)
        assert not is_wanted(replace(op, cancel_asked=True), make)
        assert not is_wanted(replace(op, course=replace(op.course, stopped=True)), make)
        assert not is_wanted(replace(op, state=State.PAUSED), make)
    assert seen


def test_every_kind_of_need_is_met_with_in_these_lives() -> None:
    kinds = {type(next_effect(op)) for op, _ in moments()}
    assert {Mint, Make, Derive, Validate, Close, Park} <= kinds
    assert Decline not in kinds


def test_a_probe_only_reads_and_is_counted() -> None:
    probes = 0
    for op, _ in moments():
        for progress in op.unknown.values():
            make = probe_of(op, progress)
            if make is None:
                assert isinstance(progress.step, CallStep) and progress.step.probe is None
                continue
            probes += 1
            assert make.phase is Phase.PROBE and make.call.effect is Effect.READ
            assert make.number == 1 + len(op.looks.get(progress.key, ()))
    assert probes


def test_undoing_goes_from_the_last_effect_to_the_first() -> None:
    for records in lives():
        undone = [
            sealed.record.permit.step
            for sealed in records
            if isinstance(sealed.record, Attempt) and sealed.record.phase is Phase.UNDO
        ]
        order = [step.id for step in fold(records).the_plan.steps]
        first_tries = list(dict.fromkeys(undone))
        assert first_tries == sorted(first_tries, key=order.index, reverse=True)


def test_retries_wait_and_first_tries_do_not() -> None:
    for op, _ in moments():
        effect = next_effect(op)
        if isinstance(effect, Make) and effect.number == 1:
            assert effect.after_ms == 0
    assert any(op.state is State.RETRYING for op, _ in moments())


def waits(attempts: int, retry: Retry, asked: int | None) -> int:
    """How long a step waits that was tried `attempts` times and told to wait `asked` the last time."""
    op = next(op for op, _ in moments() if op.state is State.RETRYING and isinstance(next_effect(op), Make))
    here = ((group, item) for group, steps in op.course.work.items() for item in steps.values())
    group, progress = next(found for found in here if found[1].attempts)
    assert isinstance(progress.step, CallStep) and progress.outcome is not None
    record = progress.outcome.record
    assert isinstance(record, Outcome)
    facts = {} if asked is None else {"retry_after_ms": asked}
    measured = Measured(isolation="not-applicable", network="peers", protection="none", facts=facts)
    outcome = replace(progress.outcome, record=replace(record, measured=measured))
    mine = replace(progress, step=replace(progress.step, retry=retry), attempts=attempts, outcome=outcome)
    effect = next_effect(replace(op, course=replace(op.course, work={group: {progress.key: mine}})))
    assert isinstance(effect, Make) and effect.number == attempts + 1
    return effect.after_ms


def test_a_delay_doubles_up_to_its_limit() -> None:
    rule = Retry(attempts=9, on=(), delay_ms=100, delay_max_ms=500)

    assert [waits(tries, rule, None) for tries in (1, 2, 3, 4, 9)] == [100, 200, 400, 500, 500]
    assert [waits(tries, replace(rule, delay_max_ms=None), None) for tries in (1, 4)] == [100, 100]


def test_what_the_other_side_asks_for_is_waited_for_up_to_a_limit() -> None:
    rule = Retry(attempts=9, on=(), delay_ms=100)

    assert [waits(1, rule, asked) for asked in (50, 3_000, 10**9)] == [100, 3_000, RETRY_AFTER_MAX_MS]
