"""One operation in hand: its fold, the records not yet flushed, and what goes with them.

Records are applied to the fold as they are made and become durable together at
`flush`. Nothing may be sent to a lane before the flush that holds its attempt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import datetime

from rexecop.engines.errors import ClockSteppedBack, JournalDamaged
from rexecop.operations.errors import AppendConflict, LeaseHeld
from rexecop.operations.fold import Operation, fold
from rexecop.operations.index import row_of
from rexecop.operations.ports import (
    Batch,
    Blob,
    Claim,
    Clock,
    Lease,
    Lock,
    Note,
    PinnedInput,
    Signature,
    Slot,
    Store,
    TargetHead,
)
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed, check_chain, seal
from rexecop.proof.errors import ChainBroken
from rexecop.proof.principal import ENGINE, Principal
from rexecop.proof.records.base import Record
from rexecop.proof.records.outcome import Outcome


@dataclass(slots=True)
class _Attached:
    """What is written in the transaction of the pending records."""

    blobs: list[Blob] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    signatures: list[Signature] = field(default_factory=list)
    inputs: list[PinnedInput] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    heads: list[TargetHead] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    after_change: int | None = None
    beside: tuple[str, int] | None = None

    def join(self, later: _Attached) -> None:
        """Take in what was attached later; where others must not have written since, the first stands."""
        for name in ("blobs", "claims", "signatures", "inputs", "locks", "heads", "notes"):
            getattr(self, name).extend(getattr(later, name))
        self.after_change = later.after_change if self.after_change is None else self.after_change
        self.beside = self.beside or later.beside


class Session:
    """An operation being planned, commanded or driven by this process.

    Several tasks may add records; they become durable in the order they were added in. `looking`
    is held by whichever of them reads again what its call rests on.
    """

    def __init__(self, store: Store, clock: Clock, operation: str, op: Operation | None = None) -> None:
        """Hold `operation`; `op` is its fold when the caller has it, else it is new."""
        self.store = store
        self.clock = clock
        self.id = operation
        self.op = op or Operation(id=operation)
        self.lease: Lease | None = None
        self._new_lease: Lease | None = None
        self._slots: tuple[Slot, ...] = ()
        self._locks: tuple[Lock, ...] = ()
        self.pending: list[Sealed] = []
        self.attached = _Attached()
        self.looking = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._dropped: set[Digest] = set()
        self._heads: dict[str, TargetHead] = {}

    @classmethod
    def load(cls, store: Store, clock: Clock, operation: str) -> Session:
        """Return the session of a stored operation, folded from its records.

        Raises:
            OperationUnknown: there is none. IllegalMove: its records contradict the lifecycle.
            JournalDamaged: one of its records cannot be read.
        """
        return cls(store, clock, operation, _folded(store, operation))

    @property
    def stored(self) -> bool:
        """Whether any of the operation's records is stored already."""
        return self.op.count > len(self.pending)

    def now(self) -> datetime:
        """Return the time a new record gets: the clock's, never before the newest record.

        Raises:
            ClockSteppedBack: the clock is more than the tolerance before the newest record.
        """
        now, newest = self.clock.now(), self.op.newest
        if newest is not None and now < newest - CLOCK_TOLERANCE:
            raise ClockSteppedBack(now=now, newest=newest)
        return now if newest is None else max(now, newest)

    def judged_now(self) -> datetime:
        """Return the moment expiry is judged by: the later of the clock and the newest record."""
        return self.now()

    def _observed_now(self) -> datetime:
        """Return the time of something that was observed: no clock may make us forget it."""
        now, newest = self.clock.now(), self.op.newest
        return now if newest is None else max(now, newest)

    def add(
        self,
        kind: Callable[..., Record],
        by: Principal = ENGINE,
        at: datetime | None = None,
        **fields: object,
    ) -> Sealed:
        """Make the next record, of class `kind`, apply it, and hold it for the next flush.

        `at` is the moment it was judged by, where that is not now: a process may stand still in between.

        Raises:
            IllegalMove: the record cannot follow; nothing was held.
        """
        head, newest = self.op.head, self.op.newest
        if at is None:
            at = self._observed_now() if kind is Outcome else self.now()
        return self.take(
            kind(
                operation=self.id,
                n=self.op.count,
                prev=head.digest if head is not None else None,
                at=at if newest is None else max(at, newest),
                by=by,
                **fields,
            )
        )

    def take(self, record: Record) -> Sealed:
        """Apply and hold a record that was made for the next place.

        Raises:
            IllegalMove: the record cannot follow; nothing was held.
        """
        sealed = seal(record)
        self.op.apply(sealed)
        self.pending.append(sealed)
        self._dropped.discard(sealed.digest)
        return sealed

    def has_dropped(self, sealed: Sealed) -> bool:
        """Return whether a record that was held here went because it could not be stored."""
        return sealed.digest in self._dropped

    def number_change(self, target: str) -> tuple[int, Digest | None]:
        """Return the number of the next change on `target`, and the change before it."""
        stored, held = self.store.target_head(target), self._heads.get(target)
        last = held if held is not None and (stored is None or stored.n < held.n) else stored
        return (1, None) if last is None else (last.n + 1, last.attempt)

    def head_at(self, head: TargetHead) -> None:
        """Hold the last change on a target for the next flush."""
        self._heads[head.target] = head
        self.attached.heads.append(head)

    def stand_beside(self, chain: str, records: int) -> None:
        """Let the next flush fail where `chain` has more than `records` then; the fewest said counts."""
        held = self.attached.beside
        self.attached.beside = (chain, records if held is None else min(records, held[1]))

    def hold(self, lease: Lease, slots: tuple[Slot, ...] = (), locks: tuple[Lock, ...] = ()) -> None:
        """Take `lease`, and `slots` and `locks` with it, with the next flush."""
        self._new_lease, self._slots, self._locks = lease, slots, locks

    @property
    def fence(self) -> int:
        """The fence of the lease held, or of the one the next flush takes; 0 without one."""
        lease = self._new_lease or self.lease
        return lease.fence if lease is not None else 0

    async def flush(self, *, release: bool = False) -> None:
        """Make everything pending durable.

        Raises:
            AppendConflict: somebody else appended; `reload` and ask again what is next.
            LockHeld, ClaimTaken, LeaseHeld, StoreUnavailable, StoreUncertain: nothing is held any more.
        """
        async with self._flushing:
            if not self.pending:
                return
            batch, attached = self._batch(release), self.attached
            self.attached = _Attached()
            try:
                await _whole(self.store.append(batch))
            except BaseException:
                attached.join(self.attached)
                self.attached = attached
                raise
            if batch.lease is not None:
                self.lease, self._new_lease = batch.lease, None
            if release:
                self.lease = None
            del self.pending[: len(batch.records)]

    def _batch(self, release: bool) -> Batch:
        """Return everything pending as one batch."""
        return Batch(
            operation=self.id,
            expected=self.op.count - len(self.pending),
            records=tuple(self.pending),
            row=row_of(self.op) if self.op.intent is not None else None,
            fence=self.lease.fence if self.lease is not None and self._new_lease is None else None,
            blobs=tuple(self.attached.blobs),
            claims=tuple(self.attached.claims),
            signatures=tuple(self.attached.signatures),
            inputs=tuple(self.attached.inputs),
            locks=(*(self._locks if self._new_lease is not None else ()), *self.attached.locks),
            heads=tuple(self.attached.heads),
            lease=self._new_lease,
            slots=self._slots if self._new_lease is not None else (),
            release=release,
            after_change=self.attached.after_change,
            beside=self.attached.beside,
            notes=tuple(self.attached.notes),
        )

    def reload(self) -> None:
        """Fold the stored records again; nothing pending survives but observed outcomes.

        An outcome was seen and must not be lost because somebody else wrote first, so
        it is placed anew behind what they wrote.
        """
        observed = [sealed.record for sealed in self.pending if isinstance(sealed.record, Outcome)]
        blobs = self.attached.blobs
        self._dropped.update(sealed.digest for sealed in self.pending)
        self.pending, self.attached, self._heads = [], _Attached(), {}
        self.op = _folded(self.store, self.id)
        for record in observed:
            if record.attempt is None or record.attempt not in self.op.in_flight:
                continue
            head = self.op.head
            sealed = seal(
                replace(record, n=self.op.count, prev=head.digest if head else None, at=self._observed_now())
            )
            self.op.apply(sealed)
            self.pending.append(sealed)
            self.attached.blobs = blobs

    async def flush_or_reload(self, *, release: bool = False) -> bool:
        """Flush; on a conflict fold again and return False: what is next may be something else.

        It is False too where another task met the conflict, and what was pending here went with it.

        Raises:
            As `flush`. LeaseHeld: the lease held was lost, so nothing more of this runner will be taken.
        """
        newest = self.pending[-1].digest if self.pending else None
        try:
            await self.flush(release=release)
        except AppendConflict as conflict:
            self._require_lease(conflict)
            self.reload()
            return False
        return newest not in self._dropped

    def drop_lease(self) -> None:
        """Forget a lease that was to be taken and was not."""
        self._new_lease = None

    def _require_lease(self, conflict: AppendConflict) -> None:
        held = self.lease
        if held is None or self._new_lease is not None:
            return
        stored = self.store.lease(self.id)
        if stored is None or (stored.runner, stored.fence) != (held.runner, held.fence) or stored.is_released:
            self.lease = None
            raise LeaseHeld(f"operation `{self.id}` is driven by another runner") from conflict


async def _whole(append: Coroutine[object, object, object]) -> None:
    """Wait for `append` to its end: who is told to stop must not leave a write behind that still lands."""
    writing = asyncio.ensure_future(append)
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.gather(writing, return_exceptions=True)
        raise


def _folded(store: Store, operation: str) -> Operation:
    """Return the operation as all of its records describe it.

    Raises:
        JournalDamaged: one of them cannot be read, or does not follow the one before it, so what is
            next cannot be known.
    """
    journal = store.journal(operation)
    help_ = (f"rexecop history {operation}", "rexecop doctor")
    if journal.damaged:
        bad = journal.damaged[0]
        words = f"record {bad.n} of operation `{operation}` cannot be read: {bad.reason}"
        raise JournalDamaged(words, n=bad.n, next_steps=help_)
    try:
        check_chain(journal.records)
    except ChainBroken as error:
        # Each is what was logged, or made to look so; together they are not what happened.
        raise JournalDamaged(f"the records do not verify: {error.message}", next_steps=help_) from error
    return fold(journal.records)
