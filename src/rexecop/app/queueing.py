"""The queue of one root: who waits to start or to go on, as it stands on the board, and what for now."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rexecop.engines.errors import NotWaiting
from rexecop.engines.runner import is_driven
from rexecop.operations.errors import IllegalMove
from rexecop.operations.fold import Operation
from rexecop.operations.machine import Event, allows
from rexecop.operations.next import acts
from rexecop.operations.ports import Clock, Lease, Ledger
from rexecop.operations.queue import House, Priority, Verdict, Waiting, is_free, judge, locks_of, turn_for
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.times import format_time, parse_time
from rexecop.proof.vocabulary import READ_MODES, State

if TYPE_CHECKING:
    from rexecop.engines.world import World

QUEUE: Final = "queue"
DRAIN: Final = "drain"
AGAIN: Final = timedelta(seconds=2)  # Until what cannot start now, nobody knows for how long, is tried again.
WAITS: Final = (State.APPROVED, State.WAITING_FOR_APPROVAL)
BEGUN: Final = (State.RUNNING, State.RESUMING, State.RETRYING, State.UNDOING)
FEW: Final = 8  # So many rows are read one by one.
AGAIN_MAX: Final = timedelta(minutes=5)


def in_words(verdict: Verdict) -> str:
    """Return where an operation stands in the queue, and what it waits for."""
    one = verdict.waiting
    found = f"it is number {verdict.place} in the queue, with {one.priority} priority, since "
    return (
        f"{found}{format_time(one.since)}: {verdict.words or 'it may start now; `rexecop worker run` does'}"
    )


class Board:
    """The queue as it stands in `ledger`, of which so many run at one time; `runner` is who looks."""

    def __init__(self, ledger: Ledger, clock: Clock, capacity: int | None, runner: str = "") -> None:
        self._ledger = ledger
        self._clock = clock
        self._capacity = capacity
        self._runner = runner

    def waiting(self) -> dict[str, Waiting]:
        """Return everything that waits, by operation; what cannot be read on the board is nothing."""
        found: dict[str, Waiting] = {}
        for name, body in self._ledger.posted(QUEUE):
            with suppress(ProofError):
                found[name] = decode(Waiting, body)
        return found

    def judged(self, also: Waiting | None = None) -> tuple[Verdict, ...]:
        """Return for everything that waits, and for `also`, in order, what it waits for."""
        store, now = self._ledger, self._clock.now()
        queue = self.waiting() | ({also.operation: also} if also is not None else {})
        states = self._states(queue)
        if also is not None and states.get(also.operation) not in WAITS:
            states[also.operation] = State.RESUMING  # What is to go on may not be stored yet.
        running = {
            row.operation: row.environment if row.mode not in READ_MODES else None
            for _, row, lease in store.under_way()
            if self.is_driven(lease)
        }
        # What goes on already, or is over, `tidy` takes down.
        queue = {
            name: one
            for name, one in queue.items()
            if states.get(name) in (*WAITS, *BEGUN) and name not in running
        }
        house = House(
            running=running,
            begun=[name for name in queue if states[name] in BEGUN],
            held=store.locks(),
            unapproved=[name for name in queue if states[name] == State.WAITING_FOR_APPROVAL],
            capacity=self._capacity,
            drained=self.drained(),
            now=now,
            name=lambda operation: str(store.number(operation)),
        )
        return judge(queue.values(), house)

    def _states(self, operations: Iterable[str]) -> dict[str, str]:
        """Return the state of each operation; one whose row is damaged keeps no other from anything."""
        names, store = set(operations), self._ledger
        found: dict[str, str] = {}
        if len(names) > FEW:
            # One by one they take a journey to the server each; most stand among the newest that may wait.
            with suppress(RexecopError):
                for state in WAITS:
                    rows = store.rows(state=state, limit=2 * len(names))
                    found |= {row.operation: row.state for _, row in rows}
        for name in names - found.keys():
            with suppress(RexecopError):
                found[name] = store.row(name)[1].state
        return {name: found[name] for name in names & found.keys()}

    def verdict(self, operation: str) -> Verdict | None:
        """Return what `operation` waits for, None where it does not stand in the queue."""
        return next((one for one in self.judged() if one.waiting.operation == operation), None)

    def drained(self) -> str | None:
        """Return in words who ordered that nothing more is started, or None."""
        return next((body.decode() for _, body in self._ledger.posted(DRAIN)), None)

    def is_driven(self, lease: Lease | None) -> bool:
        """Return whether who holds `lease` may still act."""
        now = self._clock.now()
        own = lease is not None and lease.runner == self._runner and lease.expires > now
        return own or is_driven(lease, self._ledger, now)


class Queue(Board):
    """The queue of one instance, and what changes it."""

    def __init__(self, world: World) -> None:
        super().__init__(world.store, world.clock, world.capacity, world.runner)
        self._world = world

    def hindrance(self, op: Operation, priority: Priority | None) -> Verdict | None:
        """Return what keeps `op` from going on now, seen from here; the store has the last word."""
        if not self._world.store.posted(QUEUE) and not self._world.store.posted(DRAIN):
            return None
        self.tidy()
        # Somebody asks for it now: when it would be tried again is no reason not to.
        mine = replace(self._entry(op, priority), wake=None)
        found = next((one for one in self.judged(mine) if one.waiting.operation == op.id), None)
        # It does not stand there where somebody else drives it meanwhile: then the store says so.
        return found if found is not None and found.cause is not None else None

    def enter(
        self, op: Operation, priority: Priority | None = None, *, reason: str | None = None, until: str = ""
    ) -> None:
        """Let `op` be started, or go on, when it may; it keeps a turn that it has.

        With `reason` it was tried and could not be, and is not tried again before `until`.

        Raises:
            IllegalMove: it cannot be started (any more).
        """
        if op.state not in WAITS and not acts(op):
            raise IllegalMove(state=op.state, event="queued", allowed=("approved", "waiting_for_approval"))
        one = self._entry(op, priority)
        if reason is not None:
            later = self._world.clock.now() + min(AGAIN * 2 ** min(one.tries, 10), AGAIN_MAX)
            wake = parse_time(until) if until else later
            one = replace(one, reason=reason, wake=wake, tries=0 if until else one.tries + 1)
        self._world.store.post(QUEUE, op.id, encode(one))

    def leave(self, op: Operation) -> None:
        """Let `op` wait no more: nobody starts it any more by itself.

        Raises:
            NotWaiting: it does not wait to be started; what has begun goes on until it is paused.
        """
        if op.state not in WAITS or op.id not in self.waiting():
            raise NotWaiting(
                f"operation `{op.id}` is `{op.state}` and does not wait in the queue to be started",
                state=str(op.state),
                next_steps=(f"rexecop {'pause' if allows(op.state, Event.PAUSED) else 'why'} {op.id}",),
            )
        self._world.store.post(QUEUE, op.id, None)

    def _entry(self, op: Operation, priority: Priority | None) -> Waiting:
        queue, now, intent = self.waiting(), self._world.clock.now(), op.the_intent
        known, locks = queue.pop(op.id, None), locks_of(op)
        wanted = priority or (known.priority if known is not None else Priority.NORMAL)
        if known is not None and known.priority is wanted:
            return known
        changes = intent.mode not in READ_MODES
        return Waiting(
            operation=op.id,
            requester=intent.by.person,
            environment=intent.environment.id,
            limit=self._world.contents.concurrent_max(op.the_plan.environment) if changes else None,
            exclusive=tuple(lock.target for lock in locks if lock.exclusive),
            shared=tuple(lock.target for lock in locks if not lock.exclusive),
            priority=wanted,
            since=now if known is None else known.since,
            turn=turn_for(queue.values(), intent.by.person, wanted, now if known is None else known.since),
            free=is_free(op),
        )

    # --- drain, and who is gone ---

    def drain(self, by: str | None) -> None:
        """Start nothing more, by order of `by`; what runs goes on. None lifts that."""
        words = f"drained by {by} at {format_time(self._world.clock.now())}, until `rexecop queue --resume`"
        self._world.store.post(DRAIN, DRAIN, None if by is None else words.encode())

    def tidy(self) -> bool:
        """Take down what waits no more, and give back the leases, which take room, of runners that are gone.

        Return whether there were any of these.
        """
        store, now, freed = self._world.store, self._world.clock.now(), False
        rows = store.under_way()
        driven = {row.operation for _, row, lease in rows if self.is_driven(lease)}
        for name, state in self._states(self.waiting()).items():
            if state not in (*WAITS, *BEGUN) or name in driven:
                store.post(QUEUE, name, None)
        for _, _, lease in rows:
            if lease is not None and lease.expires > now and not self.is_driven(lease):
                store.release(lease)
                freed = True
        return freed
