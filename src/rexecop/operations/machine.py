"""The lifecycle as one table. A pair that is not in it is an error naming both states.

Nothing here remembers anything: the fold asks the table whether what a record says
may follow what the records before it said.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from rexecop.operations.errors import IllegalMove
from rexecop.proof.vocabulary import State


class Event(StrEnum):
    """What can happen to an operation."""

    PLANNED = "planned"
    ALLOWED = "allowed"
    APPROVAL_REQUIRED = "approval_required"
    DENIED = "denied"
    APPROVED = "approved"
    WITHDRAWN = "withdrawn"
    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    RETRIED = "retried"
    CONTINUED = "continued"
    STEPS_DONE = "steps_done"
    STEP_FAILED = "step_failed"
    LOST = "lost"
    RECONCILED = "reconciled"
    UNDO_RECONCILED = "undo_reconciled"
    VALIDATED = "validated"
    INVALID = "invalid"
    CANCELLED = "cancelled"
    ESCALATED = "escalated"
    UNDO_ASKED = "undo_asked"
    UNDO_CONTINUED = "undo_continued"
    UNDONE = "undone"
    UNDO_FAILED = "undo_failed"
    WAVE_UNDONE = "wave_undone"


S, E = State, Event

# Policy asks for more than what the work began under: what is left waits for a ticket of its own.
_ASKED_ANEW: Final = {E.ALLOWED: S.APPROVED, E.APPROVAL_REQUIRED: S.WAITING_FOR_APPROVAL}

TRANSITIONS: Final[Mapping[State, Mapping[Event, State]]] = {
    S.CREATED: {E.PLANNED: S.PLANNED, E.DENIED: S.BLOCKED},
    S.PLANNED: {
        E.ALLOWED: S.APPROVED,
        E.APPROVAL_REQUIRED: S.WAITING_FOR_APPROVAL,
        E.DENIED: S.BLOCKED,
        E.CANCELLED: S.CANCELLED,
    },
    S.WAITING_FOR_APPROVAL: {
        E.APPROVED: S.APPROVED,
        E.DENIED: S.BLOCKED,
        E.CANCELLED: S.CANCELLED,
        # Policy is asked again when a ticket is minted; it may have become wider or stricter.
        E.ALLOWED: S.APPROVED,
        E.APPROVAL_REQUIRED: S.WAITING_FOR_APPROVAL,
        E.WITHDRAWN: S.WAITING_FOR_APPROVAL,
    },
    S.APPROVED: {
        E.STARTED: S.RUNNING,
        E.UNDO_CONTINUED: S.UNDOING,
        E.ALLOWED: S.APPROVED,
        E.APPROVAL_REQUIRED: S.WAITING_FOR_APPROVAL,
        E.WITHDRAWN: S.WAITING_FOR_APPROVAL,
        E.DENIED: S.BLOCKED,
        E.CANCELLED: S.CANCELLED,
    },
    S.RUNNING: {
        **_ASKED_ANEW,
        E.UNDO_ASKED: S.UNDOING,
        E.PAUSED: S.PAUSED,
        E.RETRIED: S.RETRYING,
        E.STEPS_DONE: S.VALIDATING,
        E.STEP_FAILED: S.FAILED,
        E.LOST: S.INDETERMINATE,
        E.CANCELLED: S.CANCELLED,
    },
    S.RETRYING: {
        **_ASKED_ANEW,
        E.UNDO_ASKED: S.UNDOING,
        E.CONTINUED: S.RUNNING,
        E.PAUSED: S.PAUSED,
        E.STEP_FAILED: S.FAILED,
        E.CANCELLED: S.CANCELLED,
    },
    S.PAUSED: {E.RESUMED: S.RESUMING, E.CANCELLED: S.CANCELLED},
    S.RESUMING: {
        **_ASKED_ANEW,
        E.UNDO_ASKED: S.UNDOING,
        E.CONTINUED: S.RUNNING,
        E.PAUSED: S.PAUSED,
        E.STEPS_DONE: S.VALIDATING,
        E.STEP_FAILED: S.FAILED,
        E.CANCELLED: S.CANCELLED,
    },
    # An effect may have happened. It is settled by looking, never by retrying.
    S.INDETERMINATE: {
        E.RECONCILED: S.PAUSED,
        E.UNDO_RECONCILED: S.UNDOING,
        E.ESCALATED: S.ESCALATED,
    },
    S.VALIDATING: {E.VALIDATED: S.COMPLETED, E.INVALID: S.FAILED, E.CANCELLED: S.CANCELLED},
    S.FAILED: {E.RETRIED: S.RETRYING, E.ESCALATED: S.ESCALATED, E.UNDO_ASKED: S.UNDOING},
    S.COMPLETED: {E.UNDO_ASKED: S.UNDOING},
    S.CANCELLED: {E.UNDO_ASKED: S.UNDOING},
    # Only a no that a person gave can be taken back; what policy blocks stays so.
    S.BLOCKED: {
        E.ESCALATED: S.ESCALATED,
        E.WITHDRAWN: S.WAITING_FOR_APPROVAL,
        E.UNDO_ASKED: S.UNDOING,
    },
    S.UNDOING: {
        **_ASKED_ANEW,
        E.UNDONE: S.UNDONE,
        E.UNDO_FAILED: S.FAILED,
        # Part of the work stands: what the plan undoes when a wave stops is no more than that wave.
        E.WAVE_UNDONE: S.FAILED,
        E.LOST: S.INDETERMINATE,
    },
    S.ESCALATED: {},
    S.UNDONE: {},
}

TERMINAL: Final = frozenset(
    {S.COMPLETED, S.FAILED, S.CANCELLED, S.BLOCKED, S.ESCALATED, S.UNDONE}
)  # Every arrival here is closed by one receipt.

DRIVABLE: Final = frozenset({S.APPROVED, S.RUNNING, S.RETRYING, S.RESUMING, S.VALIDATING, S.UNDOING})


def move(state: State, event: Event) -> State:
    """Return the state after `event`.

    Raises:
        IllegalMove: the table has no such move.
    """
    target = TRANSITIONS[state].get(event)
    if target is None:
        raise refusal(state, _goal(event))
    return target


def refusal(state: State, wanted: State) -> IllegalMove:
    """Return the error that names both states, and the others that can be reached."""
    return IllegalMove(state=state, event=wanted, allowed=sorted({*TRANSITIONS[state].values()} - {wanted}))


def allows(state: State, event: Event) -> bool:
    """Return whether the table has a move from `state` on `event`."""
    return event in TRANSITIONS[state]


def _goal(event: Event) -> State:
    return next(moves[event] for moves in TRANSITIONS.values() if event in moves)
