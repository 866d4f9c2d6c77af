"""What was recorded of one operation, as the world that drives it once more: time, lanes and authority."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rexecop.app.contents import PinnedContents
from rexecop.app.errors import ReplayImpossible
from rexecop.engines.caller import Caller
from rexecop.engines.session import Session
from rexecop.engines.streaming import Streaming
from rexecop.governance.admission import Policy
from rexecop.governance.pack import Pack
from rexecop.lanes.failures import Failure
from rexecop.lanes.gate import NOT_MEASURED
from rexecop.lanes.port import Capabilities, Clearance, Lane, LaneEvent, LaneResult
from rexecop.lanes.simulated import SimulatedLane
from rexecop.lanes.targets import Attestation, Seen, Unattested, attested
from rexecop.operations.next import Make
from rexecop.operations.ports import Ledger
from rexecop.proof.call import Call, Limits, ScriptedRequest, call_digest, route_of
from rexecop.proof.canonical import Digest, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.halts import standing
from rexecop.proof.permit import Permit
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
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
TURNS_MAX: Final = 10_000  # Turns of the loop a call waits for those recorded before it, then goes on.

_Place = tuple[str, str, str, int]  # Phase, target, step, number of the attempt.


class Lost(BaseException):
    """The runner is gone at this point of the record; nothing it would still do happens."""


class Tape:
    """The records of one operation, without what was written down while a call ran."""

    def __init__(self, ledger: Ledger, operation: str, records: Sequence[Sealed], instance: str) -> None:
        self.ledger = ledger
        self.operation = operation
        self.records = tuple(one for one in records if not isinstance(one.record, Stretch))
        self.own = ledger.journal(instance).records
        answered = {
            one.record.attempt: place
            for place, one in enumerate(self.records)
            if isinstance(one.record, Outcome) and one.record.attempt is not None
        }
        self.attempts: dict[_Place, tuple[Attempt, int | None]] = {}
        for one in self.records:
            if isinstance(one.record, Attempt):
                self.attempts[_place_of(one.record)] = (one.record, answered.get(one.digest))

    def is_given(self, place: int) -> bool:
        """Return whether record `place` came from outside the engine: it is taken as it was recorded."""
        record = self.records[place].record
        if isinstance(record, Decision):
            return record.request.gate is Gate.PLAN and record.request.break_glass
        said = isinstance(record, Command | Reconciliation | Note) and record.by != ENGINE
        return said or isinstance(record, Intent | Plan | Approval)

    def at(self, place: int) -> datetime:
        """Return when record `place` was written; after the last, when that was."""
        return self.records[min(place, len(self.records) - 1)].record.at

    def attempt(self, make: Make) -> tuple[Attempt, int | None] | None:
        """Return the recorded attempt to make this call, and where its outcome is; None: there was none."""
        return self.attempts.get((str(make.phase), make.step.target, make.step.id, make.number))

    def outcome(self, place: int | None) -> Outcome | None:
        """Return the outcome at `place`."""
        record = None if place is None else self.records[place].record
        return record if isinstance(record, Outcome) else None

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


def _place_of(attempt: Attempt) -> _Place:
    permit: Permit = attempt.permit
    return (str(attempt.phase), attempt.target, permit.step, permit.attempt)


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

    def now(self) -> datetime:
        """Return the time of the next record; while a call is made, that of its attempt."""
        return self.tape.at(self.next - 1 if self.calling else self.next)

    def boot_ms(self) -> int:
        """Return milliseconds of the recorded time: no clock was stepped since."""
        return int(self.now().timestamp() * 1000)


@dataclass(slots=True, kw_only=True)
class TapeAuthority:
    """The authority of the time: pinned packs, and the instance's own records written by then."""

    tape: Tape
    clock: TapeClock
    contents: PinnedContents
    instance: str
    _parsed: dict[tuple[Digest, ...], Policy] = field(default_factory=dict)

    def policy(self, profile: Digest | None = None) -> Policy:
        """Return the packs that were in force.

        Raises:
            InputMissing: one of them is not stored.
        """
        names = self.tape.packs_from(self.clock.next)
        if names not in self._parsed:
            files = self.contents.proposed_files(profile) if profile is not None else {}
            proposed = [Pack.parse(files)] if files else []
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

    def halts(self) -> tuple[Halt, ...]:
        """Return the halts that stood."""
        return standing(self.trust_records())

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records as they were."""
        now = self.clock.now()
        return tuple(one for one in self.tape.own if one.record.at <= now)


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeOpinions:
    """What the decision point outside said then."""

    tape: Tape
    clock: TapeClock

    async def of(self, request: PolicyRequest) -> Opinion | None:
        """Return what it said to what is decided next."""
        record = self.tape.records[min(self.clock.next, len(self.tape.records) - 1)].record
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
        found = self.clock.tape.attempt(make)
        if not make.step.attest or found is None:
            return None
        outcome = self.clock.tape.outcome(found[1])
        facts = (outcome.measured.facts if outcome and outcome.measured else None) or {}
        held = facts.get("attestation")
        if isinstance(held, Mapping) and isinstance(measured := held.get("measured"), Mapping):
            return Attestation(
                target=make.call.target,
                class_=str(held["class"]),
                measured=measured,
                at=parse_time(str(held["at"])),
                expires=parse_time(str(held["expires"])),
            )
        if found[0].attestation is not None:
            return attested(make.call.target, found[0].attestation, {}, self.clock.now())
        _, cut, why = (outcome.message or "" if outcome else "").partition("was not attested: ")
        failure = outcome.error_class if outcome else None
        return Unattested(failure=Failure(failure), message=why) if cut and failure else None

    async def _dispatch(
        self, make: Make, permit: Permit, seen: Seen, streaming: Streaming | None
    ) -> LaneResult:
        clock = self.clock
        found = clock.tape.attempt(make)
        outcome = clock.tape.outcome(found[1]) if found is not None else None
        if found is not None and (found[1] is None or outcome is None or outcome.measured is None):
            raise Lost
        clock.calling += 1
        token = _IN_HAND.set((self, make))
        try:
            return await super()._dispatch(make, permit, seen, streaming)
        finally:
            _IN_HAND.reset(token)
            clock.calling -= 1


_IN_HAND: Final[ContextVar[tuple[TapeCaller, Make]]] = ContextVar("in hand")


@dataclass(frozen=True, slots=True, kw_only=True)
class TapeLane:
    """A lane that touches nothing: it answers the call in hand with what was recorded of it."""

    name: str
    capabilities: Capabilities

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Answer as the recorded lane did, in the recorded order."""
        clearance()
        caller, make = _IN_HAND.get()
        tape = caller.clock.tape
        found = tape.attempt(make)
        outcome = tape.outcome(found[1]) if found is not None else None
        if found is None or found[1] is None or outcome is None:
            raise LookupError("no such attempt was recorded")
        turn = tape.turn_of(found[1])
        for _ in range(TURNS_MAX):
            if caller.session.op.count >= turn:
                break
            await asyncio.sleep(0)
        yield _answer(tape, make, outcome, attempt)


def lanes_of(tape: Tape) -> Mapping[str, Lane]:
    """Return for every route that the recorded attempts took a lane of the recorded name."""
    routes = {call_digest(call): route_of(call.request) for call in _templates(tape)}
    found: dict[str, Lane] = {}
    for attempt, _ in tape.attempts.values():
        route = routes.get(attempt.template)
        if route is not None and attempt.lane != "none":
            able = Capabilities(
                requests=frozenset({route}),
                simulated=attempt.lane == SimulatedLane.name,
                isolation=frozenset(Isolation),
                grades=frozenset(Grade),
                placement=attempt.placement,
            )
            found[route] = TapeLane(name=attempt.lane, capabilities=able)
    return found


def _templates(tape: Tape) -> Iterator[Call]:
    plans = [one.record for one in tape.records if isinstance(one.record, Plan)]
    for step in (step for plan in plans for step in plan.steps if isinstance(step, CallStep)):
        yield step.call
        if step.probe is not None:
            yield step.probe.call
        if step.undo is not None:
            yield step.undo


def _answer(tape: Tape, make: Make, outcome: Outcome, attempt: int) -> LaneResult:
    """Return what the lane had observed, before the engine held it to a postcondition."""
    refs = outcome.blobs or {}
    kept = {name: blob for name, ref in refs.items() if (blob := tape.ledger.blob(ref.commitment))}
    texts = {name: blob.data for name, blob in kept.items()}
    sizes = {name: ref.raw_bytes for name, ref in refs.items()}
    held = make.step.postcondition is not None and (outcome.message or "").startswith("postcondition: ")
    data, request = outcome.facts, make.call.request
    if isinstance(request, ScriptedRequest):
        data = request.replies[min(max(attempt, 1), len(request.replies)) - 1].data
    return LaneResult(
        ended=Ended.OK if held else outcome.ended,
        duration_ms=outcome.duration_ms,
        measured=outcome.measured or NOT_MEASURED,
        failure=None if held or outcome.error_class is None else Failure(outcome.error_class),
        message=None if held else outcome.message,
        status=outcome.status,
        signal=outcome.signal,
        stdout=texts.get("stdout", b""),
        stderr=texts.get("stderr", b""),
        stdout_bytes=sizes.get("stdout", 0),
        stderr_bytes=sizes.get("stderr", 0),
        redactions=next((ref.redactions for ref in refs.values()), 0),
        data=data,
        keys={name: blob.key for name, blob in kept.items()},
    )


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
