"""The one loop: ask what is next, write the intent down, act, write what happened.

Engines differ only in who calls `drive` and when. The driver performs effects through
ports; what may be done is decided elsewhere.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final, Protocol

from rexecop.engines.asking import Opinions, ask, consult, record_decision
from rexecop.engines.budgets import SPACE as BUDGETS
from rexecop.engines.budgets import claims, next_uses
from rexecop.engines.caller import Caller
from rexecop.engines.closing import changed_targets, close, stored_output, validate
from rexecop.engines.errors import BudgetSpent, InstanceKeyExpired, RunnerBusy
from rexecop.engines.flight import Flight
from rexecop.engines.recent import counted
from rexecop.engines.rereading import Drift, Observe, Standing, still_standing
from rexecop.engines.runner import is_alive
from rexecop.engines.session import Session
from rexecop.engines.stepwise import require_approved
from rexecop.governance.admission import Answer, Policy
from rexecop.governance.errors import ApprovalDenied, ApprovalsMissing, Halted, NotNow, WindowClosed
from rexecop.governance.obligations import at_call, tighter
from rexecop.governance.permits import LIFT
from rexecop.governance.tickets import TICKET_VALID_MAX, Case, Place, require_fits, stricter_in_words
from rexecop.governance.tickets import mint as mint_ticket
from rexecop.governance.windows import Schedule, is_held
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Lane
from rexecop.lanes.targets import Quota
from rexecop.operations.errors import ClaimTaken, LeaseHeld, LockHeld, StoreUnavailable, StoreUncertain
from rexecop.operations.extract import StepOutput
from rexecop.operations.fold import Operation
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
    awaited_call,
    is_wanted,
    next_effects,
)
from rexecop.operations.normalize import run_normalizer
from rexecop.operations.ports import Claim, Clock, Ids, Lease, Lock, Store, standing_use
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.halts import stopping, words
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import PolicyRequest
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Pinned
from rexecop.proof.records.ticket import BudgetUse, Ticket
from rexecop.proof.records.validation import Validation
from rexecop.proof.request import requested
from rexecop.proof.signer import Signer
from rexecop.proof.steps import step_terms
from rexecop.proof.times import format_time
from rexecop.proof.trust import Enrolment, retired
from rexecop.proof.vocabulary import READ_MODES, Effect, Ended, Mode, Phase, Role, Verdict
from rexecop.proof.vocabulary import Gate as GateName

LEASE: Final = timedelta(seconds=30)  # Long enough not to flush often, short enough to notice a dead machine.


class Authority(Protocol):
    """What the root says about who may: read afresh when it changed. `instance` names its own chain."""

    instance: str

    def policy(self, profile: Digest | None = None) -> Policy:
        """Return the policy packs in force now for operations of `profile`."""
        ...

    def enrolments(self) -> tuple[Enrolment, ...]:
        """Return the keys this instance trusts."""
        ...

    def halts(self) -> tuple[Halt, ...]:
        """Return the halts that stand, as the ledger says at this moment."""
        ...

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records."""
        ...


class Contents(Protocol):
    """Pinned inputs, parsed."""

    def profile(self, digest: Digest) -> Profile:
        """Return the profile pinned under `digest`."""
        ...

    def schedule(self, environment: Digest) -> Schedule:
        """Return the windows and freezes of the environment pinned under `environment`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a driver works with, wired once by `app`."""

    store: Store
    lanes: Mapping[str, Lane]
    authority: Authority
    contents: Contents
    clock: Clock
    ids: Ids
    signing: Callable[[], Signer]
    runner: str
    permit_seconds: int
    sound: Callable[[], None]  # Raises where nothing that changes something may begin.
    quota: Quota = field(default_factory=Quota)
    opinions: Opinions | None = None  # None: nobody outside is asked.
    observe: Observe | None = None  # Without it no change that rests on pinned facts is made.

    @property
    def signer(self) -> Signer:
        """Who signs for the instance now: its key may be replaced while others run."""
        return self.signing()


@dataclass(frozen=True, slots=True, kw_only=True)
class Driven:
    """How far a drive came; `queued` says why the operation could not be started yet."""

    session: Session
    queued: str | None = None


class Driver:
    """Drives operations of one instance in this process; `caller` makes their calls."""

    def __init__(self, world: World, caller: type[Caller] = Caller) -> None:
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
                return await drive.run()
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
        self._outputs: dict[str, StepOutput] = {}
        self._asked: PolicyRequest  # What policy was asked last.
        self._flight = Flight()
        self._caller = caller(
            session=session,
            lanes=world.lanes,
            ids=world.ids,
            permit_seconds=world.permit_seconds,
            fence=self._fence,
            normalize=self._normalize,
            renew=self._renew,
            halted=self._halted_yet,
            quota=world.quota,
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
            if old.runner != self._world.runner and is_alive(old.runner):
                raise RunnerBusy(f"operation `{session.id}` is being driven by another process")
            # Its runner is provably gone, or is this one: nobody else acts under that fence.
            self._world.store.release(old)
        fence = 1 if old is None else old.fence + 1
        session.hold(Lease(operation=session.id, runner=self._world.runner, fence=fence, expires=now + LEASE))

    def give_lease_back(self) -> None:
        """Give the lease back where the last flush did not."""
        self._session.drop_lease()
        if self._session.lease is not None:
            self._world.store.release(self._session.lease)
            self._session.lease = None

    def _renew(self) -> None:
        now = self._world.clock.now()
        self._world.store.acquire(self._session.id, self._world.runner, now + LEASE, now)

    def _fence(self) -> int:
        """Return the fence held; nobody can take a lease before it expires, so until then ours is true."""
        held = self._session.lease
        if held is not None and self._world.clock.now() < held.expires:
            return held.fence
        lease = self._world.store.lease(self._session.id)
        return lease.fence if lease is not None and lease.runner == self._world.runner else -1

    # --- the loop ---

    async def run(self) -> Driven:
        """Perform effects until nothing is next."""
        session = self._session
        if session.op.ticket is not None:
            require_fits(session.op.ticket, session.op.sealed_plan)
        try:
            while True:
                try:
                    if await self._turn():
                        return Driven(session=session)
                except NotNow as wait:
                    if await self._set_aside(wait):
                        return Driven(session=session, queued=wait.message)
                except ClaimTaken as taken:
                    if taken.facts.get("space") != BUDGETS or not session.stored:
                        raise
                    session.reload()  # Another ticket came first; the next use of the budget is asked for.
        except (LockHeld, BudgetSpent) as held:
            if not session.stored:
                raise
            session.reload()
            return Driven(session=session, queued=held.message)
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

    async def _turn(self) -> bool:
        """Begin what may begin, or wait for what is under way; return whether nothing is left to do.

        After a failure nothing more begins, and it is raised when the calls beside it have ended.
        """
        flight, session = self._flight, self._session
        effects = () if flight.failed else next_effects(session.op, flight.keys)
        alone = next((effect for effect in effects if not isinstance(effect, Make)), None)
        if alone is not None:
            await self._perform(alone)
        elif effects and flight.room:
            for effect in effects[: flight.room]:
                if isinstance(effect, Make):
                    key = (effect.step.target, effect.step.id)
                    flight.begin(key, copy.copy(self)._one(effect))  # Each asks policy for itself.
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
            self._derive(effect)
        elif isinstance(effect, Decline):
            self._caller.decline(effect.step.id, effect.failure, effect.message, effect.ended)
        elif isinstance(effect, UndoWave):
            self._session.add(Command, verb=Verb.UNDO, reason=effect.reason)
        elif isinstance(effect, Validate):
            self._validate()
        elif isinstance(effect, Close):
            close(self._session, self._world.signer)

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
        own = self._world.authority.instance
        self._session.stand_beside(own, self._world.store.records_of(own))
        return self._halted()

    def _halted(self) -> Halt | None:
        """Return the first halt that stops the operation; what others recorded by now counts."""
        op = self._session.op
        return stopping(self._world.authority.halts(), op.the_intent, op.the_plan)

    def require_free(self) -> None:
        """Return only if no halt stops the operation; raises `Halted`."""
        if (halt := self._halted()) is not None:
            raise Halted(words(halt), next_steps=LIFT)

    async def _mint(self) -> None:
        session, op = self._session, self._session.op
        self.require_free()
        answer, now = await self._ask(GateName.TICKET), session.judged_now()
        self.require_free()  # Again, after whoever outside was asked, for that takes time.
        over = op.terms.not_after is not None and op.terms.not_after <= now
        if over or tighter(op.terms, answer.terms) is not None:
            record_decision(session, self._asked, answer)
            return
        if op.terms.not_before is not None and now < op.terms.not_before:
            raise WindowClosed(f"it may start from {format_time(op.terms.not_before)} on")
        uses = next_uses(self._world.store, self._world.clock, op, now)
        try:
            ticket = self._ticket(answer, uses)
        except ApprovalsMissing as missing:
            # Revoked or expired since: people are asked again.
            words = f"approvals were revoked or ran out: {missing.message}"
            record_decision(session, self._asked, replace(answer, terms=op.terms, reason=words))
            return
        session.take(ticket)
        session.attached.claims.append(Claim(space="ticket", key=str(op.sealed_plan.digest)))
        session.attached.claims.extend(claims(uses))
        session.attached.locks.extend(
            Lock(target=name, exclusive=True) for name in changed_targets(op.the_plan)
        )

    def _ticket(self, answer: Answer, uses: tuple[BudgetUse, ...]) -> Ticket:
        session, op, authority = self._session, self._session.op, self._world.authority
        head = op.sealed_head
        asked = op.terms.verdict is Verdict.APPROVAL_REQUIRED  # Otherwise nobody's key or group matters.
        return mint_ticket(
            Case(
                intent=op.sealed_intent,
                plan=op.sealed_plan,
                decision=op.sealed_decision,
                answer=answer,
                preview=_shown(op),
                approvals=[sealed for sealed in op.approvals if self._used_here(sealed)],
                enrolments=authority.enrolments() if asked else (),
                groups=authority.policy(op.the_plan.profile).groups() if asked else {},
                uses=uses,
                instance=authority.trust_records() if asked else (),
            ),
            Place(n=op.count, prev=head.digest, at=session.now(), by=ENGINE),
            valid_for=TICKET_VALID_MAX,
        )

    def _used_here(self, sealed: Sealed) -> bool:
        """Return whether `sealed` is no use of a standing approval, or one that this operation claimed."""
        record = sealed.record
        if not isinstance(record, Approval) or record.use is None:
            return True
        return self._world.store.claimed(standing_use(record.statement.nonce, record.use)) == self._session.id

    async def _ask(self, gate: GateName, make: Make | None = None) -> Answer:
        op, policy = self._session.op, self._world.authority.policy(self._session.op.the_plan.profile)
        step, call = (make.step.id, requested(make.call)) if make is not None else (None, None)
        request = replace(
            op.the_decision.request, gate=gate, step=step, call=call, now=self._session.judged_now()
        )
        self._asked = counted(policy, self._world.store, op.id, request)
        schedule = self._world.contents.schedule(op.the_plan.environment) if is_held(request) else None
        answer = ask(policy, self._asked, op.the_plan, schedule)
        return await consult(self._world.opinions, answer, self._asked)

    def require_approved(self, make: Make) -> None:
        """Return only if people approved the call, where its step asks that; raises as `Driver` does.

        What runs out before the permit of the call could counts no more.
        """
        op = self._session.op
        if make.phase is Phase.DO and step_terms(op.terms_in_force, make.step).approvals:
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
            answer = await self._ask(GateName.CALL, make)
            stricter = tighter(at_call(self._session.op.terms_in_force, make.step.id), answer.terms)
            if stricter is not None:
                record_decision(self._session, self._asked, answer)
                self._caller.decline(make.step.id, Failure.POLICY_DENIED, stricter_in_words(stricter, answer))
                return
            packs = tuple(pack.digest for pack in answer.packs)
            self.require_approved(make)  # Again: all of that took time.
        output = await self._caller.call(make, packs, observed)
        if output is not None:
            self._outputs[make.step.id] = output

    # --- what needs no call ---

    def _derive(self, effect: Derive) -> None:
        step = effect.step
        inputs = {name: self._output(name) for name in step.needs}
        # Calls that were only shown put nothing out, so there is nothing to conclude from.
        shown = any(output.ended is Ended.PREVIEWED for output in inputs.values())
        facts = {} if shown else self._normalize(step.normalizer, inputs)
        ended = Ended.PREVIEWED if shown else Ended.OK
        self._session.add(
            Outcome, step=step.id, attempt=None, ended=ended, duration_ms=0, facts=facts or None
        )

    def _output(self, step: str) -> StepOutput:
        """Return what `step` put out, from memory or, after a restart, from the kept blobs."""
        if step not in self._outputs:
            self._outputs[step] = stored_output(self._session.op, self._world.store, step)
        return self._outputs[step]

    def _normalize(self, name: str, inputs: Mapping[str, StepOutput]) -> Mapping[str, Json]:
        return run_normalizer(self._profile().normalizers[name], inputs)

    def _profile(self) -> Profile:
        return self._world.contents.profile(self._session.op.the_plan.profile)

    def _validate(self) -> None:
        verdict, rules, facts = validate(self._session.op, self._profile())
        self._session.add(Validation, verdict=verdict, rules=rules, facts=facts)


def _changes(op: Operation) -> bool:
    return op.the_intent.mode not in READ_MODES and bool(changed_targets(op.the_plan))


def _shown(op: Operation) -> Digest:
    """Return the digest of what approvers saw; where nobody is asked, nothing is compared with it."""
    if op.terms.verdict is not Verdict.APPROVAL_REQUIRED:
        return op.sealed_plan.digest
    return preview_digest(preview(op.sealed_intent, op.sealed_plan))
