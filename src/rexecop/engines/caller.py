"""One call, from permit to outcome: the attempt is durable before the lane is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from rexecop.engines.results import keep_output, output_of, redacted
from rexecop.engines.session import Session
from rexecop.engines.streaming import Streaming
from rexecop.governance.errors import GovernanceError, Halted, PermitOutsideScope
from rexecop.governance.obligations import REDACTIONS
from rexecop.governance.permits import mint as mint_permit
from rexecop.lanes.failures import Failure
from rexecop.lanes.gate import Dispatch, Gate
from rexecop.lanes.port import Chunk, Lane, LaneResult, Made
from rexecop.lanes.targets import Attestation, Quota, Seen
from rexecop.operations.next import Make, asked_call
from rexecop.operations.ports import Ids, TargetHead
from rexecop.operations.profile_model import Profile
from rexecop.operations.redaction import RedactionRule
from rexecop.operations.step_output import StepOutput
from rexecop.proof.call import Call, Limits, call_digest, is_attended, route_of
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.course import fact_in
from rexecop.proof.permit import Permit
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.instance import Halt, Note
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Pinned
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.vocabulary import Effect, Ended, Mode, Phase

LEAVE_REFUSED: Final = "leave-refused"  # The topic of the note that says what a lane was refused in mid-call.

Normalize = Callable[[str, Mapping[str, StepOutput], str], Mapping[str, Json]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Makes the calls of one operation and records what came of them."""

    session: Session
    lanes: Mapping[str, Lane]
    ids: Ids
    permit_seconds: int
    fence: Callable[[], int]
    normalize: Normalize
    halted: Callable[[], Halt | None]
    quota: Quota
    profile: Callable[[], Profile]
    leave: Callable[[Make], Awaitable[tuple[Digest, ...]]]
    outputs: dict[str, StepOutput]
    wanted: Callable[[Make], bool]

    async def call(
        self, make: Make, packs: tuple[Digest, ...], observed: Pinned | None = None
    ) -> StepOutput | None:
        """Make the call once and hold its outcome; None when it was declined or overtaken.

        `packs` allowed a change again, and `observed` is what it rests on as read again.
        """
        session = self.session
        # To look at a target has no effect there; a permit would run out meanwhile.
        seen = await self._look(make)
        if not self.wanted(make):
            return None
        try:
            attempt, permit = self._attempt(make, packs, observed, seen)
        except GovernanceError as error:
            if make.phase is Phase.PROBE or isinstance(error, Halted):
                raise  # A halt is nothing against the step; a look that is not allowed says nothing about it.
            self.decline(make.step.id, Failure.POLICY_DENIED, error.message)
            return None
        if not await session.flush_or_reload():
            return None
        streaming = self._streaming(make, attempt)
        result = await self._dispatch(make, attempt, permit, seen, streaming)
        return self._outcome(make, attempt, result, streaming)

    def _gate(self) -> Gate:
        return Gate(lanes=self.lanes, clock=self.session.clock, fence=self.fence, quota=self.quota)

    async def _look(self, make: Make) -> Seen:
        """Return how the target is attested, where the step asks for that and anything will be sent there."""
        if not make.step.attest or self.session.op.the_intent.mode is Mode.DRY_RUN:
            return None
        return await self._gate().attest(make.call)

    async def wait(self, milliseconds: int) -> bool:
        """Let the time before another try pass, what was observed being durable; False when overtaken.

        Up to a quarter is added by chance, so that many that failed together do not come back together.
        """
        if not await self.session.flush_or_reload():
            return False
        await asyncio.sleep(milliseconds * (1 + self.ids.key()[0] / 1024) / 1000)
        return True

    def decline(
        self,
        step: str,
        failure: Failure,
        message: str,
        ended: Ended = Ended.REFUSED,
        facts: Mapping[str, Json] | None = None,
    ) -> None:
        """Record that a step was not tried: nothing was sent."""
        self.session.add(
            Outcome,
            step=step,
            attempt=None,
            ended=ended,
            duration_ms=0,
            error_class=str(failure) if ended is Ended.REFUSED else None,
            message=message,
            facts=facts,
        )

    def _permit(self, make: Make, now: datetime) -> Permit:
        op = self.session.op
        return mint_permit(
            ticket=op.sealed_ticket,
            plan=op.sealed_plan,
            phase=make.phase,
            step=make.step.id,
            call=make.call,
            values=make.values,
            mode=op.the_intent.mode,
            attempt=make.number,
            fence=self.session.fence,
            now=now,
            permit_seconds=self.permit_seconds,
            halted=self.halted(),
            place=op.steps[make.step.target, make.step.id].place,
        )

    def _attempt(
        self,
        make: Make,
        packs: tuple[Digest, ...],
        observed: Pinned | None,
        seen: Seen,
        within: Digest | None = None,
    ) -> tuple[Digest, Permit]:
        session, changes = self.session, make.call.effect is not Effect.READ
        permit = self._permit(make, now := session.judged_now())
        numbered = changes and session.op.the_intent.mode is not Mode.DRY_RUN
        n, before = session.number_change(make.step.target) if numbered else (1, None)
        lane = self.lanes.get(route_of(make.call.request))
        attempt = session.add(
            Attempt,
            at=now,
            phase=make.phase,
            target=make.step.target,
            template=call_digest(make.template),
            permit=permit,
            lane=lane.name if lane is not None else "none",
            placement=lane.capabilities.placement if lane is not None else "none",
            isolation=make.step.isolation,
            grade=None if changes else make.step.grade,
            values=make.values or None,
            attestation=seen.class_ if isinstance(seen, Attestation) else None,
            target_n=n if numbered else None,
            target_prev=before,
            packs=packs,
            observed=observed,
            within=within,
        ).digest
        if numbered:
            session.head_at(TargetHead(target=make.step.target, n=n, attempt=attempt))
        return attempt, permit

    def _streaming(self, make: Make, attempt: Digest) -> Streaming | None:
        lane = self.lanes.get(route_of(make.call.request))
        if self._rules():
            return None  # What is committed to while it comes could not be changed any more.
        if lane is None or not (lane.capabilities.streams or is_attended(make.call)):
            return None
        return Streaming(session=self.session, ids=self.ids, attempt=attempt)

    async def _dispatch(
        self, make: Make, attempt: Digest, permit: Permit, seen: Seen, streaming: Streaming | None
    ) -> LaneResult:
        asked: list[tuple[Make, Digest]] = []

        async def leave(call: Call) -> Dispatch | str:
            return await self._leave_for(make, attempt, call, seen, asked)

        async with aclosing(self._gate().open(self._dispatched(make, permit, seen), leave)) as events:
            async for event in events:
                if isinstance(event, LaneResult):
                    return event
                if isinstance(event, Made):
                    self._made(event, asked)
                elif streaming is not None and isinstance(event, Chunk):
                    await streaming.take(event)
        raise LookupError("the gate ends every call with one result")

    async def _leave_for(
        self, outer: Make, within: Digest, call: Call, seen: Seen, asked: list[tuple[Make, Digest]]
    ) -> Dispatch | str:
        """Return how `call`, which a lane asks for in the course of `outer`, is dispatched, or why it is not.

        There is leave for a call of the plan that was not tried yet, as an attempt of its own that
        is durable first. A refusal is a note.
        """
        make = asked_call(self.session.op, call) if outer.phase is Phase.DO else None
        try:
            if make is None:
                raise PermitOutsideScope("the plan has no such call that is still to be made")
            packs = await self.leave(make)
            if not self.wanted(make):
                raise PermitOutsideScope("the call is not to be made any more")
            attempt, permit = self._attempt(make, packs, None, seen, within)
            if await self.session.flush_or_reload():
                asked.append((make, attempt))
                return self._dispatched(make, permit, seen)
            raise PermitOutsideScope("somebody else changed the operation meanwhile")
        except GovernanceError as error:
            what = f"step {outer.step.id} asked for {call.connector}.{call.action} {call_digest(call)}"
            text = f"{what}: {error.message} [{error.code}]"
            self.session.add(Note, topic=LEAVE_REFUSED, text=text)
            while not await self.session.flush_or_reload():
                self.session.add(Note, topic=LEAVE_REFUSED, text=text)
            return error.message

    def _made(self, made: Made, asked: list[tuple[Make, Digest]]) -> None:
        """Hold the outcome of a call that was asked for."""
        found = next((one for one in asked if one[0].call == made.asks.call), None)
        if found is not None:
            asked.remove(found)
            output = self._outcome(*found, made.result, None)
            if output is not None:
                self.outputs[found[0].step.id] = output

    def _dispatched(self, make: Make, permit: Permit, seen: Seen) -> Dispatch:
        op = self.session.op
        return Dispatch(
            step=make.step.id,
            attempt=make.number,
            template=make.template,
            slots=make.step.slots or {},
            values=make.values,
            call=make.call,
            permit=permit,
            limits=self._limits(make),
            isolation=make.step.isolation,
            grade=make.step.grade if make.call.effect is Effect.READ else None,
            mode=op.the_intent.mode,
            phase=make.phase,
            targets=op.course.names,
            attest=make.step.attest,
            seen=seen,
            deadline=None,
        )

    def _limits(self, make: Make) -> Limits:
        """Return the step's limits, cut to what the terms oblige to; a session ends with its ticket."""
        kept, limits = self.session.op.terms_in_force.obligations, make.step.limits
        if is_attended(make.call):
            ticket = self.session.op.sealed_ticket.record
            assert isinstance(ticket, Ticket)
            left = ticket.expires - self.session.judged_now()
            limits = replace(limits, timeout_ms=min(limits.timeout_ms, left // timedelta(milliseconds=1)))
        return replace(
            limits,
            timeout_ms=min(limits.timeout_ms, kept.timeout_ms or limits.timeout_ms),
            output_bytes=min(limits.output_bytes, kept.output_bytes or limits.output_bytes),
        )

    def _outcome(
        self, make: Make, attempt: Digest, result: LaneResult, streaming: Streaming | None
    ) -> StepOutput | None:
        result, cut = redacted(result, self._rules(), self._limits(make).output_bytes)
        tried = self.session.op.in_flight[attempt].tried
        output = output_of(result, tried)
        facts = self._facts(make, output)
        if make.phase is Phase.DO and result.ended is Ended.OK:
            result = _held_to(make.step, facts, result)
        if streaming is not None:
            streaming.hold()
        kept = keep_output(result, self.ids, streaming.keys if streaming is not None else None, cut)
        self.session.attached.blobs.extend(kept.blobs)
        self.session.add(
            Outcome,
            step=make.step.id,
            attempt=attempt,
            ended=result.ended,
            duration_ms=result.duration_ms,
            error_class=None if result.failure is None else str(result.failure),
            message=result.message,
            status=result.status,
            signal=result.signal,
            facts=facts or None,
            blobs=kept.refs,
            measured=result.measured,
        )
        again = make.phase is Phase.PROBE and make.template == make.step.call
        return output if make.phase is Phase.DO or again else None

    def _rules(self) -> tuple[RedactionRule, ...]:
        """Return what outputs pass before they are kept, beside the secrets of their call."""
        named = [
            name for name in self.session.op.terms_in_force.obligations.redaction if name not in REDACTIONS
        ]
        found = self.profile().redactions if named else {}
        return tuple(rule for name in named for rule in found[name])

    def _facts(self, make: Make, output: StepOutput) -> Mapping[str, Json]:
        if make.phase is Phase.UNDO or output.ended in (Ended.PREVIEWED, Ended.REFUSED, Ended.UNKNOWN):
            return {}
        probe = make.step.probe if make.phase is Phase.PROBE else None
        name = probe.normalizer if probe is not None else make.step.normalizer
        if name is None:
            return output.data or {}
        return self.normalize(name, {make.step.id: output}, make.step.target)


def _held_to(step: CallStep, facts: Mapping[str, Json], result: LaneResult) -> LaneResult:
    """Return `result`, failed where the postcondition of `step` does not hold."""
    expected = step.postcondition
    waits = step.retry is not None and Failure.NOT_YET in step.retry.on
    found = None if expected is None else fact_in(facts, expected.fact)
    if expected is None or found == expected.equals:
        return result
    return replace(
        result,
        ended=Ended.FAILED,
        failure=Failure.NOT_YET if waits else Failure.VALIDATION_FAILED,
        message=f"postcondition: `{expected.fact}` is `{found}`, not `{expected.equals}`",
    )
