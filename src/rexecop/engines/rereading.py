"""Reading again, just before a change, what it rests on: the facts its plan pinned, and its precondition.

Both go the way of every read: with a permit, an attempt and an outcome. What drifted, or
cannot be read any more, stops the change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecop.engines.caller import Caller
from rexecop.engines.closing import facts_of, pinned_facts
from rexecop.engines.session import Session
from rexecop.operations.fold import Operation
from rexecop.operations.next import Make, look
from rexecop.operations.profile_model import Profile
from rexecop.operations.step_output import StepOutput
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.course import fact_in
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, DeriveStep, Pinned, Step
from rexecop.proof.vocabulary import GOOD_ENDS, Effect, Mode, Phase

FRESH: Final = timedelta(
    seconds=5
)  # What the operation itself read so short a while ago is read just before.
DIFFERENCES_MAX: Final = 32  # Enough to see what happened; the two observations have the whole.
VALUE_LENGTH_MAX: Final = 80  # So that a line still reads as one.

Observe = Callable[[Operation], Awaitable[tuple[Operation, Operation]]]
"""Makes the observation that an operation rests on once more: the one it pinned, and the new one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Why a change must not be made: `message` for people, `facts` each with what it was and is."""

    message: str
    facts: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a change rests on still stands; `observed` are its pinned facts as they were just read."""

    observed: Pinned | None = None


async def still_standing(
    caller: Caller,
    session: Session,
    make: Make,
    *,
    observe: Observe | None,
    profile: Callable[[], Profile],
    outputs: dict[str, StepOutput],
    output: Callable[[str], StepOutput],
) -> Standing | Drift | None:
    """Return whether what the change `make` rests on still stands, or how it drifted; None when overtaken.

    `outputs` takes what was read again, and `output` has what any step put out. Once a change
    of the operation took effect, the pinned facts are its own to change.
    """
    observed: Pinned | None = None
    if make.phase is not Phase.DO or session.op.the_intent.mode is Mode.DRY_RUN:
        return Standing()
    if session.op.the_plan.pinned is not None and _unchanged(session.op):
        again = await _pinned_again(session, observe, profile())
        # What a change beside this one did meanwhile is no drift.
        if not isinstance(again, Pinned) and (again is None or _unchanged(session.op)):
            return again
        observed = again if isinstance(again, Pinned) else None
    async with session.looking:  # Who comes next finds what was just read.
        held = await _precondition_again(caller, session, make, outputs, output)
    return Standing(observed=observed) if held is True else held or None


def _unchanged(op: Operation) -> bool:
    return not op.changing or not any(
        (item.good or item.in_flight)
        and isinstance(item.step, CallStep)
        and item.step.call.effect is not Effect.READ
        for item in op.steps.values()
    )


async def _pinned_again(session: Session, observe: Observe | None, profile: Profile) -> Pinned | Drift | None:
    """Return the pinned facts as they were observed once more, or how they drifted; None when overtaken."""
    if observe is None:
        return Drift(message="the facts it rests on cannot be read again here")
    # The ticket must be durable first.
    if not await session.flush_or_reload():
        return None
    before, after = await observe(session.op)
    again = pinned_facts(after)
    if again is None:
        words = f"operation `{after.id}` is `{after.state}`"
        return Drift(message=f"the facts it rests on could not be read again: {words}")
    pinned = session.op.the_plan.pinned
    if pinned is not None and again.facts == pinned.facts:
        return again
    found = differences(facts_of(before, profile), facts_of(after, profile))
    return Drift(
        message="changed since the plan: " + ("; ".join(found) or "facts that are no longer kept"),
        facts={"drift": list(found), "observed_by": after.id},
    )


def differences(before: Json, after: Json, path: str = "") -> tuple[str, ...]:
    """Return every fact that is not the same, as a line like ``web.version is "2", was "1"``."""
    return tuple(
        line for line, _ in zip(_differences(before, after, path), range(DIFFERENCES_MAX), strict=False)
    )


def _differences(before: Json, after: Json, path: str) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted(before.keys() | after.keys()):
            inner = f"{path}.{name}" if path else name
            yield from _differences(before.get(name), after.get(name), inner)
    elif before != after:
        yield f"`{path}` is {_shown(after)}, was {_shown(before)}"


def _shown(value: Json) -> str:
    text = "nothing" if value is None else canonical_bytes(value).decode()
    return text if len(text) <= VALUE_LENGTH_MAX else f"{text[:VALUE_LENGTH_MAX]}…"


async def _precondition_again(
    caller: Caller,
    session: Session,
    make: Make,
    outputs: dict[str, StepOutput],
    output: Callable[[str], StepOutput],
) -> Drift | bool:
    """Return whether the precondition of the change still holds, or how it drifted; False when overtaken.

    `outputs` takes what was read again, `output` has what any step put out.
    """
    expected = make.step.precondition
    if expected is None:
        return True
    source = session.op.course.named[expected.step].step
    for step in _reads(session.op, source):
        newest = _newest(session.op, step, outputs)
        if newest is not None and session.judged_now() - newest.at <= FRESH:
            continue
        try:
            again = await caller.call(look(session.op, step, step.call), ())
        except RexecopError as error:
            return Drift(message=f"precondition: step `{step.id}` cannot be read again: {error.message}")
        if again is None:
            return False
        if again.ended not in GOOD_ENDS:
            return Drift(message=f"precondition: step `{step.id}` could not be read again")
        outputs[step.id] = again
    if isinstance(source, DeriveStep):
        facts = caller.normalize(
            source.normalizer, {name: output(name) for name in source.needs}, source.target
        )
    else:
        facts = (said.facts if (said := _newest(session.op, source, outputs)) else None) or {}
    found = fact_in(facts, expected.fact)
    if found == expected.equals:
        return True
    words = f"`{expected.step}.{expected.fact}` is {_shown(found)}, not {_shown(expected.equals)} any more"
    return Drift(message=f"precondition: {words}", facts={"drift": [words]})


def _reads(op: Operation, source: Step) -> Iterator[CallStep]:
    """Yield the calls that read what `source` says; what a change put out is not read again."""
    if isinstance(source, CallStep):
        if source.call.effect is Effect.READ and source.probe is None:
            yield source
        return
    for name in source.needs:
        yield from _reads(op, op.course.named[name].step)


def _newest(op: Operation, step: Step, outputs: Mapping[str, StepOutput]) -> Outcome | None:
    """Return the newest outcome of reading `step`; a later look counts where its output is at hand."""
    probes = op.looks.get((step.target, step.id), ()) if step.id in outputs else ()
    looks = [item.outcome for item in probes]
    own = op.progress_of(step, Phase.DO).outcome
    record = next((sealed.record for sealed in (*reversed(looks), own) if sealed is not None), None)
    return record if isinstance(record, Outcome) else None
