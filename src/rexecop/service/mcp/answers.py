"""What a tool answers: how far an operation is, in one of six words, with what it found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from rexecop.app.views import OperationView, OutputView
from rexecop.proof.canonical import Json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Mode, State

FACT_STEPS_MAX: Final = 64  # More is no answer but a table; `rexecop logs` has all of it.
OUTPUT_LETTERS_MAX: Final = 8_000  # A few thousand tokens: what a model can read beside its task.


class Status(StrEnum):
    """How far what was asked for is. `failed`: it ended and is not done; `unknown`: nobody knows whether."""

    COMPLETED = "completed"
    PENDING_APPROVAL = "pending_approval"
    RUNNING = "running"
    DENIED = "denied"
    FAILED = "failed"
    UNKNOWN = "unknown"


NOT_DONE: Final = frozenset({Status.DENIED, Status.FAILED, Status.UNKNOWN})
"""What a call ends with that did not do what it was for."""

_ENDS: Final[Mapping[str, Status]] = {
    State.COMPLETED: Status.COMPLETED,
    State.WAITING_FOR_APPROVAL: Status.PENDING_APPROVAL,
    State.BLOCKED: Status.DENIED,
    State.INDETERMINATE: Status.UNKNOWN,
    State.FAILED: Status.FAILED,
    State.CANCELLED: Status.FAILED,
    State.ESCALATED: Status.FAILED,
    State.UNDONE: Status.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a step put out on a stream; `cut` where there was more."""

    step: str
    stream: str
    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a tool answers; `code` is why it was refused, `needs` whose approval is missing."""

    status: Status
    operation_id: str = ""
    number: int = 0
    state: str = ""
    intent: str = ""
    target: str = ""
    mode: str = ""
    code: str = ""
    reason: str = ""
    facts: Mapping[str, Json] | None = None
    output: tuple[Said, ...] = ()
    needs: tuple[str, ...] = ()
    receipt: str = ""
    note: str = ""
    next: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """Operations, newest first."""

    operations: tuple[Answer, ...]


def status_of(view: OperationView) -> Status:
    """Return how far the operation is."""
    if view.state == State.PAUSED and view.awaiting is not None and view.awaiting.approvals_missing:
        return Status.PENDING_APPROVAL
    return _ENDS.get(view.state, Status.RUNNING)


def answer(
    view: OperationView, outputs: Sequence[OutputView] = (), letters: int = OUTPUT_LETTERS_MAX
) -> Answer:
    """Return what is told of the operation, with its facts, and up to `letters` of `outputs`."""
    status = status_of(view)
    waits = view.awaiting.approvals_missing if view.awaiting is not None else ()
    missing = view.decision.approvals_missing if view.decision is not None else ()
    why = view.reason or (view.decision.reason if view.decision and status is Status.DENIED else None)
    return Answer(
        status=status,
        operation_id=view.operation_id,
        number=view.number,
        state=view.state,
        intent=view.intent,
        target=view.target,
        mode=view.mode,
        reason=view.waiting or why or "",
        facts=_facts(view),
        output=tuple(_said(outputs, letters)),
        needs=(*missing, *waits),
        receipt=view.receipt or "",
        note=_note(view, status),
        next=_next(view, status),
    )


def refused(error: RexecopError) -> Answer:
    """Return what is told where nothing was done because of `error`."""
    return Answer(
        status=Status.FAILED, code=error.code, reason=error.message, next=tuple(map(str, error.next_steps))
    )


def _facts(view: OperationView) -> Mapping[str, Json] | None:
    found: dict[str, Json] = {}
    alone = len({step.target for step in view.steps}) == 1
    for step in view.steps:
        if step.facts and len(found) < FACT_STEPS_MAX:
            found[step.id if alone else f"{step.target}.{step.id}"] = dict(step.facts)
    return found or None


def _said(outputs: Sequence[OutputView], left: int) -> Iterator[Said]:
    for one in outputs:
        text = (one.text or "")[:left]
        left -= len(text)
        if text:
            yield Said(step=one.step, stream=one.stream, text=text, cut=len(text) < len(one.text or ""))


def _note(view: OperationView, status: Status) -> str:
    if view.mode == Mode.DRY_RUN:
        return "a dry run: everything was rendered and nothing was touched"
    if status is Status.UNKNOWN:
        return "it may have happened once; do not ask for it again, a person settles it by looking"
    return ""


def _next(view: OperationView, status: Status) -> tuple[str, ...]:
    wait = f"operation_wait with operation_id {view.operation_id}"
    if status is Status.PENDING_APPROVAL:
        return (f"a person decides: `rexecop show {view.number}`, then `rexecop approve {view.number}`", wait)
    if status is Status.RUNNING:
        return (wait,)
    if status is Status.COMPLETED:
        return ()
    return (f"why with operation_id {view.operation_id}",)
