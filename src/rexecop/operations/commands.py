"""What a person's command, or one of the engine's, does to an operation: its part of the fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from rexecop.operations.errors import NothingToReview, NothingToUndo
from rexecop.operations.machine import TERMINAL, Event, allows, refusal
from rexecop.proof.records.command import Verb
from rexecop.proof.vocabulary import State

if TYPE_CHECKING:
    from rexecop.operations.fold import Operation


def _pause(op: Operation, reason: str) -> None:
    if op.in_flight and allows(op.state, Event.PAUSED):
        op.pause_asked = True
    else:
        op.go(Event.PAUSED, reason)


def _cancel(op: Operation, reason: str) -> None:
    if op.in_flight and allows(op.state, Event.CANCELLED):
        op.cancel_asked = True
    else:
        op.go(Event.CANCELLED, reason)


def _resume(op: Operation, reason: str) -> None:
    op.go(Event.RESUMED, reason)
    op.pause_asked = False
    op.at_boundary()


def _retry(op: Operation, reason: str) -> None:
    if not op.may_retry:
        # Going on would redo what was undone; a person's word in mid-run would forget what failed.
        raise refusal(op.state, State.RETRYING)
    op.go(Event.RETRIED, reason)
    op.receipt_due = op.pause_asked = op.cancel_asked = False
    for progress in op.steps.values():
        if not progress.settled:
            progress.ended = progress.failure = None
    op.course.reopen(op.steps)


def _escalate(op: Operation, reason: str) -> None:
    op.go(Event.ESCALATED, reason)


def _undo(op: Operation, reason: str) -> None:
    op.undo_wave = None
    if op.state not in TERMINAL:
        # Work that is not over is not undone, but for the wave that its plan says is.
        if op.in_flight or op.wave_to_undo is None:
            raise refusal(op.state, State.UNDOING)
        op.undo_wave, op.undo_left = op.wave_to_undo, None
    if not allows(op.state, Event.UNDO_ASKED):
        raise refusal(op.state, State.UNDOING)
    if not op.to_undo():
        raise NothingToUndo(f"operation `{op.id}` has no step that took effect and can be undone")
    op.go(Event.UNDO_ASKED, reason)
    op.receipt_due = op.pause_asked = op.cancel_asked = op.undoing = False


def _break_glass(op: Operation, reason: str) -> None:
    if op.state is not State.PLANNED or not op.the_intent.break_glass or not reason:
        raise refusal(op.state, State.PLANNED)


def _review(op: Operation, reason: str) -> None:
    if op.review_by is None:
        raise NothingToReview(f"no review of operation `{op.id}` is due")
    op.review_by = None


COMMANDS: Final[Mapping[Verb, Callable[[Operation, str], None]]] = {
    Verb.PAUSE: _pause,
    Verb.RESUME: _resume,
    Verb.CANCEL: _cancel,
    Verb.RETRY: _retry,
    Verb.ESCALATE: _escalate,
    Verb.UNDO: _undo,
    Verb.BREAK_GLASS: _break_glass,
    Verb.REVIEW: _review,
}
