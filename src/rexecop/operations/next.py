"""What an operation needs next: a pure function from its folded records.

The driver performs what this answers, appends what happened, folds, and asks again.
The same function serves recovery, explanations and simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.jsonrpc import is_reply
from rexecop.operations.fold import Operation, Progress
from rexecop.operations.machine import TERMINAL
from rexecop.proof.call import Call, check_slot, fill, holes
from rexecop.proof.canonical import Json
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.message import Scalar
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, DeriveStep, Expectation, Step
from rexecop.proof.vocabulary import Effect, Ended, Mode, Phase, State

RETRY_AFTER_MAX_MS: Final = 300_000  # A lease is held and people may be waiting; then it is tried anyway.


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """Ask policy again and mint the ticket."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Make:
    """Make call `call` as attempt `number` of `step`; `template` filled with `values` is the call."""

    step: CallStep
    phase: Phase
    number: int
    template: Call
    call: Call
    values: Mapping[str, Scalar]
    after_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Derive:
    """Run the normalizer of `step` over what the steps it needs put out."""

    step: DeriveStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Decline:
    """Record that `step` cannot be tried: nothing was sent. In a dry run it is a preview with a hole."""

    step: Step
    failure: Failure
    message: str
    ended: Ended = Ended.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate:
    """Evaluate every validation rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Write the receipt of the terminal state the operation reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Nothing to do until a person, a policy or a clock says so."""


Next = Mint | Make | Derive | Decline | Validate | Close | Park


def next_effect(op: Operation) -> Next:
    """Return the one thing `op` needs now."""
    if op.receipt_due and op.state in TERMINAL:
        return Close()
    if op.in_flight or op.state in TERMINAL:
        return Park()
    if op.state is State.APPROVED:
        return Mint()
    if op.state in (State.RUNNING, State.RETRYING, State.RESUMING):
        return _next_step(op)
    if op.state is State.VALIDATING:
        return Validate()
    if op.state is State.UNDOING:
        return _next_undo(op)
    return Park()


def _next_step(op: Operation) -> Next:
    for progress in op.steps.values():
        if progress.settled:
            continue
        step = progress.step
        if isinstance(step, DeriveStep):
            return Derive(step=step)
        broken = _broken(op, step.precondition)
        if broken is not None:
            return Decline(step=step, failure=Failure.VALIDATION_FAILED, message=f"precondition: {broken}")
        if is_reply(step.call.request) and op.the_intent.mode is not Mode.DRY_RUN:
            return Decline(
                step=step, failure=Failure.UNSUPPORTED, message="the other side did not ask for it"
            )
        return _make(op, step, step.call, progress)
    return Park()


def awaited_call(op: Operation) -> Make | None:
    """Return the exact call that needs approvals of its own before anything else is done, if one does."""
    found = _next_step(op) if op.awaited is not None else None
    return found if isinstance(found, Make) else None


def asked_call(op: Operation, call: Call) -> Make | None:
    """Return the planned call that `call` is, where it waits to be made for the first time; else None.

    One with a precondition is made in its turn only, for it rests on what was read just before it.
    """
    for progress in op.steps.values():
        step, begun = progress.step, progress.attempts or progress.settled
        if isinstance(step, CallStep) and step.target == call.target and not begun and not step.precondition:
            found = _make(op, step, step.call, progress)
            if isinstance(found, Make) and found.call == call:
                return found
    return None


def _next_undo(op: Operation) -> Next:
    for step in op.to_undo():
        if step.undo is not None:
            return _make(op, step, step.undo, op.progress_of(step, Phase.UNDO))
    return Park()


def _make(op: Operation, step: CallStep, template: Call, progress: Progress) -> Make | Decline:
    try:
        values = slot_values(op, step, template)
        call = fill(template, values)
    except TemplateMismatch as error:
        dry = op.the_intent.mode is Mode.DRY_RUN
        return Decline(
            step=step,
            failure=Failure.TEMPLATE_MISMATCH,
            message=error.message,
            ended=Ended.PREVIEWED if dry else Ended.REFUSED,
        )
    return Make(
        step=step,
        phase=progress.phase,
        number=progress.attempts + 1,
        template=template,
        call=call,
        values=values,
        after_ms=_wait_ms(step, progress),
    )


def _wait_ms(step: CallStep, progress: Progress) -> int:
    """Return how long to wait before the next try: as planned, or longer if the other side asked for it."""
    rule = step.retry
    if rule is None or not progress.attempts:
        return 0
    delay_ms = rule.delay_ms
    if rule.delay_max_ms is not None:
        delay_ms = min(delay_ms << (progress.attempts - 1), max(rule.delay_max_ms, delay_ms))
    record = progress.outcome.record if progress.outcome is not None else None
    measured = record.measured if isinstance(record, Outcome) else None
    asked = measured.facts.get("retry_after_ms") if measured is not None and measured.facts else None
    return max(delay_ms, min(asked, RETRY_AFTER_MAX_MS) if isinstance(asked, int) else 0)


def probe_of(op: Operation, progress: Progress) -> Make | None:
    """Return the call that finds out whether the open or unknown attempt of a step happened."""
    step = progress.step
    if not isinstance(step, CallStep) or step.probe is None:
        return None
    return look(op, step, step.probe.call)


def look(op: Operation, step: CallStep, template: Call) -> Make:
    """Return the call that looks with `template` at what `step` does or reads.

    Raises:
        TemplateMismatch: a fact that it needs is missing or outside its slot.
    """
    values = slot_values(op, step, template)
    tries = sum(1 for item in op.probes.values() if item.step is step)
    return Make(
        step=step,
        phase=Phase.PROBE,
        number=tries + 1,
        template=template,
        call=fill(template, values),
        values=values,
    )


def slot_values(op: Operation, step: CallStep, template: Call) -> dict[str, Scalar]:
    """Return the value of every slot of `step` that `template` has a hole for, checked against its domain.

    Raises:
        TemplateMismatch: a fact is missing or outside its slot.
    """
    values: dict[str, Scalar] = {}
    wanted = holes(template)
    for name, slot in (step.slots or {}).items():
        if name not in wanted:
            continue
        found = fact_at(op, slot.step, slot.fact)
        if not isinstance(found, str | int):
            raise TemplateMismatch(
                f"slot `{name}`: step `{slot.step}` yielded no fact `{slot.fact}`", slot=name
            )
        check_slot(name, slot, found)
        values[name] = found
    return values


def fact_at(op: Operation, step: str, path: str) -> Json:
    """Return the fact at dotted `path` of `step`, or None."""
    for progress in op.steps.values():
        if progress.step.id == step and progress.outcome is not None:
            record = progress.outcome.record
            return fact_in(record.facts, path) if isinstance(record, Outcome) else None
    return None


def fact_in(facts: Mapping[str, Json] | None, path: str) -> Json:
    """Return the fact at dotted `path`, or None."""
    found: Json = facts
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _broken(op: Operation, expected: Expectation | None) -> str | None:
    if expected is None:
        return None
    found = fact_at(op, expected.step, expected.fact)
    if found == expected.equals:
        return None
    return f"`{expected.step}.{expected.fact}` is `{found}`, not `{expected.equals}`"


def needs_exclusive(step: CallStep) -> bool:
    """Return whether the step changes its target and so needs it alone."""
    return step.call.effect is not Effect.READ
