"""What a restart may settle, and when."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.fold import Operation, fold
from rexecop.operations.recover import harmless, settle_after, unsettled
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect
from tests.operations.lives import lives

HELD = [
    op
    for records in lives()
    for cut in range(1, len(records) + 1)
    if (op := fold(records[:cut])).in_flight or op.unknown
]


@given(st.sampled_from(HELD), st.integers(0, 60_000))
def test_nothing_is_settled_before_permit_and_call_and_margin_ran_out(op: Operation, margin_ms: int) -> None:
    margin = timedelta(milliseconds=margin_ms)
    moment = settle_after(op, margin)
    assert moment is not None
    for sealed, progress in unsettled(op):
        assert isinstance(sealed.record, Attempt) and isinstance(progress.step, CallStep)
        limits = progress.step.limits
        call = timedelta(milliseconds=limits.timeout_ms + limits.grace_ms)
        assert moment >= sealed.record.permit.expires + call + margin


def test_every_attempt_without_a_known_end_is_unsettled_and_no_other() -> None:
    for op in HELD:
        assert {sealed.digest for sealed, _ in unsettled(op)} == set(op.in_flight) | set(op.unknown)


def test_what_is_settled_leaves_nothing_to_wait_for() -> None:
    for records in lives():
        op = fold(records)
        if not op.unknown:
            assert settle_after(op, timedelta(seconds=2)) is None


def test_only_reads_are_harmless() -> None:
    kinds = set()
    for op in HELD:
        for _, progress in unsettled(op):
            assert isinstance(progress.step, CallStep)
            assert harmless(progress) == (progress.step.call.effect is Effect.READ)
            kinds.add(progress.step.call.effect)
    assert kinds == {Effect.READ, Effect.CHANGE}
