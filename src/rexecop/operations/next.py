"""What an operation needs next: a pure function from its folded records.

The driver performs what this answers, appends what happened, folds, and asks again.
The same function serves recovery, explanations and simulation.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.jsonrpc import is_reply
from rexecop.operations.course import Key, Progress
from rexecop.operations.fold import Operation
from rexecop.operations.machine import TERMINAL
from rexecop.proof.call import Call, check_slot, fill, holes
from rexecop.proof.canonical import Json
from rexecop.proof.course import fact_in, holds
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.message import Scalar
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, DeriveStep, Expectation, Step
from rexecop.proof.vocabulary import Ended, Mode, Phase, State

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
class UndoWave:
    """Begin to undo what the wave that failed did, as the plan says."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Validate:
    """Evaluate every validation rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """Write the receipt of the terminal state the operation reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Nothing to do until a person, a policy or a clock says so."""


Next = Mint | Make | Derive | Decline | UndoWave | Validate | Close | Park
RUNNING: Final = frozenset({State.RUNNING, State.RETRYING, State.RESUMING})


def next_effect(op: Operation) -> Next:
    """Return the first thing `op` needs while nothing is under way."""
    return next(iter(next_effects(op)), Park())


def next_effects(op: Operation, under_way: Collection[Key] = (), room: int | None = None) -> tuple[Next, ...]:
    """Return what may be done now beside the steps `under_way`, in order; nothing means wait, or park.

    Calls may be made side by side, and no more than `room` are returned where that is given. Anything
    else is done by itself, and then this is asked again.
    An attempt in flight that is not `under_way` is somebody else's, and nothing is done beside it.
    """
    if {progress.key for progress in op.in_flight.values()}.difference(under_way):
        return (Close(),) if op.receipt_due and op.state in TERMINAL else ()
    if op.state in RUNNING:
        return _next_steps(op, under_way, room)
    return () if under_way else _alone(op)


def acts(op: Operation) -> bool:
    """Return whether `op` goes on to do something: not where it waits, or only has to be judged or closed."""
    return any(not isinstance(one, Validate | Close | Park) for one in next_effects(op))


def _alone(op: Operation) -> tuple[Next, ...]:
    """Return the one thing that is done with nothing beside it."""
    if op.receipt_due and op.state in TERMINAL:
        return (Close(),)
    if op.state is State.APPROVED:
        return (Mint(),)
    if op.state is State.VALIDATING:
        return (Validate(),)
    if op.state is State.UNDOING:
        return _next_undo(op)
    return ()


def _next_steps(op: Operation, under_way: Collection[Key], room: int | None) -> tuple[Next, ...]:
    if op.course.over:
        wave = None if under_way else op.wave_to_undo
        return () if wave is None else (UndoWave(reason=f"wave {wave + 1} stopped: {op.course.verdict}"),)
    if op.pause_asked or op.cancel_asked:
        return ()
    found: list[Next] = []
    asking: list[Make] = []
    for progress in op.course.ready(under_way, op.terms_in_force.obligations.wave_max):
        effect = _next_of(op, progress)
        if isinstance(effect, Make) and op.asks(effect.step):
            asking.append(effect)
        else:
            found.append(effect)
            if len(found) == room:
                break
    # What people have to approve stops the work, so all that can be done without them comes first.
    return tuple(found or (() if under_way else asking[:1]))


def _next_of(op: Operation, progress: Progress) -> Next:
    step = progress.step
    left_out = next((name for name in step.needs if _skipped(op, name)), None)
    if left_out is not None and not (isinstance(step, CallStep) and step.goes_on):
        return _skip(step, f"step `{left_out}`, which it needs, was left out")
    if isinstance(step, DeriveStep):
        return Derive(step=step)
    guarded = _guarded(op, step)
    if guarded is not None:
        return guarded
    broken = _broken(op, step.precondition)
    if broken is not None:
        return Decline(step=step, failure=Failure.VALIDATION_FAILED, message=f"precondition: {broken}")
    if is_reply(step.call.request) and op.the_intent.mode is not Mode.DRY_RUN:
        return Decline(step=step, failure=Failure.UNSUPPORTED, message="the other side did not ask for it")
    return _make(op, step, step.call, progress)


def _skip(step: Step, message: str) -> Decline:
    return Decline(step=step, failure=Failure.UNSUPPORTED, message=message, ended=Ended.SKIPPED)


def _skipped(op: Operation, step: str) -> bool:
    progress = op.course.named.get(step)
    return progress is not None and progress.ended is Ended.SKIPPED


def _guarded(op: Operation, step: CallStep) -> Decline | None:
    """Return what becomes of a step that is not to be done, or that nobody can tell of."""
    for guard in step.when:
        found, where = fact_at(op, guard.step, guard.fact), f"`{guard.step}.{guard.fact}`"
        held = holds(guard, found)
        if held is False:
            return _skip(step, f"not to be done while {where} is `{found}`")
        if held is None and _skipped(op, guard.step):
            return _skip(step, f"step `{guard.step}`, which decides it, was left out")
        # In a dry run what decides was only shown as well, and the call is shown.
        if held is None and op.the_intent.mode is not Mode.DRY_RUN:
            message = f"{where}, which decides whether it is done, is not known"
            return Decline(step=step, failure=Failure.VALIDATION_FAILED, message=message)
    return None


def is_wanted(op: Operation, make: Make) -> bool:
    """Return whether `make` is still what `op` needs: much may be recorded while a call is prepared."""
    if make.phase is Phase.PROBE:
        return True
    if make.phase is Phase.UNDO:
        return op.state is State.UNDOING
    progress = op.progress_of(make.step, make.phase)
    free = not (op.course.over or op.pause_asked or op.cancel_asked or progress.in_flight)
    current = progress.attempts + 1 == make.number and op.course.is_open(progress)
    return op.state in RUNNING and free and current


def awaited_call(op: Operation) -> Make | None:
    """Return the exact call that needs approvals of its own before anything else is done, if one does."""
    step = op.awaited
    found = _next_of(op, op.progress_of(step, Phase.DO)) if step is not None else None
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


def _next_undo(op: Operation) -> tuple[Next, ...]:
    for step in reversed(op.to_undo()):
        if step.undo is not None:
            return (_make(op, step, step.undo, op.progress_of(step, Phase.UNDO)),)
    return ()


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
    tries = len(op.looks.get((step.target, step.id), ()))
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
    progress = op.course.named.get(step)
    record = progress.outcome.record if progress is not None and progress.outcome is not None else None
    return fact_in(record.facts, path) if isinstance(record, Outcome) else None


def _broken(op: Operation, expected: Expectation | None) -> str | None:
    if expected is None:
        return None
    found = fact_at(op, expected.step, expected.fact)
    if found == expected.equals:
        return None
    return f"`{expected.step}.{expected.fact}` is `{found}`, not `{expected.equals}`"
