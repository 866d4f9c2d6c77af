"""The queue of one root: who waits to be started, as it stands on the board, and what that comes to now."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rexecop.engines.runner import is_alive
from rexecop.engines.world import World
from rexecop.operations.errors import IllegalMove
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Lease
from rexecop.operations.queue import House, Priority, Verdict, Waiting, judge, locks_of, turn_for
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.times import format_time, parse_time
from rexecop.proof.vocabulary import READ_MODES, State

QUEUE: Final = "queue"
DRAIN: Final = "drain"
AGAIN: Final = timedelta(seconds=2)  # Until what cannot start now, nobody knows for how long, is tried again.
WAITS: Final = (State.APPROVED, State.WAITING_FOR_APPROVAL)
FEW: Final = 8  # So many rows are read one by one.
AGAIN_MAX: Final = timedelta(minutes=5)


def in_words(verdict: Verdict) -> str:
    """Return where an operation stands in the queue, and what it waits for."""
    one = verdict.waiting
    found = f"it is number {verdict.place} in the queue, with {one.priority} priority, since "
    return (
        f"{found}{format_time(one.since)}: {verdict.words or 'it may start now; `rexecop worker run` does'}"
    )


class Queue:
    """The queue of one instance."""

    def __init__(self, world: World) -> None:
        self._world = world

    def waiting(self) -> dict[str, Waiting]:
        """Return everything that waits, by operation; what cannot be read on the board is nothing."""
        found: dict[str, Waiting] = {}
        for name, body in self._world.store.posted(QUEUE):
            with suppress(ProofError):
                found[name] = decode(Waiting, body)
        return found

    def judged(self, also: Waiting | None = None) -> tuple[Verdict, ...]:
        """Return for everything that waits, and for `also`, in order, what it waits for."""
        store, now = self._world.store, self._world.clock.now()
        queue = self.waiting() | ({also.operation: also} if also is not None else {})
        states = self._states(queue)
        # What was started, or is over, `tidy` takes down.
        queue = {name: one for name, one in queue.items() if states.get(name) in WAITS}
        running = {
            row.operation: row.environment if row.mode not in READ_MODES else None
            for _, row, lease in store.under_way()
            if self.is_driven(lease)
        }
        house = House(
            running=running,
            held=store.locks(),
            unapproved=[name for name in queue if states[name] == State.WAITING_FOR_APPROVAL],
            capacity=self._world.capacity,
            drained=self.drained(),
            now=now,
            name=lambda operation: str(store.number(operation)),
        )
        return judge(queue.values(), house)

    def _states(self, operations: Iterable[str]) -> dict[str, str]:
        """Return the state of each operation; one whose row is damaged keeps no other from anything."""
        names, store = set(operations), self._world.store
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

    def hindrance(self, op: Operation, priority: Priority | None) -> Verdict | None:
        """Return what keeps `op` from starting now, seen from here; the store has the last word."""
        if not self._world.store.posted(QUEUE) and not self._world.store.posted(DRAIN):
            return None
        self.tidy()
        # Somebody asks for it now: when it would be tried again is no reason not to.
        mine = replace(self._entry(op, priority), wake=None)
        found = next((one for one in self.judged(mine) if one.waiting.operation == op.id), None)
        # It does not stand there where somebody else started it meanwhile: then the store says so.
        return found if found is not None and found.cause is not None else None

    def enter(
        self, op: Operation, priority: Priority | None = None, *, reason: str | None = None, until: str = ""
    ) -> None:
        """Let `op` be started when it may; it keeps a turn that it has.

        With `reason` it was tried and could not be, and is not tried again before `until`.

        Raises:
            IllegalMove: it cannot be started (any more).
        """
        if op.state not in WAITS:
            raise IllegalMove(state=op.state, event="queued", allowed=("approved", "waiting_for_approval"))
        one = self._entry(op, priority)
        if reason is not None:
            later = self._world.clock.now() + min(AGAIN * 2 ** min(one.tries, 10), AGAIN_MAX)
            wake = parse_time(until) if until else later
            one = replace(one, reason=reason, wake=wake, tries=0 if until else one.tries + 1)
        self._world.store.post(QUEUE, op.id, encode(one))

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
        )

    # --- drain, and who is gone ---

    def drained(self) -> str | None:
        """Return in words who ordered that nothing more is started, or None."""
        return next((body.decode() for _, body in self._world.store.posted(DRAIN)), None)

    def drain(self, by: str | None) -> None:
        """Start nothing more, by order of `by`; what runs goes on. None lifts that."""
        words = f"drained by {by} at {format_time(self._world.clock.now())}, until `rexecop queue --resume`"
        self._world.store.post(DRAIN, DRAIN, None if by is None else words.encode())

    def is_driven(self, lease: Lease | None) -> bool:
        """Return whether who holds `lease` may still act."""
        if lease is None or lease.expires <= self._world.clock.now():
            return False
        return lease.runner == self._world.runner or is_alive(lease.runner)

    def tidy(self) -> bool:
        """Take down what waits no more, and give back the leases, which take room, of runners that are gone.

        Return whether there were any of these.
        """
        store, now, freed = self._world.store, self._world.clock.now(), False
        for name, state in self._states(self.waiting()).items():
            if state not in WAITS:
                store.post(QUEUE, name, None)
        for _, _, lease in store.under_way():
            if lease is not None and lease.expires > now and not self.is_driven(lease):
                store.release(lease)
                freed = True
        return freed
