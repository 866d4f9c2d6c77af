"""What was recorded of one operation, as the world that drives it once more: time, lanes and authority."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rexecop.app.contents import PinnedContents
from rexecop.app.errors import ReplayImpossible
from rexecop.engines.caller import LEAVE_REFUSED, Caller
from rexecop.engines.session import Session
from rexecop.engines.streaming import Streaming
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.gate import Dispatch
from rexecop.lanes.port import Asks, Capabilities, Clearance, Lane, LaneEvent, LaneResult, Made
from rexecop.lanes.simulated import SimulatedLane
from rexecop.lanes.targets import Attestation, Seen, Unattested
from rexecop.operations.fold import Operation
from rexecop.operations.handlers import Handled, Handling
from rexecop.operations.next import Make, slot_values
from rexecop.operations.ports import Ledger
from rexecop.operations.validation import own_id
from rexecop.proof.call import Call, Limits, ScriptedRequest, call_digest, fill
from rexecop.proof.canonical import Digest, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.halts import standing
from rexecop.proof.permit import Permit
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.base import Record
from rexecop.proof.records.command import Command
from rexecop.proof.records.decision import Decision, Opinion, PolicyRequest
from rexecop.proof.records.instance import Halt, Note
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.stretch import Stretch
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.times import parse_time
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.vocabulary import Ended, Gate, Grade, Isolation

INPUT_BYTES_MAX: Final = 16 * 1024 * 1024  # A pinned pack is far smaller; the ledger checked its digest.
_ASKED: Final = re.compile(r"step (\S+) asked for \S+ (sha256:[0-9a-f]{64}): ")
TURNS_MAX: Final = 10_000  # Turns of the loop a call waits for those recorded before it, then goes on.


class Lost(BaseException):
    """The runner is gone at this point of the record; nothing it would still do happens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A recorded attempt, and the outcome at `place`, where somebody was there to see it."""

    attempt: Attempt
    outcome: Outcome | None
    place: int
    said: tuple[Said, ...]

    @property
    def seen(self) -> bool:
        """Whether somebody saw how the call ended."""
        return self.outcome is not None and self.outcome.measured is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a lane said in the course of a call, recorded at `place`: that it wants the call of `step`.

    With `outcome` it says how that ended, of which `attempt` is the record.
    """

    place: int
    step: CallStep
    call: Call
    attempt: Digest | None
    outcome: Outcome | None = None


class Tape:
    """The records of one operation, without what was written down while a call ran."""

    def __init__(self, ledger: Ledger, operation: str, records: Sequence[Sealed], instance: str) -> None:
        self.ledger = ledger
        self.operation = operation
        self.records = tuple(one for one in records if not isinstance(one.record, Stretch))
        self.own = ledger.journal(instance).records
        ends = {one.record.attempt: one.record for one in self.records if isinstance(one.record, Outcome)}
        self._places = {one.record.n: place for place, one in enumerate(self.records)}
        self._said: dict[Digest, list[Said]] = {}
        self._refused: set[int] = set()  # Places of refusals that the engine comes to again.
        self._listen(records)
        self._attempts: dict[tuple[str, str, str, int], Recorded] = {}
        for one in self.records:
            if isinstance(attempt := one.record, Attempt):
                end, permit = ends.get(one.digest), attempt.permit
                place = len(self.records) if end is None else self._places[end.n]
                key = (str(attempt.phase), attempt.target, permit.step, permit.attempt)
                said = tuple(self._said.get(one.digest, ()))
                self._attempts[key] = Recorded(attempt=attempt, outcome=end, place=place, said=said)

    def _listen(self, records: Sequence[Sealed]) -> None:
        """Find what lanes said in the course of calls, by the attempt of the call around it."""
        op, inner, open_ = Operation(), dict[Digest, tuple[Digest, CallStep, Call]](), dict[str, Digest]()
        for one in records:
            record = one.record
            place = self._places.get(record.n, 0)
            if isinstance(record, Attempt):
                open_[record.permit.step] = one.digest
                step = op.step_named(record.target, record.permit.step)
                if record.within is not None and isinstance(step, CallStep):
                    call = fill(step.call, record.values or {})
                    inner[one.digest] = (record.within, step, call)
                    self._hear(record.within, Said(place=place, step=step, call=call, attempt=one.digest))
            elif isinstance(record, Outcome) and record.attempt in inner and record.measured is not None:
                outer, step, call = inner[record.attempt]
                said = Said(place=place, step=step, call=call, attempt=record.attempt, outcome=record)
                self._hear(outer, said)
            elif isinstance(record, Note) and record.topic == LEAVE_REFUSED:
                asked = _ASKED.match(record.text)
                found = None if asked is None else _planned(op, Digest(asked[2]))
                if asked is not None and found is not None:
                    self._refused.add(place)
                    self._hear(open_[asked[1]], Said(place=place, step=found[0], call=found[1], attempt=None))
            op.apply(one)

    def _hear(self, outer: Digest, said: Said) -> None:
        self._said.setdefault(outer, []).append(said)

    def recorded(self, make: Make) -> Recorded | None:
        """Return what was recorded of this call; None: it was not made."""
        return self._attempts.get((str(make.phase), make.step.target, make.step.id, make.number))

    def is_given(self, place: int) -> bool:
        """Return whether record `place` came from outside the engine: it is taken as it was recorded."""
        record = self.records[place].record
        if isinstance(record, Decision):
            return record.request.gate is Gate.PLAN  # The planner's; the driver asks at the other gates.
        said = isinstance(record, Command | Reconciliation) and record.by != ENGINE
        if place in self._refused:
            return False
        return said or isinstance(record, Intent | Plan | Approval | Note)

    def at(self, place: int) -> datetime:
        """Return when record `place` was written; after the last, when that was."""
        return self.records[min(place, len(self.records) - 1)].record.at

    def turn_of(self, place: int) -> int:
        """Return how many records there have to be before what the engine wrote at `place` may come."""
        while place and self.is_given(place - 1):
            place -= 1
        return place

    def packs_from(self, place: int) -> tuple[Digest, ...]:
        """Return the packs in force at `place`: those that the next record naming any names."""
        for one in (*self.records[place:], *reversed(self.records[:place])):
            record = one.record
            if isinstance(record, Decision):
                return tuple(pack.digest for pack in record.packs)
            if isinstance(record, Ticket | Attempt) and record.packs:
                return record.packs
        return ()


class TapeClock:
    """The recorded time: that of the record which is next in the session it follows."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.place = 0
        self.session: Session | None = None
        self.calling = 0

    @property
    def next(self) -> int:
        """The place of the record that comes next."""
        return self.place if self.session is None else max(self.place, self.session.op.count)

    @property
    def record(self) -> Record:
        """The record that comes next; after the last, the last."""
        return self.tape.records[min(self.next, len(self.tape.records) - 1)].record

    def now(self) -> datetime:
        """Return the time of the next record; while a call is made, that of its attempt."""
        return self.tape.at(self.next - 1 if self.calling else self.next)

    def boot_ms(self) -> int:
        """Return milliseconds of the recorded time: no clock was stepped since."""
        return int(self.now().timestamp() * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeHandlers:
    """What handlers in Python said then: their code may be another by now."""

    clock: TapeClock

    async def run(self, request: Handling) -> Handled:
        """Return what the next record says of the step asked for."""
        record = self.clock.record
        if not isinstance(record, Outcome) or own_id(record.step) != list(request.actions)[-1]:
            return Handled(facts=None, message="there is no such answer on record")
        return Handled(facts=record.facts, error_class=record.error_class, message=record.message)


@dataclass(slots=True, kw_only=True)
class TapeAuthority:
    """The authority of the time: pinned packs, and the instance's own records written by then."""

    tape: Tape
    clock: TapeClock
    contents: PinnedContents
    instance: str
    _parsed: dict[tuple[Digest, ...], Policy] = field(default_factory=dict)

    def policy(self, profile: Digest | None = None, environment: Digest | None = None) -> Policy:
        """Return the packs that were in force.

        Raises:
            InputMissing: one of them is not stored.
        """
        names = self.tape.packs_from(self.clock.next)
        if names not in self._parsed:
            files = self.contents.proposed_files(profile) if profile is not None else {}
            more: Mapping[str, bytes] = {}
            if profile is not None and environment is not None:
                more = self.contents.narrowing_files(environment, profile)
            proposed = [Pack.parse(one) for one in (files, more) if one]
            theirs = {pack.ref.digest for pack in proposed}
            operator = [self._pack(name) for name in names if name not in theirs]
            self._parsed[names] = Policy(operator, [p for p in proposed if p.ref.digest in names])
        return self._parsed[names]

    def _pack(self, digest: Digest) -> Pack:
        found = parse_json(self.tape.ledger.pinned(digest), bytes_max=INPUT_BYTES_MAX)
        files = found.get("files") if isinstance(found, Mapping) else None
        if not isinstance(files, Mapping):
            raise ReplayImpossible(f"pinned input `{digest}` is no policy pack", digest=digest)
        pack = Pack.parse({str(path): str(text).encode() for path, text in files.items()})
        if pack.ref.digest != digest:
            raise ReplayImpossible(f"policy pack `{digest}` reads as `{pack.ref.digest}`", digest=digest)
        return pack

    def enrolments(self) -> tuple[Enrolment, ...]:
        """Return the keys that were trusted."""
        return enrolments(self.trust_records())

    def halts(self, size: int | None = None) -> tuple[Halt, ...]:
        """Return the halts that stood."""
        return standing(self.trust_records())

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records as they were."""
        now = self.clock.now()
        return tuple(one for one in self.tape.own if one.record.at <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeOpinions:
    """What the decision point outside said then."""

    clock: TapeClock

    async def of(self, request: PolicyRequest) -> Opinion | None:
        """Return what it said to what is decided next."""
        record = self.clock.record
        return record.opinion if isinstance(record, Decision) else None


@dataclass(frozen=True, kw_only=True)
class TapeCaller(Caller):
    """Makes calls as the driver's own does, with the recorded time and attestations, and never waits."""

    def __post_init__(self) -> None:
        self.clock.session = self.session

    @property
    def clock(self) -> TapeClock:
        """The clock of the world it works in."""
        clock = self.session.clock
        assert isinstance(clock, TapeClock)
        return clock

    async def wait(self, milliseconds: int) -> bool:
        """Let no time pass: the next attempt has its own."""
        return await self.session.flush_or_reload()

    async def _look(self, make: Make) -> Seen:
        found = self.clock.tape.recorded(make)
        outcome = found.outcome if found is not None and make.step.attest else None
        if outcome is None:
            return None
        held = (outcome.measured.facts if outcome.measured and outcome.measured.facts else {}).get(
            "attestation"
        )
        if isinstance(held, Mapping) and isinstance(measured := held.get("measured"), Mapping):
            at, expires = parse_time(str(held["at"])), parse_time(str(held["expires"]))
            class_ = str(held["class"])
            return Attestation(
                target=make.call.target, class_=class_, measured=measured, at=at, expires=expires
            )
        _, cut, why = (outcome.message or "").partition("was not attested: ")
        failure = outcome.error_class if cut else None
        return None if failure is None else Unattested(failure=Failure(failure), message=why)

    async def _dispatch(
        self, make: Make, attempt: Digest, permit: Permit, seen: Seen, streaming: Streaming | None
    ) -> LaneResult:
        found = self.clock.tape.recorded(make)
        if found is None or not (found.seen or found.said):
            raise Lost
        self.clock.calling += 1
        token = _IN_HAND.set((self.session, make, found))
        try:
            return await super()._dispatch(make, attempt, permit, seen, streaming)
        finally:
            _IN_HAND.reset(token)
            self.clock.calling -= 1

    async def _leave_for(
        self, outer: Make, within: Digest, call: Call, seen: Seen, asked: list[tuple[Make, Digest]]
    ) -> Dispatch | str:
        # It is judged at the time, and by the lane, of the record that is next: the answer to it.
        self.clock.calling -= 1
        token = _IN_HAND.set(None)
        try:
            return await super()._leave_for(outer, within, call, seen, asked)
        finally:
            _IN_HAND.reset(token)
            self.clock.calling += 1


_IN_HAND: Final[ContextVar[tuple[Session, Make, Recorded] | None]] = ContextVar("in hand", default=None)


class TapeLanes(Mapping[str, Lane]):
    """For every route the lane that the recorded attempt in hand, or next, names."""

    def __init__(self, clock: TapeClock) -> None:
        self._clock = clock
        self._lanes: dict[tuple[str, str, str], TapeLane] = {}  # The gate tells lanes apart by what they are.

    def __getitem__(self, route: str) -> Lane:
        held = _IN_HAND.get()
        attempt = self._clock.record if held is None else held[2].attempt
        if not isinstance(attempt, Attempt) or attempt.lane == "none":
            raise KeyError(route)
        able = Capabilities(
            requests=frozenset({route}),
            simulated=attempt.lane == SimulatedLane.name,
            isolation=frozenset(Isolation),
            grades=frozenset(Grade),
            placement=attempt.placement,
        )
        lane = TapeLane(name=attempt.lane, capabilities=able, tape=self._clock.tape)
        return self._lanes.setdefault((route, attempt.lane, attempt.placement), lane)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeLane:
    """A lane that touches nothing: it answers the call in hand with what was recorded of it."""

    name: str
    capabilities: Capabilities
    tape: Tape

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Say and answer what the recorded lane did, in the recorded order."""
        clearance()
        held = _IN_HAND.get()
        assert held is not None
        session, make, found = held
        asking: dict[Digest | None, Asks] = {}
        for said in found.said:
            await self._turn(session, said.place)
            if said.outcome is None:
                asking[said.attempt] = Asks(said.call)
                yield asking[said.attempt]
            elif _has_leave(asking[said.attempt]):
                result = self._answer(said.step, said.call, said.outcome, 1)
                yield Made(asks=asking[said.attempt], result=result)
        if found.outcome is None or not found.seen:
            raise Lost
        await self._turn(session, found.place)
        yield self._answer(make.step, make.call, found.outcome, attempt)

    async def _turn(self, session: Session, place: int) -> None:
        """Wait until everything is there that was recorded before `place`."""
        turn, turns = self.tape.turn_of(place), 0
        while session.op.count < turn and turns < TURNS_MAX:
            await asyncio.sleep(0)
            turns += 1

    def _answer(self, step: CallStep, call: Call, outcome: Outcome, attempt: int) -> LaneResult:
        """Return what the lane had observed, before the engine held it to a postcondition."""
        assert outcome.measured is not None
        kept = {name: self.tape.ledger.blob(ref.commitment) for name, ref in (outcome.blobs or {}).items()}
        out, err = kept.get("stdout"), kept.get("stderr")
        held = step.postcondition is not None and (outcome.message or "").startswith("postcondition: ")
        data, request = outcome.facts, call.request
        if isinstance(request, ScriptedRequest):
            reply = request.replies[min(max(attempt, 1), len(request.replies)) - 1]
            # What ran out of time, or had no leave, did not come to what was scripted.
            data = reply.data if held or outcome.message == reply.message else None
        return LaneResult(
            ended=Ended.OK if held else outcome.ended,
            duration_ms=outcome.duration_ms,
            measured=outcome.measured,
            failure=None if held or outcome.error_class is None else Failure(outcome.error_class),
            message=None if held else outcome.message,
            status=outcome.status,
            signal=outcome.signal,
            stdout=out.data if out else b"",
            stderr=err.data if err else b"",
            stdout_bytes=out.ref.raw_bytes if out else 0,
            stderr_bytes=err.ref.raw_bytes if err else 0,
            redactions=next((blob.ref.redactions for blob in kept.values() if blob), 0),
            data=data,
            keys={name: blob.key for name, blob in kept.items() if blob},
        )


def _has_leave(asks: Asks) -> bool:
    try:
        asks.clear()
    except ClearanceRefused:
        return False
    return True


def _planned(op: Operation, digest: Digest) -> tuple[CallStep, Call] | None:
    """Return the step of `op` whose call, as it would be made now, is `digest`."""
    for step in (item.step for item in op.steps.values()):
        if isinstance(step, CallStep):
            with suppress(TemplateMismatch):
                call = fill(step.call, slot_values(op, step, step.call))
                if call_digest(call) == digest:
                    return step, call
    return None


def require_outputs(tape: Tape) -> None:
    """Return only if everything that was put out is still kept.

    Raises:
        ReplayImpossible: some of it was erased.
    """
    for outcome in (one.record for one in tape.records if isinstance(one.record, Outcome)):
        for stream, ref in (outcome.blobs or {}).items():
            if tape.ledger.blob(ref.commitment) is None:
                words = f"output {stream} of step `{outcome.step}` was erased or is not kept"
                raise ReplayImpossible(words, n=outcome.n, digest=ref.commitment)
