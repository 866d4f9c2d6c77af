"""The one loop: ask what is next, write the intent down, act, write what happened.

Engines differ only in who calls `drive` and when. The driver performs effects through
ports; what may be done is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from rexecop.engines.asking import ask, consult, record_decision, require_signed
from rexecop.engines.budgets import SPACE as BUDGETS
from rexecop.engines.budgets import claims, next_uses
from rexecop.engines.caller import Caller
from rexecop.engines.closing import changed_targets, stored_output, validate
from rexecop.engines.errors import BudgetSpent, InstanceKeyExpired, RunnerBusy
from rexecop.engines.flight import Flight, every
from rexecop.engines.handling import handler_request
from rexecop.engines.minting import ticket_of
from rexecop.engines.outputs import Outputs
from rexecop.engines.recent import counted
from rexecop.engines.rereading import Drift, Standing, still_standing
from rexecop.engines.runner import is_alive
from rexecop.engines.session import Session
from rexecop.engines.stepwise import require_approved
from rexecop.engines.telling import conclude
from rexecop.engines.world import World
from rexecop.governance.admission import Answer
from rexecop.governance.errors import (
    ApprovalDenied,
    ApprovalsMissing,
    Halted,
    NotNow,
    TermsStricter,
    WindowClosed,
)
from rexecop.governance.obligations import at_call, tighter
from rexecop.governance.permits import LIFT
from rexecop.governance.tickets import require_fits, stricter_in_words
from rexecop.governance.windows import is_held
from rexecop.lanes.failures import Failure
from rexecop.operations.errors import ClaimTaken, LeaseHeld, LockHeld, StoreUnavailable, StoreUncertain
from rexecop.operations.fold import Operation
from rexecop.operations.handlers import Handled
from rexecop.operations.machine import Event, allows
from rexecop.operations.next import (
    Close,
    Decline,
    Derive,
    Make,
    Mint,
    Next,
    UndoWave,
    Validate,
    acts,
    awaited_call,
    is_wanted,
    next_effects,
)
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.ports import Claim, Lease
from rexecop.operations.profile_model import Profile
from rexecop.operations.queue import locks_of, slots_of
from rexecop.operations.step_output import StepOutput
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import Name, first_of, names_of, words
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import PolicyRequest
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import DeriveStep, Pinned
from rexecop.proof.records.validation import Validation
from rexecop.proof.request import intents_within, request_of_call, request_target, requested
from rexecop.proof.steps import is_asking
from rexecop.proof.times import format_time
from rexecop.proof.trust import retired
from rexecop.proof.vocabulary import READ_MODES, Effect, Ended, Mode, Phase, Role, Verdict
from rexecop.proof.vocabulary import Gate as GateName

LEASE: Final = timedelta(seconds=30)  # Long enough not to flush often, short enough to notice a dead machine.
RENEW_SECONDS: Final = 10.0  # A third of it: two renewals may be missed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """How far a drive came; `queued` says why the operation could not start yet, `until` for how long."""

    session: Session
    queued: str | None = None
    until: str | None = None


class Driver:
    """Drives operations of one instance in this process; `caller` makes their calls.

    Once it is `leaving`, every drive ends before its next call: whoever comes next goes on from there.
    """

    def __init__(self, world: World, caller: type[Caller] = Caller) -> None:
        self.leaving = False
        self._world = world
        self._caller = caller
        self._driving: set[str] = set()

    async def drive(self, session: Session) -> Driven:
        """Drive an operation until it parks or ends, holding its lease.

        Records pending in `session` become durable with the first flush.

        Raises:
            RunnerBusy: another live runner has it.
            TicketRefused: approvals that were counted were revoked or ran out since.
            LedgerRewound, LedgerForked: it changes something, and this ledger is in doubt.
            InstanceKeyExpired: what is next changes something, and the instance's key has expired.
            StoreUnavailable, StoreUncertain: the ledger cannot be written.
        """
        if _changes(session.op):
            self._world.sound()
        with self._alone(session.id):
            drive = _Drive(self._world, session, self._caller)
            drive.take_lease()
            try:
                with every(RENEW_SECONDS, drive.renew):
                    return await drive.run(lambda: self.leaving)
            finally:
                drive.give_lease_back()

    async def probe(self, session: Session, make: Make) -> Sealed:
        """Make the probe call `make` and return its durable outcome.

        Raises:
            As `drive`.
        """
        with self._alone(session.id):
            drive = _Drive(self._world, session, self._caller)
            drive.take_lease()
            try:
                with every(RENEW_SECONDS, drive.renew):
                    await drive.make(make)
                    outcome = session.op.head
                    await session.flush(release=True)
            finally:
                drive.give_lease_back()
        if outcome is None or not isinstance(outcome.record, Outcome):
            raise RunnerBusy(f"operation `{session.id}` was changed by somebody else meanwhile")
        return outcome

    def require_free(self, session: Session) -> None:
        """Return only if no halt stops the operation.

        Raises:
            Halted: one does.
        """
        _Drive(self._world, session, self._caller).require_free()

    def require_approved(self, session: Session) -> None:
        """Return only if the step that is next has the approvals it needs, or needs none of its own.

        Raises:
            ApprovalDenied, ApprovalsMissing: it has not.
        """
        if (make := awaited_call(session.op)) is not None:
            _Drive(self._world, session, self._caller).require_approved(make)

    @contextmanager
    def _alone(self, operation: str) -> Iterator[None]:
        """Drive `operation` once at a time: a lease tells runners apart, not two tasks of one."""
        if operation in self._driving:
            raise RunnerBusy(f"operation `{operation}` is being driven already")
        self._driving.add(operation)
        try:
            yield
        finally:
            self._driving.discard(operation)


class _Drive:
    """One drive of one operation: the effects, each a method."""

    def __init__(self, world: World, session: Session, caller: type[Caller]) -> None:
        self._world = world
        self._session = session
        self._outputs = Outputs()
        self._halting: dict[Digest, frozenset[Name]] = {}
        self._flight = Flight()
        self._looked: int | None = None
        self._caller = caller(
            session=session,
            lanes=world.lanes,
            ids=world.ids,
            permit_seconds=world.permit_seconds,
            fence=self._fence,
            normalize=self._normalize,
            halted=self._halted_yet,
            quota=world.quota,
            profile=self._profile,
            leave=self._leave,
            outputs=self._outputs,
            wanted=lambda make: self._flight.failed is None and is_wanted(session.op, make),
        )

    # --- leases ---

    def take_lease(self) -> None:
        """Take the operation's lease with the next flush.

        Raises:
            RunnerBusy: another live runner has it.
        """
        session, now = self._session, self._session.now()
        # What was never stored, nobody drives.
        old = self._world.store.lease(session.id) if session.stored else None
        if old is not None and old.expires > now:
            if old.runner != self._world.runner and is_alive(old.runner, self._world.store):
                raise RunnerBusy(f"operation `{session.id}` is being driven by another process")
            # Its runner is provably gone, or is this one: nobody else acts under that fence.
            self._world.store.release(old)
        self._world.store.be_heard(self._world.runner)
        fence = 1 if old is None else old.fence + 1
        lease = Lease(operation=session.id, runner=self._world.runner, fence=fence, expires=now + LEASE)
        slots = slots_of(session.op, self._world.capacity, self._world.contents.concurrent_max)
        # What has begun and goes on has its locks; after a receipt it takes them again, with the room.
        locks = locks_of(session.op) if session.op.leaves and acts(session.op) else ()
        session.hold(lease, slots, locks)

    def give_lease_back(self) -> None:
        """Give the lease back where the last flush did not."""
        self._session.drop_lease()
        if self._session.lease is not None:
            self._world.store.release(self._session.lease)
            self._session.lease = None

    def renew(self) -> None:
        """Renew the lease, if it was taken yet; what was lost to others stays lost."""
        now, held = self._world.clock.now(), self._session.lease
        if held is None:
            return
        lease = self._world.store.acquire(self._session.id, self._world.runner, now + LEASE, now)
        if lease is not None and lease.fence == held.fence:
            self._session.lease = lease
        elif lease is not None:
            self._world.store.release(lease)  # It was just given back.

    def _fence(self) -> int:
        """Return the fence held; nobody takes the unexpired lease of who is heard, so that one is true."""
        held = self._session.lease
        if held is not None and self._world.clock.now() < held.expires and self._world.store.is_heard():
            return held.fence
        lease = self._world.store.lease(self._session.id)
        if lease is None or lease.is_released or lease.runner != self._world.runner:
            return -1
        return lease.fence

    # --- the loop ---

    async def run(self, leaving: Callable[[], bool]) -> Driven:
        """Perform effects until nothing is next, or until it is to leave before a call."""
        session = self._session
        if session.op.ticket is not None:
            require_fits(session.op.ticket, session.op.sealed_plan)
        try:
            while True:
                try:
                    if await self._turn(leaving):
                        return Driven(session=session)
                except NotNow as wait:
                    if await self._set_aside(wait):
                        return Driven(session=session, queued=wait.message, until=_until(wait))
                except ClaimTaken as taken:
                    if taken.facts.get("space") != BUDGETS or not session.stored:
                        raise
                    session.reload()  # Another ticket came first; the next use of the budget is asked for.
        except (LockHeld, BudgetSpent) as held:
            if not session.stored:
                raise
            session.reload()
            return Driven(session=session, queued=held.message, until=_until(held))
        except LeaseHeld as held:
            raise RunnerBusy(f"operation `{session.id}` is being driven by another process") from held
        except (StoreUnavailable, StoreUncertain):
            raise
        except RexecopError:
            # What was observed before the next thing could not be done stays observed.
            await session.flush_or_reload(release=True)
            raise
        finally:
            await self._flight.cancel()

    async def _turn(self, leaving: Callable[[], bool]) -> bool:
        """Begin what may begin, or wait for what is under way; return whether nothing is left to do.

        After a failure nothing more begins, and it is raised when the calls beside it have ended. What
        stopped because policy asks for more is tried again with nothing beside it.
        """
        flight, session = self._flight, self._session
        waits = flight.failed or (flight.stopped and flight.keys)
        effects = () if waits else next_effects(session.op, flight.keys, flight.room)
        if flight.stopped and effects:
            effects, flight.stopped = effects[:1], False
        if leaving():
            effects = tuple(effect for effect in effects if not isinstance(effect, Mint | Make))
        alone = next((effect for effect in effects if not isinstance(effect, Make)), None)
        if alone is not None:
            await self._perform(alone)
        elif effects and flight.room:
            makes = [effect for effect in effects[: flight.room] if isinstance(effect, Make)]
            if len(makes) == 1 and not flight.keys:
                await self._one(makes[0])  # With nothing beside it there is nothing else to wait for.
                return False
            for make in makes:
                flight.begin((make.step.target, make.step.id), self._one(make))
        elif flight.keys:
            await flight.wait()
        elif (failed := flight.take_failure()) is not None:
            raise failed
        else:
            return await session.flush_or_reload(release=True)
        return False

    async def _one(self, make: Make) -> None:
        if self._changes():
            self._require_key()
        await self.make(make)

    async def _set_aside(self, wait: NotNow) -> bool:
        """Stop until somebody begins anew; a halt leaves running work paused, so that a person resumes it.

        Return False where somebody else wrote meanwhile: what is next may be something else.
        """
        if isinstance(wait, Halted) and allows(self._session.op.state, Event.PAUSED):
            self._session.add(Command, verb=Verb.PAUSE, reason=wait.message)
        return await self._session.flush_or_reload(release=True)

    async def _perform(self, effect: Next) -> None:
        """Do what is done with no call beside it, or takes no time."""
        if isinstance(effect, Mint):
            if self._changes():
                self._require_key()
            await self._mint()
        elif isinstance(effect, Derive):
            await self._derive(effect)
        elif isinstance(effect, Decline):
            self._caller.decline(effect.step.id, effect.failure, effect.message, effect.ended)
        elif isinstance(effect, UndoWave):
            self._session.add(Command, verb=Verb.UNDO, reason=effect.reason)
        elif isinstance(effect, Validate):
            self._validate()
        elif isinstance(effect, Close):
            await conclude(self._session, self._world.signer, self._world.notices)

    # --- leave ---

    def _changes(self) -> bool:
        op = self._session.op
        return op.the_plan.effect is not Effect.READ and op.the_intent.mode in (Mode.APPLY, Mode.RECOVERY)

    def _require_key(self) -> None:
        """Return only if the receipt of a change would be signed by a key that counts.

        Raises:
            InstanceKeyExpired: the instance's key has expired.
        """
        key, now = self._world.signer.public.fingerprint, self._session.judged_now()
        if retired(self._world.authority.enrolments(), Role.INSTANCE, key, now):
            raise InstanceKeyExpired(key)

    def _halted_yet(self) -> Halt | None:
        """As `_halted`, for a permit: where a halt gets into the log first, the attempt does not."""
        # A look that is no longer the newest is found out in the append, and taken once.
        size, self._looked = self._look() if self._looked is None else self._looked, None
        self._session.stand_beside(self._world.authority.instance, size)
        return self._halted(size)

    def _look(self) -> int:
        return self._world.store.records_of(self._world.authority.instance)

    def _halted(self, size: int | None = None) -> Halt | None:
        """Return the first halt that stops the operation; what others recorded by now counts."""
        op, halts = self._session.op, self._world.authority.halts(size)
        plan = op.sealed_plan.digest
        if halts and plan not in self._halting:  # Gathered once, for there may be ten thousand targets.
            self._halting[plan] = names_of(op.the_intent, op.the_plan)
        return first_of(halts, self._halting.get(plan, frozenset()))

    def require_free(self, size: int | None = None) -> None:
        """Return only if no halt stops the operation; raises `Halted`."""
        if (halt := self._halted(size)) is not None:
            raise Halted(words(halt), next_steps=LIFT)

    async def _mint(self) -> None:
        session, op, size = self._session, self._session.op, self._look()
        self.require_free(size)
        (answer, asked), now = await self._ask(GateName.TICKET), session.judged_now()
        if answer.opinion is not None:
            size = self._look()  # Again, for to ask whoever is outside takes time.
        self.require_free(size)
        over = op.terms.not_after is not None and op.terms.not_after <= now
        if over or tighter(op.terms, answer.terms) is not None:
            record_decision(session, asked, answer)
            return
        if op.terms.not_before is not None and now < op.terms.not_before:
            opens = format_time(op.terms.not_before)
            raise WindowClosed(f"it may start from {opens} on", until=opens)
        uses = next_uses(self._world.store, self._world.clock, op, now)
        try:
            ticket = ticket_of(self._world, session, answer, uses)
        except ApprovalsMissing as missing:
            # Revoked or expired since: people are asked again.
            words = f"approvals were revoked or ran out: {missing.message}"
            record_decision(session, asked, replace(answer, terms=op.terms, reason=words))
            return
        before, self._looked = op.ticket, size
        session.take(ticket)
        # A plan is begun once, and each ticket continued once.
        session.attached.claims.append(Claim(space="ticket", key=str((before or op.sealed_plan).digest)))
        session.attached.claims.extend(claims(uses))
        session.attached.locks.extend(locks_of(op))

    async def _ask(self, gate: GateName, make: Make | None = None) -> tuple[Answer, PolicyRequest]:
        """Return what policy and whoever is outside answer at `gate`, and what they were asked."""
        op, now = self._session.op, self._session.judged_now()
        policy = self._world.authority.policy(op.the_plan.profile, op.the_plan.environment)
        request = replace(op.the_admission.request, gate=gate, now=now)
        if make is not None:
            within = intents_within(request, op.the_plan, (make.step,))
            target = request_target(op.course.targets[make.step.target])
            request = request_of_call(request, target, make.step.id, requested(make.call), now, within)
        request = counted(policy, self._world.store, op.id, request)
        schedule = self._world.contents.schedule(op.the_plan.environment) if is_held(request) else None
        signed = op.terms_in_force.obligations.signed_profile
        due = None if make is None else make.step
        answer = ask(policy, request, op.the_plan, schedule, due, signed=signed)
        answer = await consult(self._world.opinions, answer, request)
        # Again: asking whoever is outside takes time, and a key may have been revoked meanwhile.
        now = self._session.judged_now()
        return require_signed(answer, policy, op.the_plan, now, signed=signed), request

    def require_approved(self, make: Make) -> None:
        """Return only if people approved the call, where its step asks that; raises as `Driver` does.

        What runs out before the permit of the call could counts no more.
        """
        op = self._session.op
        if make.phase is Phase.DO and is_asking(op.terms_in_force, make.step):
            until = self._session.judged_now() + timedelta(seconds=self._world.permit_seconds)
            require_approved(op, make, self._world.authority, until)

    # --- calls ---

    async def make(self, make: Make) -> None:
        """Make a call. Before a change what it rests on is read again and policy is asked again.

        A call that people did not approve, although its step asks that, pauses the operation.
        """
        try:
            self.require_approved(make)
            await self._make(make)
        except (ApprovalDenied, ApprovalsMissing) as missing:
            if is_wanted(self._session.op, make):
                self._session.add(Command, verb=Verb.PAUSE, reason=missing.message)

    async def _make(self, make: Make) -> None:
        if make.after_ms and not await self._caller.wait(make.after_ms):
            return
        packs: tuple[Digest, ...] = ()
        observed: Pinned | None = None
        if make.call.effect is not Effect.READ:
            stands = await still_standing(
                self._caller,
                self._session,
                make,
                observe=self._world.observe,
                profile=self._profile,
                outputs=self._outputs,
                output=self._output,
            )
            if isinstance(stands, Drift):
                self._caller.decline(make.step.id, Failure.DRIFTED, stands.message, facts=stands.facts)
            if not isinstance(stands, Standing):
                return
            observed = stands.observed
            answer, asked = await self._ask(GateName.CALL, make)
            stricter = tighter(at_call(self._session.op.terms_in_force, make.step.id), answer.terms)
            if stricter is not None:
                await self._stop(make, answer, asked, stricter_in_words(stricter, answer))
                return
            packs = tuple(pack.digest for pack in answer.packs)
            self.require_approved(make)  # Again: all of that took time.
        output = await self._caller.call(make, packs, observed)
        if output is not None:
            self._outputs[make.step.id] = output

    async def _leave(self, make: Make) -> tuple[Digest, ...]:
        """Return the packs that allow the change `make` in the course of another call; a read asks none.

        Raises:
            TermsStricter, ApprovalDenied, ApprovalsMissing: it may not be made, or not now.
        """
        packs: tuple[Digest, ...] = ()
        if make.call.effect is not Effect.READ:
            answer, _ = await self._ask(GateName.CALL, make)
            stricter = tighter(at_call(self._session.op.terms_in_force, make.step.id), answer.terms)
            if stricter is not None:
                raise TermsStricter(stricter_in_words(stricter, answer))
            packs = tuple(pack.digest for pack in answer.packs)
        self.require_approved(make)
        return packs

    async def _stop(self, make: Make, answer: Answer, asked: PolicyRequest, words: str) -> None:
        """Stop before the call `make`, of which policy asks more than what it may be made under.

        What it denies is declined. Where it can be had on stricter terms, these are asked for, for
        all that is left: the ticket in hand gives no leave any more.
        """
        if answer.terms.verdict is not Verdict.BLOCKED and make.phase is not Phase.PROBE:
            if len(self._flight.keys) > 1:
                self._flight.stopped = True  # People are asked about all that is left, once that is known.
                return
            whole, of_all = await self._ask(GateName.TICKET)
            # Where policy asks more of the call than of the whole, it would be asked for ever; and no
            # yes opens a window that has closed.
            enough = whole.terms.not_before is None
            enough = enough and tighter(at_call(whole.terms, make.step.id), answer.terms) is None
            if enough and whole.terms.verdict is not Verdict.BLOCKED:
                reason = f"before step `{make.step.id}`: {words}"
                record_decision(self._session, of_all, replace(whole, reason=reason))
                return
        record_decision(self._session, asked, answer)
        self._caller.decline(make.step.id, Failure.POLICY_DENIED, words)

    # --- what needs no call ---

    async def _derive(self, effect: Derive) -> None:
        step = effect.step
        inputs = {name: self._output(name) for name in step.needs}
        # Calls that were only shown put nothing out, so there is nothing to conclude from.
        shown = any(output.ended is Ended.PREVIEWED for output in inputs.values())
        if not shown and step.normalizer not in self._profile().normalizers:
            await self._handle(step, inputs)
            return
        facts = {} if shown else self._normalize(step.normalizer, inputs, step.target)
        ended = Ended.PREVIEWED if shown else Ended.OK
        self._session.add(
            Outcome, step=step.id, attempt=None, ended=ended, duration_ms=0, facts=facts or None
        )

    async def _handle(self, step: DeriveStep, inputs: Mapping[str, StepOutput]) -> None:
        """Record what a handler of the profile's package computes from `inputs`.

        Whatever it says, nothing else is done meanwhile.
        """
        handlers, profile = self._world.handlers, self._profile()
        said = Handled(facts=None, error_class=Failure.UNSUPPORTED, message="no handlers in Python run here")
        if handlers is not None and profile.handlers is not None:
            asked = handler_request(self._session.op, step, inputs, profile, profile.handlers)
            said = await handlers.run(asked)
        self._session.add(
            Outcome,
            step=step.id,
            attempt=None,
            ended=Ended.FAILED if said.facts is None else Ended.OK,
            duration_ms=0,
            facts=said.facts,
            error_class=said.error_class,
            message=said.message,
        )

    def _output(self, step: str) -> StepOutput:
        """Return what `step` put out, from memory or, after a restart, from the kept blobs."""
        if step not in self._outputs:
            self._outputs[step] = stored_output(self._session.op, self._world.store, step)
        return self._outputs[step]

    def _normalize(self, name: str, inputs: Mapping[str, StepOutput], target: str) -> Mapping[str, Json]:
        site = self._world.contents.site(self._session.op.the_plan.environment, target)
        return run_normalizer(self._profile().normalizers[name], inputs, site)

    def _profile(self) -> Profile:
        return self._world.contents.profile(self._session.op.the_plan.profile)

    def _validate(self) -> None:
        verdict, rules, facts = validate(self._session.op, self._profile())
        self._session.add(Validation, verdict=verdict, rules=rules, facts=facts)


def _changes(op: Operation) -> bool:
    return op.the_intent.mode not in READ_MODES and bool(changed_targets(op.the_plan))


def _until(wait: RexecopError) -> str | None:
    found = wait.facts.get("until")
    return found if isinstance(found, str) else None
