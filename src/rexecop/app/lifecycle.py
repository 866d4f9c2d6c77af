"""What people may tell an operation, each a `command` record; the fold decides whether it may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecop.app.drifting import Drift
from rexecop.app.queueing import Queue
from rexecop.engines.driver import Driven, Driver
from rexecop.engines.errors import NothingToSettle, RunnerBusy, TooEarly
from rexecop.engines.runner import is_driven
from rexecop.engines.session import Session
from rexecop.engines.telling import conclude
from rexecop.engines.world import World
from rexecop.operations.course import Progress
from rexecop.operations.errors import AppendConflict
from rexecop.operations.fold import Operation
from rexecop.operations.next import acts, probe_of
from rexecop.operations.queue import Priority, is_free
from rexecop.operations.recover import harmless, settle_after
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.course import fact_in
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Ended, Phase, State

KEPT_MAX: Final = 256  # Operations between two commands on them, a few kilobytes each.
KEPT_RECORDS_MAX: Final = 64


@dataclass(slots=True)
class _Order:
    """What somebody orders: recorded by `make`, if that finds anything to record, and never lost unsaid."""

    session: Session
    make: Callable[[], Sealed | None]
    given: Sealed | None = None

    def give(self) -> None:
        """Record it, for the next append. Raises IllegalMove: the operation does not allow it."""
        self.given = self.make()

    def give_again(self) -> bool:
        """Record it anew where it could not be stored; return whether it had to be."""
        lost = self.given is not None and self.session.has_dropped(self.given)
        if lost:
            self.give()
        return lost


class Lifecycle:
    """Commands on the operations of one instance."""

    def __init__(
        self,
        world: World,
        driver: Driver,
        margin: timedelta,
        drift: Drift | None = None,
    ) -> None:
        """Begin; with `drift` nothing is started whose files would make another plan now."""
        self._world = world
        self._driver = driver
        self._margin = margin
        self._drift = drift
        self.queue = Queue(world)
        self._kept: dict[str, Operation] = {}

    def session(self, operation: str) -> Session:
        """Return the session of a stored operation; nobody else has its fold in hand."""
        kept, store, clock = self.known(operation), self._world.store, self._world.clock
        self._kept.pop(operation, None)
        return (
            Session.load(store, clock, operation) if kept is None else Session(store, clock, operation, kept)
        )

    def keep(self, session: Session) -> None:
        """Remember how far the operation of `session`, which its owner is done with, got."""
        if len(self._kept) >= KEPT_MAX:
            self._kept.clear()
        if not session.pending and session.op.count <= KEPT_RECORDS_MAX:
            self._kept[session.id] = session.op

    def known(self, operation: str) -> Operation | None:
        """Return the fold of `operation` to look at before anything is awaited, if it is kept.

        A chain only grows: with as many records as were folded it is what was folded.
        """
        kept = self._kept.get(operation)
        return kept if kept is not None and kept.count == self._world.store.records_of(operation) else None

    def alive(self, operation: str) -> bool:
        """Return whether a runner that may still act holds the operation."""
        store, now = self._world.store, self._world.clock.now()
        return is_driven(store.lease(operation), store, now)

    @property
    def driver(self) -> Driver:
        """Who drives."""
        return self._driver

    async def start(
        self,
        operation: str,
        priority: Priority | None = None,
        *,
        judged: bool = False,
        goes_on: bool = False,
    ) -> Driven:
        """Drive an operation as far as it goes, or let it wait in the queue; a lost attempt is noted first.

        With `judged` the queue said just now that it may start; only a drain is looked for again. With
        `goes_on` one that somebody else began meanwhile, and died, goes on where only reads were lost.
        One that was stopped for the approvals of a step goes on where they are given.

        Raises:
            ApprovalDenied, ApprovalsMissing: they are not.
            PlanDrifted, CatalogDrifted: what it was planned from is another now.
        """
        session = self.session(operation)
        await self._note_lost(session, goes_on=goes_on)
        if self._drift is not None and session.op.ticket is None:
            session.attached.notes.extend(self._drift.require_unchanged(session.op))

        def resume() -> Sealed | None:
            awaited = session.op.awaited
            if session.op.state is not State.PAUSED or session.op.paused_by != ENGINE or not awaited:
                return None
            self._driver.require_free(session)
            self._driver.require_approved(session)
            return session.add(Command, verb=Verb.RESUME, reason=f"step `{awaited.id}` was approved")

        judged = judged and self.queue.drained() is None
        return await self._when_room(session, _Order(session, resume), priority, judged=judged)

    async def _when_room(
        self,
        session: Session,
        order: _Order,
        priority: Priority | None = None,
        *,
        judged: bool = False,
        detach: bool = False,
    ) -> Driven:
        """Do what `order` records, and drive on if there is room now; else it stands, and waits in the queue.

        What is pending is durable then. With `detach` whoever works on the root drives.
        """
        order.give()
        if not acts(session.op):
            return await self._driven(session, order)
        passes = judged or is_free(session.op)
        found = None if passes else self.queue.hindrance(session.op, priority)
        words, reason, until = found.words if found is not None else "a worker", None, ""
        if found is None and not detach:
            driven = await self._driven(session, order)
            if driven.queued is not None and self.queue.tidy():
                order.give_again()
                driven = await self._driven(session, order)
            if driven.queued is None:
                return driven
            order.give_again()  # It went with the append that found no room.
            words, until = driven.queued, driven.until or ""
            if not acts(session.op):
                return driven
            # Room and locks are seen by everybody; what else keeps it from starting is found by trying.
            reason = words if session.op.state is State.APPROVED else None
        await self._stored(session, order)
        self.queue.enter(session.op, priority, reason=reason, until=until)
        return Driven(session=session, queued=words, until=until or None)

    async def _driven(self, session: Session, order: _Order) -> Driven:
        """Drive on with what is ordered, which is given anew where somebody else wrote first."""
        driven = await self._driver.drive(session)
        while driven.queued is None and order.give_again():
            driven = await self._driver.drive(session)
        return driven

    async def _stored(self, session: Session, order: _Order) -> None:
        """Make what is ordered durable, given anew where somebody else writes first."""
        while True:
            try:
                return await session.flush()
            except AppendConflict:
                session.reload()
                order.give_again()

    async def take_over(self, operation: str) -> Driven:
        """Go on with an operation that nobody drives any more, as far as no person has to be asked.

        What was lost is settled by its probe, or because doing it again changes nothing more.

        Raises:
            TooEarly: something of it may still be running.
            NothingToSettle: a person must say what happened.
        """
        session = self.session(operation)
        self._require_quiet(session)
        await self._note_lost(session, goes_on=True)
        for digest, progress in list(session.op.unknown.items()):
            step = progress.step
            again = isinstance(step, CallStep) and step.idempotent and progress.phase is Phase.DO
            if probe_of(session.op, progress) is None and again:
                words = "nobody knows; it is taken as not done, because doing it again changes nothing more"
                session.add(Reconciliation, ENGINE, attempt=digest, happened=False, reason=words)
            else:
                await self._by_probe(session, digest, progress)
        self._go_on(session)
        await session.flush()  # What was found out stands, whether there is room or not.
        return await self._when_room(session, _Order(session, lambda: None))

    def _go_on(self, session: Session) -> None:
        """Resume what paused only because something was lost, and that is settled now."""
        op = session.op
        if op.state is State.PAUSED and not (op.unknown or op.pause_asked or op.cancel_asked):
            session.add(Command, verb=Verb.RESUME, reason="what was lost is settled")

    async def command(
        self, operation: str, verb: Verb, by: Principal, reason: str | None, *, detach: bool = False
    ) -> Driven:
        """Record `verb`; then drive on where it leads to work, or let that wait for room in the queue.

        With `detach` whoever works on the root drives. Undoing goes before all else that waits: something
        is wrong, and everybody looks at it.

        Raises:
            IllegalMove: the operation's state does not allow it; nothing was recorded.
            Halted: it would go on to act, and is halted; nothing was recorded.
            ApprovalDenied, ApprovalsMissing: the step it would go on with needs approvals; likewise.
        """
        session = self.session(operation)
        if verb is not Verb.CANCEL and verb is not Verb.PAUSE:
            await self._note_lost(session)
        if session.op.receipt_due:
            await conclude(session, self._world.signer, self._world.notices)
        if verb in (Verb.RESUME, Verb.RETRY, Verb.UNDO):
            self._driver.require_free(session)
        if verb is Verb.RESUME:
            self._driver.require_approved(session)

        order = _Order(session, lambda: session.add(Command, by, verb=verb, reason=reason))
        if self.alive(operation):
            order.give()
            await self._stored(session, order)
            return Driven(session=session)
        priority = Priority.HIGH if verb is Verb.UNDO else None
        try:
            return await self._when_room(session, order, priority, detach=detach)
        except RunnerBusy:
            if verb is not Verb.CANCEL and verb is not Verb.PAUSE:
                raise
            await self._stored(session, order)  # Whoever drives it since just now hears of it.
            return Driven(session=session)

    async def reconcile(
        self,
        operation: str,
        by: Principal,
        *,
        probe: bool,
        happened: bool | None,
        reason: str | None,
        step: str | None = None,
    ) -> Driven:
        """Settle every unknown attempt, or that of `step`, by its probe or on the word of `by`.

        Raises:
            NothingToSettle: none is unknown, one has no probe and no statement was given, or one
                statement would be about several.
            TooEarly: what was lost may still be running.
        """
        session = self.session(operation)
        await self._note_lost(session)
        if not session.op.unknown:
            state = session.op.state
            raise NothingToSettle(
                f"operation `{operation}` is `{state}`, not `{State.INDETERMINATE}`: no outcome is unknown",
                state=str(state),
                next_steps=(f"rexecop status {operation}",),
            )
        self._require_quiet(session)
        if not probe and happened is None:
            raise NothingToSettle("say what happened, or let the probe look")
        lost = {
            digest: progress
            for digest, progress in session.op.unknown.items()
            if step in (None, progress.step.id)
        }
        if not lost or (not probe and len(lost) > 1):
            names = [item.step.id for item in session.op.unknown.values()]
            raise NothingToSettle(
                f"say of which step: {', '.join(f'`{name}`' for name in names[:16])}",
                next_steps=tuple(
                    f"rexecop reconcile {operation} --step {name} --probe" for name in names[:4]
                ),
            )
        for digest, progress in lost.items():
            if probe:
                await self._by_probe(session, digest, progress)
            elif happened is not None:
                session.add(
                    Reconciliation,
                    by,
                    attempt=digest,
                    happened=happened,
                    reason=reason or "stated without a reason",
                )
        await session.flush()
        return await self._driver.drive(session) if session.op.receipt_due else Driven(session=session)

    def _require_quiet(self, session: Session) -> None:
        moment = settle_after(session.op, self._margin)
        if moment is not None and self._world.clock.now() < moment:
            raise TooEarly(
                f"what was lost may still be running until `{format_time(moment)}`",
                until=format_time(moment),
                next_steps=(f"rexecop reconcile {session.id} --probe",),
            )

    async def _by_probe(self, session: Session, attempt: Digest, progress: Progress) -> None:
        make = probe_of(session.op, progress)
        step = progress.step
        if make is None or not isinstance(step, CallStep) or step.probe is None:
            raise NothingToSettle(
                f"step `{step.id}` has no probe; somebody must look and say what happened",
                step=step.id,
                next_steps=(f"rexecop reconcile {session.id} --outcome happened --reason TEXT",),
            )
        sealed = await self._driver.probe(session, make)
        outcome = sealed.record
        if not isinstance(outcome, Outcome) or outcome.ended is not Ended.OK:
            raise NothingToSettle(f"the probe of step `{step.id}` did not answer", step=step.id)
        found = fact_in(outcome.facts, step.probe.fact)
        # A probe looks for the effect of the work; undoing happened where that is gone.
        stands = found == step.probe.equals
        session.add(
            Reconciliation,
            ENGINE,
            attempt=attempt,
            happened=not stands if progress.phase is Phase.UNDO else stands,
            reason=f"the probe saw `{step.probe.fact}` {found!r}, the change makes it {step.probe.equals!r}",
            probe=sealed.digest,
        )

    async def _note_lost(self, session: Session, *, goes_on: bool = False) -> None:
        """Write down that attempts of a dead runner have no outcome; reads settle themselves.

        With `goes_on` the work is resumed where only reads were lost.
        """
        if not session.op.in_flight or self.alive(session.id):
            return
        lost = list(session.op.in_flight.items())
        for digest, progress in lost:
            session.add(
                Outcome,
                step=progress.step.id,
                attempt=digest,
                ended=Ended.UNKNOWN,
                duration_ms=0,
                error_class="unknown_outcome",
                message="the runner ended before an answer came",
            )
        for digest, progress in lost:
            if harmless(progress) and digest in session.op.unknown:
                session.add(
                    Reconciliation, ENGINE, attempt=digest, happened=False, reason="a read changes nothing"
                )
        if goes_on:
            self._go_on(session)
        await session.flush()
