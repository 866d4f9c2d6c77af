"""Applying batches inside the writer's open transaction: chain, tree, claims, locks, leases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.operations.errors import (
    AppendConflict,
    CapacityFull,
    ClaimTaken,
    LeaseHeld,
    LockHeld,
    StoreError,
)
from rexecop.operations.ports import Appended, Batch, Blob, Claim, Lease, Lock, Note, Slot, TargetHead
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import CLOCK_TOLERANCE, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.times import format_time
from rexecop.store.database import Connection
from rexecop.store.errors import BatchRefused, ClockSteppedBack, StoreDamaged
from rexecop.store.packing import Packed, pack_digest, pack_key, pack_time, unpack_body, unpack_operation
from rexecop.store.prepare import Prepared
from rexecop.store.reading import count_in, last_change_in, lease_in, number_in
from rexecop.store.rows import columns, save_row
from rexecop.store.schema import CHUNK_BYTES, CHUNKS_MAX

TAILS_MAX: Final = 4096  # Operations being driven at one time; beyond it the last record is read again.
RELEASED: Final = 0  # A lease given back expires in 1970; its fence stays, so the next one is higher.

_NEW_ROW: Final = """
INSERT INTO operations(state, intent, profile, environment, target, mode, requester,
  created, updated, records, head, waiting, number, id) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?)
"""


@dataclass(frozen=True, slots=True)
class Tail:
    """Where an operation's chain ends: its number in the index, how many records, the last one."""

    number: int
    count: int
    digest: Digest | None
    at: datetime | None


class Applier(ABC):
    """Applies batches to the ledger behind `connection`, within transactions others open and end.

    From `start` on it sees its own changes; `keep` says that they were committed. The ends of
    chains that it remembers from one transaction to the next never change once written; each is
    used only while the chain still ends there. How a database keeps others out, numbers
    chains and places records in the log is what its own applier adds.
    """

    duplicate: type[Exception]
    """What the database raises for a key that is there already."""
    unfit: type[Exception] = StoreError
    """What it raises for a value that no column holds."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.alone = False
        self._tails: dict[Packed, Tail] = {}
        self._fresh: dict[Packed, Tail] = {}

    def start(self) -> None:
        """Begin anew, right after the transaction began.

        Raises:
            StoreDamaged: nothing can be added to the log.
        """
        self._fresh = {}

    def keep(self) -> None:
        """Remember what the transaction did; it was committed."""
        for key, tail in self._fresh.items():
            self._tails.pop(key, None)
            self._tails[key] = tail
        while len(self._tails) > TAILS_MAX:
            del self._tails[next(iter(self._tails))]
        self._fresh = {}

    def forget(self) -> None:
        """Remember nothing: the database may be another than it was."""
        self._tails, self._fresh = {}, {}

    # --- what each database does in its own way ---

    @abstractmethod
    def hold(self, key: Packed) -> None:
        """Let nobody else write to the chain `key` until the transaction ends."""

    @abstractmethod
    def hold_all(self) -> None:
        """Let nobody else write anything until the transaction ends, all records having their places."""

    @abstractmethod
    def undoing(self) -> Callable[[], None]:
        """Return what takes back all that is remembered from now on of a batch that is refused."""

    @abstractmethod
    def enter(self, prepared: Prepared) -> None:
        """Hold everything that `prepared` compares before it swaps, or raise StoreError."""

    @abstractmethod
    def next_number(self, key: Packed) -> int:
        """Return a number for a new chain: people count operations from 1, other chains lie below 0."""

    @abstractmethod
    def insert(self, number: int, prepared: Prepared) -> int | None:
        """Add the records of `prepared`; return the leaf of the first, None where that comes later.

        Raises:
            AppendConflict: the chain has grown.
        """

    @abstractmethod
    def insert_change(self, number: int, head: TargetHead, n: int, leaf: int | None) -> None:
        """Add the change that record `n` of the chain `number`, at `leaf` once it has one, begins."""

    # --- batches ---

    def append(self, prepared: Prepared) -> Appended:
        """Apply `prepared` under its own savepoint: when this raises, nothing of it is left.

        One that is `alone` in its transaction needs none: that is rolled back.

        Raises:
            AppendConflict, LeaseHeld, ClaimTaken, LockHeld, ClockSteppedBack, BatchRefused, StoreDamaged.
        """
        if self.alone:
            return self._append(prepared)
        tail, undo = self._fresh.get(prepared.key), self.undoing()
        self.connection.execute("SAVEPOINT batch")
        try:
            appended = self._append(prepared)
        except (StoreError, self.unfit):
            self.connection.execute("ROLLBACK TO batch")
            self.connection.execute("RELEASE batch")
            undo()
            self._fresh.pop(prepared.key, None)
            if tail is not None:
                self._fresh[prepared.key] = tail
            raise
        self.connection.execute("RELEASE batch")
        return appended

    def _append(self, prepared: Prepared) -> Appended:
        batch, first = prepared.batch, None
        self.enter(prepared)
        tail = self._tail(prepared.key, batch)
        self._check_follows(tail, batch)
        number = tail.number or self.next_number(prepared.key)
        self._check_fence(number, batch)
        if batch.beside is not None and count_in(self.connection, batch.beside[0]) != batch.beside[1]:
            raise AppendConflict(f"`{batch.beside[0]}` has other records than were read")
        if tail.number == 0:
            stored = (None,) * 12 if batch.row is None else columns(batch.row)
            try:
                self.connection.execute(_NEW_ROW, (*stored, number, prepared.key))
            except self.duplicate as error:
                raise self._grown(prepared) from error
        elif batch.row is not None:
            save_row(self.connection, number, batch.row)
        if batch.records:
            first = self._insert(number, prepared)
            last = batch.records[-1]
            self._fresh[prepared.key] = Tail(
                number, batch.expected + len(batch.records), last.digest, last.record.at
            )
        self._attach(number, batch, first)
        return Appended(first_leaf=first)

    # --- the chain and the tree ---

    def _tail(self, key: Packed, batch: Batch) -> Tail:
        known = self._fresh.get(key) or self._tails.get(key)
        if known is not None and known.count == batch.expected and batch.records:
            return known
        return self._read_tail(key)

    def _read_tail(self, key: Packed) -> Tail:
        number = number_in(self.connection, key)
        if number is None:
            return Tail(0, 0, None, None)
        row = self.connection.execute(
            "SELECT n, body FROM records WHERE op=? ORDER BY n DESC LIMIT 1", (number,)
        ).fetchone()
        if row is None:
            return Tail(number, 0, None, None)
        try:
            last = unseal(unpack_body(row[1]))
        except ProofError as error:
            raise StoreDamaged(
                f"record {row[0]} of `{unpack_operation(key)}` cannot be read, so nothing can follow it"
            ) from error
        return Tail(number, row[0] + 1, last.digest, last.record.at)

    def _check_follows(self, tail: Tail, batch: Batch) -> None:
        operation = batch.operation
        if tail.count != batch.expected:
            what = f"operation `{operation}` has {tail.count} records, not {batch.expected}"
            raise AppendConflict(what, operation=operation, found=tail.count, expected=batch.expected)
        if not batch.records or tail.digest is None or tail.at is None:
            if tail.number == 0 and not batch.records:
                raise AppendConflict(f"operation `{operation}` has no records", operation=operation)
            return
        first = batch.records[0].record
        if batch.after_change is not None and batch.after_change != last_change_in(self.connection):
            raise AppendConflict("a change was recorded since the heads were read", operation=operation)
        if first.prev != tail.digest:
            what = f"record {first.n} of `{operation}` does not name the record before it"
            raise AppendConflict(what, operation=operation)
        if first.at < tail.at - CLOCK_TOLERANCE:
            raise ClockSteppedBack(
                f"record {first.n} of `{operation}` is dated `{format_time(first.at)}`,"
                f" more than 5 s before the record before it, `{format_time(tail.at)}`",
                operation=operation,
            )

    def _insert(self, number: int, prepared: Prepared) -> int | None:
        try:
            return self.insert(number, prepared)
        except self.duplicate as error:
            # Another process appended since the end of this chain was remembered.
            self._tails.pop(prepared.key, None)
            raise self._grown(prepared) from error

    @staticmethod
    def _grown(prepared: Prepared) -> AppendConflict:
        operation, expected = prepared.batch.operation, prepared.batch.expected
        what = f"operation `{operation}` has more records than {expected}"
        return AppendConflict(what, operation=operation, expected=expected)

    # --- leases ---

    def _check_fence(self, number: int, batch: Batch) -> None:
        if batch.fence is None and batch.lease is None and not batch.release:
            return
        stored = lease_in(self.connection, batch.operation, number)
        if batch.fence is not None and (stored is None or stored.is_released or stored.fence != batch.fence):
            what = f"fence {batch.fence} of `{batch.operation}` is not in force any more"
            raise AppendConflict(what, operation=batch.operation, fence=batch.fence)
        if batch.lease is not None:
            at = batch.records[0].record.at if batch.records else None
            self._take(number, stored, batch.lease, at)
            for slot in batch.slots:
                self._require_room(number, slot, at)
        if batch.release:
            self.connection.execute("UPDATE leases SET expires=? WHERE op=?", (RELEASED, number))

    def _take(self, number: int, stored: Lease | None, lease: Lease, at: datetime | None) -> None:
        live = None if stored is None or stored.is_released else stored
        renewal = live is not None and (live.runner, live.fence) == (lease.runner, lease.fence)
        free = live is None or (at is not None and live.expires <= at)
        if not renewal and (not free or lease.fence != (stored.fence if stored else 0) + 1):
            holder = stored.runner if stored else "nobody"
            what = f"operation `{lease.operation}` is driven by `{holder}`"
            raise LeaseHeld(what, operation=lease.operation, runner=holder)
        self.save_lease(number, lease)

    def _require_room(self, number: int, slot: Slot, at: datetime | None) -> None:
        """Return only if fewer others than the slot's limit are driven."""
        others = "SELECT count(*) FROM leases"
        if slot.environment is not None:
            others += " JOIN operations ON number=op AND environment=? AND mode IN ('apply', 'recovery')"
        values = () if slot.environment is None else (slot.environment,)
        now = RELEASED if at is None else pack_time(at)
        row = self.connection.execute(
            f"{others} WHERE expires>0 AND expires>? AND op<>?", (*values, now, number)
        ).fetchone()
        driven = 0 if row is None else int(row[0])
        if driven >= slot.limit:
            where = "" if slot.environment is None else f" in environment `{slot.environment}`"
            raise CapacityFull(f"no room: {driven} of {slot.limit} run{where}", limit=slot.limit)

    def save_lease(self, number: int, lease: Lease) -> None:
        """Make `lease` the one in force."""
        self.connection.execute(
            "INSERT INTO leases(op, runner, fence, expires) VALUES(?,?,?,?)"
            " ON CONFLICT(op) DO UPDATE"
            " SET runner=excluded.runner, fence=excluded.fence, expires=excluded.expires",
            (number, lease.runner, lease.fence, pack_time(lease.expires)),
        )

    # --- what hangs on records ---

    def _attach(self, number: int, batch: Batch, first: int | None) -> None:
        for claim in batch.claims:
            self._claim(number, claim)
        for lock in batch.locks:
            self._lock(number, batch.operation, lock)
        for head in batch.heads:
            self._advance(number, head, batch, first)
        for signature in batch.signatures:
            self.connection.execute(
                "INSERT INTO signatures(digest, form, data) VALUES(?,?,?)",
                (pack_digest(signature.digest), signature.form, signature.data),
            )
        if batch.inputs:
            self.connection.executemany(
                "INSERT INTO inputs(digest, role, data) VALUES(?,?,?) ON CONFLICT DO NOTHING",
                [(pack_digest(pinned.digest), pinned.role, pinned.data) for pinned in batch.inputs],
            )
        for blob in batch.blobs:
            self._keep_blob(number, blob)
        for commitment in batch.erased:
            self.erase(commitment)
        for note in batch.notes:
            self.post(note)

    def post(self, note: Note) -> None:
        """Put `note` up, or take it down."""
        if note.body is None:
            self.connection.execute("DELETE FROM board WHERE kind=? AND name=?", (note.kind, note.name))
            return
        self.connection.execute(
            "INSERT INTO board(kind, name, body) VALUES(?,?,?)"
            " ON CONFLICT(kind, name) DO UPDATE SET body=excluded.body",
            (note.kind, note.name, note.body),
        )

    def _claim(self, number: int, claim: Claim) -> None:
        try:
            self.connection.execute(
                "INSERT INTO claims(space, key, op) VALUES(?,?,?)", (claim.space, pack_key(claim.key), number)
            )
        except self.duplicate as error:
            what = f"{claim.space} `{claim.key}` was used already"
            raise ClaimTaken(what, space=claim.space, key=claim.key) from error

    def _lock(self, number: int, operation: str, lock: Lock) -> None:
        if lock.release:
            self.connection.execute("DELETE FROM locks WHERE target=? AND op=?", (lock.target, number))
            return
        row = self.connection.execute(
            "SELECT id FROM locks JOIN operations ON number=op"
            " WHERE locks.target=? AND op<>? AND exclusive+?>0 LIMIT 1",
            (lock.target, number, int(lock.exclusive)),
        ).fetchone()
        if row is not None:
            holder = unpack_operation(row[0])
            what = f"target `{lock.target}` is held by operation `{holder}`"
            raise LockHeld(what, target=lock.target, holder=holder, operation=operation)
        self.connection.execute(
            "INSERT INTO locks(target, op, exclusive) VALUES(?,?,?)"
            " ON CONFLICT(target, op) DO UPDATE SET exclusive=locks.exclusive | excluded.exclusive",
            (lock.target, number, int(lock.exclusive)),
        )

    def _advance(self, number: int, head: TargetHead, batch: Batch, first: int | None) -> None:
        place = next((i for i, sealed in enumerate(batch.records) if sealed.digest == head.attempt), None)
        if place is None:
            raise BatchRefused(f"change {head.n} of target `{head.target}` is none of the records with it")
        row = self.connection.execute("SELECT max(n) FROM changes WHERE target=?", (head.target,)).fetchone()
        last = 0 if row is None or row[0] is None else row[0]
        if head.n != last + 1:
            what = f"change {head.n} of target `{head.target}` does not follow change {last}"
            raise AppendConflict(what, target=head.target, found=last)
        leaf = None if first is None else first + place
        self.insert_change(number, head, batch.expected + place, leaf)

    def _keep_blob(self, number: int, blob: Blob) -> None:
        ref = blob.ref
        sizes = (ref.raw_bytes, ref.kept_bytes, int(ref.truncated), ref.redactions)
        try:
            row = self.connection.execute(
                "INSERT INTO blobs(commitment, key, media, raw, kept, truncated, redactions, op)"
                " VALUES(?,?,?,?,?,?,?,?) RETURNING number",
                (pack_digest(ref.commitment), blob.key, ref.media, *sizes, number),
            ).fetchone()
        except self.duplicate as error:
            raise BatchRefused(f"output `{ref.commitment}` is kept already") from error
        place = (0 if row is None else row[0]) * CHUNKS_MAX
        pieces = range(0, len(blob.data), CHUNK_BYTES)
        self.connection.executemany(
            "INSERT INTO chunks(place, data) VALUES(?,?)",
            [(place + i, blob.data[start : start + CHUNK_BYTES]) for i, start in enumerate(pieces)],
        )

    def erase(self, commitment: Digest) -> None:
        """Leave neither bytes nor key of an output; one that is gone already stays so."""
        key = pack_digest(commitment)
        row = self.connection.execute("SELECT number FROM blobs WHERE commitment=?", (key,)).fetchone()
        if row is None:
            return
        places = (row[0] * CHUNKS_MAX, (row[0] + 1) * CHUNKS_MAX)
        self.connection.execute("DELETE FROM chunks WHERE place>=? AND place<?", places)
        self.connection.execute("DELETE FROM blobs WHERE number=?", (row[0],))
