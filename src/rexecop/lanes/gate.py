"""The gate: the one checker of permits, and the only way to a lane.

It judges one dispatch in a fixed order: structure, authority, effect against mode,
target and its attestation, isolation, lane, quota. What it refuses never reached a lane
and did not happen. What it lets through carries a clearance that the lane calls as the
last thing before it acts, so that a runner that slept meanwhile does not act on leave it has lost.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Final, Protocol, cast

from rexecop.lanes.errors import ClearanceRefused, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Asks, Chunk, Lane, LaneEvent, LaneResult, Made, UnderPermit
from rexecop.lanes.structure import check_structure
from rexecop.lanes.targets import Attestation, Attesting, Quota, Seen, Unattested, check_attested
from rexecop.proof.call import (
    Call,
    ExchangeRequest,
    Hole,
    Limits,
    ProcessRequest,
    SecretRef,
    Slot,
    check_slot,
    fill,
    route_of,
)
from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import encode, to_json
from rexecop.proof.errors import NotCanonical, TemplateMismatch
from rexecop.proof.message import Scalar
from rexecop.proof.permit import Permit
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import CONFINING, READ_MODES, Effect, Ended, Grade, Isolation, Mode, Phase

PREVIEW_LENGTH_MAX: Final = 2_000  # What a person reads in one line; the whole call is in `data`.

NOT_MEASURED: Final = Measured(
    isolation=Isolation.NOT_APPLICABLE.value, network="not-applicable", protection="not-dispatched"
)


class Clock(Protocol):
    """What the gate needs of time: now, and a clock that never steps and counts suspended time."""

    def now(self) -> datetime:
        """Return the time, UTC."""
        ...

    def boot_ms(self) -> int:
        """Return milliseconds since boot, suspended time included."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """One call about to be made, with everything its leave rests on.

    `attempt` counts from 1 within `step`. `targets` are the targets of the plan.
    `attest` are the classes of attestation of which the target must be one (none: any will
    do), `seen` is how it was seen to be. `isolation` and `grade` were fixed at plan; `grade`
    is None for what is no read.
    `deadline` is when the call may start at the latest, None for no limit beside the permit.
    """

    step: str
    attempt: int
    template: Call
    slots: Mapping[str, Slot]
    values: Mapping[str, Scalar]
    call: Call
    permit: Permit
    limits: Limits
    isolation: Isolation
    grade: Grade | None
    mode: Mode
    phase: Phase
    targets: frozenset[str]
    attest: tuple[str, ...]
    seen: Seen
    deadline: datetime | None


@dataclass(slots=True)
class _Clearance:
    """The last look before acting; `passed` says whether the lane went on from there."""

    dispatch: Dispatch
    clock: Clock
    fence: Callable[[], int]
    expires_boot_ms: int
    passed: bool = False

    def __call__(self) -> None:
        check_leave(self.dispatch, self.clock.now(), self.fence())
        # The wall clock can be set back; the boot clock cannot, so it bounds the permit too.
        if self.clock.boot_ms() >= self.expires_boot_ms:
            raise ClearanceRefused(Failure.PERMIT_EXPIRED, "the permit expired by the boot clock")
        self.passed = True


Leave = Callable[[Call], Awaitable[Dispatch | str]]
"""Answers a lane that asks for a call in the course of another: how it is dispatched, or why it is not."""


async def no_leave(call: Call) -> Dispatch | str:
    """Give leave for nothing beside the call that was dispatched."""
    return f"there is no leave for `{call.action:.80}` here"


class Gate:
    """Checks dispatches and hands them to the lane for their kind of request.

    `lanes` maps routes (`proof.call.route_of`) to lanes. `fence` returns the lease
    generation the runner holds now. All gates of a runner share its `quota`.
    """

    def __init__(
        self, *, lanes: Mapping[str, Lane], clock: Clock, fence: Callable[[], int], quota: Quota
    ) -> None:
        self._lanes = lanes
        self._clock = clock
        self._fence = fence
        self._quota = quota

    async def attest(self, call: Call) -> Seen:
        """Return how the target of `call` is seen to be, or why it is not; None where no placement looks."""
        lane: object = self._lanes.get(route_of(call.request))
        if not isinstance(lane, Attesting):
            return None
        try:
            return await lane.attest(call, self._clock.now())
        except RequestRefused as refused:
            return Unattested(failure=refused.failure, message=refused.message)
        except Exception as error:  # noqa: BLE001 - a broken lane attests nothing
            return Unattested(failure=Failure.INTERNAL, message=f"its lane failed: {type(error).__name__}")

    async def open(self, dispatch: Dispatch, leave: Leave = no_leave) -> AsyncGenerator[LaneEvent]:
        """Make the call of `dispatch` if it may be made; yield chunks, then one `LaneResult`.

        What the lane asks for on the way `leave` answers. Of each call that it gave leave for, one
        `Made` comes before the result, whatever the lane did with it.

        A refusal is a result with `ended=refused`; nothing happened then. Nothing is raised
        for what the dispatch, the lane or the other side did.
        """
        try:
            lane = self._admit(dispatch)
        except RequestRefused as refused:
            yield refusal(refused.failure, refused.message)
            return
        simulated = lane is not None and lane.capabilities.simulated
        if dispatch.mode is Mode.DRY_RUN and not simulated:
            yield preview(dispatch.call)
            return
        if lane is None:
            yield refusal(Failure.LANE_UNAVAILABLE, f"no lane takes `{route_of(dispatch.call.request):.80}`")
            return
        try:
            with self._quota.taking(lane.name, dispatch.call.target):
                async with aclosing(self._run(lane, dispatch, leave)) as events:
                    async for event in events:
                        yield event
        except RequestRefused as refused:
            yield refusal(refused.failure, refused.message)

    def _admit(self, dispatch: Dispatch) -> Lane | None:
        """Return the lane for `dispatch`, or None if there is none."""
        digest = _check_call(dispatch)
        _check_authority(dispatch, digest)
        check_leave(dispatch, self._clock.now(), self._fence())
        _check_effect(dispatch)
        if dispatch.call.target not in dispatch.targets:
            what = f"target `{dispatch.call.target:.80}` is not one of the plan"
            raise RequestRefused(Failure.TARGET_UNKNOWN, what)
        if dispatch.mode is not Mode.DRY_RUN:  # A preview touches nothing, so nothing was looked at.
            check_attested(dispatch.call.target, dispatch.attest, dispatch.seen, self._clock.now())
        route = route_of(dispatch.call.request)
        lane = self._lanes.get(route)
        if lane is None or route not in lane.capabilities.requests:
            return None
        # A preview touches nothing, so it may show a call this machine could not isolate.
        if dispatch.mode is not Mode.DRY_RUN or lane.capabilities.simulated:
            _check_isolation(dispatch, lane)
        return lane

    def _clearance(self, dispatch: Dispatch) -> _Clearance:
        left_ms = int((dispatch.permit.expires - self._clock.now()).total_seconds() * 1000)
        return _Clearance(dispatch, self._clock, self._fence, self._clock.boot_ms() + left_ms)

    async def _answer(
        self, asks: Asks, lane: Lane, leave: Leave, given: dict[Asks, _Clearance]
    ) -> Made | None:
        """Answer the lane; what it has leave for is in `given`. Return how a call ended that is refused here.

        It takes no place of its own in the quota, being part of a call that has one.
        """
        dispatch = await leave(asks.call)
        if isinstance(dispatch, str):
            asks.refuse(dispatch)
            return None
        try:
            if dispatch.call != asks.call or self._admit(dispatch) is not lane:
                raise RequestRefused(Failure.PERMIT_MISMATCH, "the leave is for another call")
        except RequestRefused as refused:
            asks.refuse(refused.message)
            return Made(asks=asks, result=refusal(refused.failure, refused.message))
        given[asks] = self._clearance(dispatch)
        asks.allow(given[asks])
        return None

    async def _run(self, lane: Lane, dispatch: Dispatch, leave: Leave) -> AsyncGenerator[LaneEvent]:
        clearance = self._clearance(dispatch)
        given: dict[Asks, _Clearance] = {}
        async with aclosing(self._events(lane, dispatch, clearance)) as events:
            async for event in events:
                if isinstance(event, Asks):
                    if (ended := await self._answer(event, lane, leave, given)) is not None:
                        yield ended
                    continue
                if isinstance(event, Made) and event.asks in given:
                    inner = given.pop(event.asks)
                    result = judge(event.result, inner.dispatch, simulated=lane.capabilities.simulated)
                    yield replace(event, result=result)
                    continue
                if isinstance(event, Chunk):
                    yield event
                    continue
                for asks, inner in given.items():
                    left = _broken(inner.passed, f"lane `{lane.name}` did not say how it ended")
                    yield Made(asks=asks, result=left)
                without_leave = f"lane `{lane.name}` says it made a call that it had no leave for"
                yield event if isinstance(event, LaneResult) else _broken(True, without_leave)
                return

    async def _events(
        self, lane: Lane, dispatch: Dispatch, clearance: _Clearance
    ) -> AsyncGenerator[LaneEvent]:
        try:
            opened = (cast(UnderPermit, lane).under(dispatch.permit) if _is_shown(type(lane)) else lane).open(
                dispatch.call, dispatch.limits, dispatch.isolation, dispatch.attempt, clearance
            )
            async with aclosing(cast(AsyncGenerator[LaneEvent, None], opened)) as events:
                async for event in events:
                    if isinstance(event, LaneResult):
                        result = judge(event, dispatch, simulated=lane.capabilities.simulated)
                        yield _with_attestation(result, dispatch.seen)
                        return
                    yield event
        except ClearanceRefused as refused:
            yield refusal(refused.failure, refused.message)
            return
        except Exception as error:  # noqa: BLE001 - a broken lane must not take the evidence with it
            yield _broken(clearance.passed, f"lane `{lane.name}` failed: {type(error).__name__}")
            return
        yield _broken(clearance.passed, f"lane `{lane.name}` ended without a result")


@cache
def _is_shown(lane: type[Lane]) -> bool:
    """Whether lanes of this class are shown the permit; to look at a protocol's methods takes its time."""
    return issubclass(lane, UnderPermit)


def check_leave(dispatch: Dispatch, now: datetime, fence: int) -> None:
    """Return only if the permit, the fence and the deadline still allow the call at `now`.

    Raises:
        ClearanceRefused: with `fence_lost`, `permit_expired` or `deadline_passed`.
    """
    if fence != dispatch.permit.fence:
        what = f"the permit is for fence {dispatch.permit.fence}, the lease says {fence}"
        raise ClearanceRefused(Failure.FENCE_LOST, what)
    if now >= dispatch.permit.expires:
        raise ClearanceRefused(Failure.PERMIT_EXPIRED, "the permit expired before the call was made")
    if dispatch.deadline is not None and now >= dispatch.deadline:
        raise ClearanceRefused(Failure.DEADLINE_PASSED, "the time to start this call has passed")


def _check_call(dispatch: Dispatch) -> Digest:
    try:
        encoded = encode(dispatch.call)
    except NotCanonical as error:
        raise RequestRefused(Failure.REQUEST_INVALID, error.message) from error
    check_structure(dispatch.call, len(encoded), dispatch.limits)
    return digest_of(encoded)


def _check_authority(dispatch: Dispatch, digest: Digest) -> None:
    permit = dispatch.permit
    if permit.call != digest:
        what = f"the permit covers call `{permit.call}`, not `{digest}`"
        raise RequestRefused(Failure.PERMIT_MISMATCH, what)
    if (permit.step, permit.attempt) != (dispatch.step, dispatch.attempt) or dispatch.attempt < 1:
        covered = f"attempt {permit.attempt} of `{permit.step:.80}`"
        what = f"the permit covers {covered}, not {dispatch.attempt} of `{dispatch.step:.80}`"
        raise RequestRefused(Failure.PERMIT_MISMATCH, what)
    try:
        for name, value in dispatch.values.items():
            if name not in dispatch.slots:
                raise TemplateMismatch(f"value `{name:.80}` has no slot")
            check_slot(name, dispatch.slots[name], value)
        filled = fill(dispatch.template, dispatch.values)
    except TemplateMismatch as error:
        raise RequestRefused(Failure.TEMPLATE_MISMATCH, error.message) from error
    except re.error as error:
        raise RequestRefused(Failure.TEMPLATE_MISMATCH, f"a slot's pattern is broken: {error}") from error
    if filled != dispatch.call:
        raise RequestRefused(Failure.TEMPLATE_MISMATCH, "the call is not what its template and values yield")


def _check_effect(dispatch: Dispatch) -> None:
    effect, mode = dispatch.call.effect, dispatch.mode
    if effect is Effect.READ:
        return
    # A dry run may show a change, because nothing in it reaches a lane that could make one.
    if mode in READ_MODES and mode is not Mode.DRY_RUN:
        what = f"mode `{mode}` allows reads, and this call is a `{effect}`"
        raise RequestRefused(Failure.EFFECT_REFUSED, what)
    if dispatch.phase is Phase.PROBE:
        raise RequestRefused(Failure.EFFECT_REFUSED, f"a probe looks, and this call is a `{effect}`")


def _check_isolation(dispatch: Dispatch, lane: Lane) -> None:
    able, asked, grade = lane.capabilities, dispatch.isolation, dispatch.grade
    if asked not in able.isolation:
        what = f"lane `{lane.name}` does not reach class `{asked}` here"
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, what)
    contained = grade is not Grade.CONTAINED or able.simulated or asked in CONFINING
    if grade is not None and not (grade in able.grades and contained):
        what = f"class `{asked}` of lane `{lane.name}` does not back grade `{grade}` here"
        raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, what)


def judge(result: LaneResult, dispatch: Dispatch, *, simulated: bool) -> LaneResult:
    """Return `result` as evidence may hold it.

    A scripted `ok` of a dry run is `simulated`. A result from another isolation class or
    read grade than the one asked for is never `ok`: a read failed, a change may have happened.
    """
    if result.ended is not Ended.OK:
        return result
    if simulated:
        return replace(result, ended=Ended.SIMULATED) if dispatch.mode is Mode.DRY_RUN else result
    measured = result.measured
    graded = dispatch.grade is not Grade.CONTAINED or (measured.facts or {}).get("grade") == Grade.CONTAINED
    if measured.isolation == dispatch.isolation.value and graded:
        return result
    return replace(
        result,
        ended=Ended.FAILED if dispatch.call.effect is Effect.READ else Ended.UNKNOWN,
        failure=Failure.ISOLATION_UNAVAILABLE,
        message=f"class `{dispatch.isolation}` and grade `{dispatch.grade}` were not what was measured",
    )


def _with_attestation(result: LaneResult, seen: Seen) -> LaneResult:
    """Return `result` with the attestation its call rested on among the facts."""
    if not isinstance(seen, Attestation):
        return result
    facts = {**(result.measured.facts or {}), "attestation": seen.facts()}
    return replace(result, measured=replace(result.measured, facts=facts))


def refusal(failure: Failure, message: str) -> LaneResult:
    """Return the result of a call that was refused and did not happen."""
    return LaneResult(
        ended=Ended.REFUSED, duration_ms=0, measured=NOT_MEASURED, failure=failure, message=message
    )


def preview(call: Call) -> LaneResult:
    """Return the result of a call that was rendered and not made; secrets stay references."""
    return LaneResult(
        ended=Ended.PREVIEWED,
        duration_ms=0,
        measured=NOT_MEASURED,
        message=render(call)[:PREVIEW_LENGTH_MAX],
        data={"call": to_json(call)},
    )


def render(call: Call) -> str:
    """Return `call` as one line for a person; it is for reading, never for running."""
    if isinstance(call.request, ExchangeRequest):
        to = " ".join(call.request.peers)
        return f"{call.connector}.{call.action} on {call.target} by {call.request.protocol} {to}".rstrip()
    if not isinstance(call.request, ProcessRequest):
        return f"{call.connector}.{call.action} on {call.target}"
    texts = ((text,) if isinstance(text, str) else text for text in call.request.argv)
    return " ".join("".join(map(_render_part, text)) for text in texts)


def _render_part(part: str | Hole | SecretRef) -> str:
    if isinstance(part, str):
        return shlex.quote(part)
    return f"{{{part.slot}}}" if isinstance(part, Hole) else f"{{secret:{part.secret}}}"


def _broken(acted: bool, message: str) -> LaneResult:
    """A lane that broke after its clearance may have acted; before it, it cannot have."""
    if not acted:
        return refusal(Failure.INTERNAL, message)
    return replace(
        refusal(Failure.UNKNOWN_OUTCOME, message),
        ended=Ended.UNKNOWN,
        measured=replace(NOT_MEASURED, protection="lost"),
    )
