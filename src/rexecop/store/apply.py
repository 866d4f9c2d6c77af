"""Applying batches inside the writer's open transaction: chain, tree, claims, locks, leases."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import apsw

from rexecop.operations.errors import AppendConflict, ClaimTaken, LeaseHeld, LockHeld, StoreError
from rexecop.operations.ports import Appended, Batch, Blob, Lease, Lock, Row, TargetHead
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import CLOCK_TOLERANCE, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import Frontier, node_reader
from rexecop.proof.times import format_time
from rexecop.store.errors import BatchRefused, ClockSteppedBack, StoreDamaged
from rexecop.store.packing import (
    Packed,
    pack_digest,
    pack_key,
    pack_time,
    unpack_body,
    unpack_operation,
    unpack_time,
)
from rexecop.store.prepare import Prepared
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


class Applier:
    """Applies batches to the ledger behind `connection`, within transactions others open and end.

    From `start` on it sees its own changes; `keep` says that they were committed. What it remembers from one
    transaction to the next never changes once written: ends of chains and the tree's right
    edge, each used only while the ledger still ends there.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self._tails: dict[Packed, Tail] = {}
        self._fresh: dict[Packed, Tail] = {}
        self._kept = Frontier.empty()
        self._frontier = Frontier.empty()

    def start(self) -> None:
        """Read where the log ends, right after the transaction began."""
        self._fresh = {}
        found = self.connection.execute("SELECT max(leaf) FROM records").fetchone()
        size = 0 if found is None or found[0] is None else found[0] + 1
        if size != self._kept.size:
            self._kept = Frontier.load(size, node_reader(self._nodes))
        self._frontier = self._kept

    def keep(self) -> None:
        """Remember what the transaction did; it was committed."""
        self._kept = self._frontier
        for key, tail in self._fresh.items():
            self._tails.pop(key, None)
            self._tails[key] = tail
        while len(self._tails) > TAILS_MAX:
            del self._tails[next(iter(self._tails))]
        self._fresh = {}

    def append(self, prepared: Prepared) -> Appended:
        """Apply `prepared` under its own savepoint: when this raises, nothing of it is left.

        Raises:
            AppendConflict, LeaseHeld, ClaimTaken, LockHeld, ClockSteppedBack, BatchRefused, StoreDamaged.
        """
        frontier, tail = self._frontier, self._fresh.get(prepared.key)
        self.connection.execute("SAVEPOINT batch")
        try:
            appended = self._append(prepared)
        except StoreError:
            self.connection.execute("ROLLBACK TO batch")
            self.connection.execute("RELEASE batch")
            self._frontier = frontier
            self._fresh.pop(prepared.key, None)
            if tail is not None:
                self._fresh[prepared.key] = tail
            raise
        self.connection.execute("RELEASE batch")
        return appended

    def _append(self, prepared: Prepared) -> Appended:
        batch, first = prepared.batch, self._frontier.size
        tail = self._tail(prepared.key, batch)
        number = tail.number or self._next_number(prepared.key)
        self._check_follows(tail, batch)
        self._check_fence(number, batch)
        if tail.number == 0:
            self._insert_operation(number, prepared.key, batch.row)
        elif batch.row is not None:
            save_row(self.connection, number, batch.row)
        if batch.records:
            self._insert_records(number, prepared)
            last = batch.records[-1]
            self._fresh[prepared.key] = Tail(
                number, batch.expected + len(batch.records), last.digest, last.record.at
            )
        self._attach(number, batch)
        return Appended(first_leaf=first, size=self._frontier.size)

    # --- the chain and the tree ---

    def _tail(self, key: Packed, batch: Batch) -> Tail:
        known = self._fresh.get(key) or self._tails.get(key)
        if known is not None and known.count == batch.expected and batch.records:
            return known
        return self._read_tail(key)

    def _read_tail(self, key: Packed) -> Tail:
        number = self.number(key)
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

    def number(self, key: Packed) -> int | None:
        """Return the number of the operation `key`, or None."""
        row = self.connection.execute("SELECT number FROM operations WHERE id=?", (key,)).fetchone()
        return None if row is None else int(row[0])

    def _next_number(self, key: Packed) -> int:
        """Return a number for a new chain: people count operations from 1, other chains lie below 0."""
        if isinstance(key, bytes):
            row = self.connection.execute("SELECT max(number) FROM operations").fetchone()
            return max(row[0] or 0, 0) + 1 if row is not None else 1
        row = self.connection.execute("SELECT min(number) FROM operations").fetchone()
        return min(row[0] or 0, 0) - 1 if row is not None else -1

    def _check_follows(self, tail: Tail, batch: Batch) -> None:
        if tail.count != batch.expected:
            raise AppendConflict(
                f"operation `{batch.operation}` has {tail.count} records, not {batch.expected}",
                operation=batch.operation,
                found=tail.count,
                expected=batch.expected,
            )
        if not batch.records or tail.digest is None or tail.at is None:
            if tail.number == 0 and not batch.records:
                raise AppendConflict(
                    f"operation `{batch.operation}` has no records", operation=batch.operation
                )
            return
        first = batch.records[0].record
        if first.prev != tail.digest:
            raise AppendConflict(
                f"record {first.n} of `{batch.operation}` does not name the record before it",
                operation=batch.operation,
            )
        if first.at < tail.at - CLOCK_TOLERANCE:
            raise ClockSteppedBack(
                f"record {first.n} of `{batch.operation}` is dated `{format_time(first.at)}`,"
                f" more than 5 s before the record before it, `{format_time(tail.at)}`",
                operation=batch.operation,
            )

    def _insert_operation(self, number: int, key: Packed, row: Row | None) -> None:
        stored = (None,) * 12 if row is None else columns(row)
        self.connection.execute(_NEW_ROW, (*stored, number, key))

    def _insert_records(self, number: int, prepared: Prepared) -> None:
        frontier, rows = self._frontier, []
        for n, (body, leaf) in enumerate(
            zip(prepared.bodies, prepared.leaves, strict=True), start=prepared.batch.expected
        ):
            place = frontier.size
            frontier, completed = frontier.append(leaf)
            rows.append((place, number, n, body, b"".join(completed)))
        try:
            self.connection.executemany(
                "INSERT INTO records(leaf, op, n, body, nodes) VALUES(?,?,?,?,?)", rows
            )
        except apsw.ConstraintError as error:
            # Another process appended since the end of this chain was remembered.
            self._tails.pop(prepared.key, None)
            raise AppendConflict(
                f"operation `{prepared.batch.operation}` has more records than {prepared.batch.expected}",
                operation=prepared.batch.operation,
                expected=prepared.batch.expected,
            ) from error
        self._frontier = frontier

    def _nodes(self, leaf: int) -> bytes:
        row = self.connection.execute("SELECT nodes FROM records WHERE leaf=?", (leaf,)).fetchone()
        return b"" if row is None else bytes(row[0])

    # --- leases ---

    def _check_fence(self, number: int, batch: Batch) -> None:
        if batch.fence is None and batch.lease is None and not batch.release:
            return
        stored = self.lease(number, batch.operation)
        if batch.fence is not None and (stored is None or is_released(stored) or stored.fence != batch.fence):
            raise AppendConflict(
                f"fence {batch.fence} of `{batch.operation}` is not in force any more",
                operation=batch.operation,
                fence=batch.fence,
            )
        if batch.lease is not None:
            at = batch.records[0].record.at if batch.records else None
            self._take(number, stored, batch.lease, at)
        if batch.release:
            self.connection.execute("UPDATE leases SET expires=? WHERE op=?", (RELEASED, number))

    def _take(self, number: int, stored: Lease | None, lease: Lease, at: datetime | None) -> None:
        if (
            stored is not None
            and not is_released(stored)
            and (stored.runner, stored.fence)
            == (
                lease.runner,
                lease.fence,
            )
        ):
            self.save_lease(number, lease)
            return
        free = stored is None or is_released(stored) or (at is not None and stored.expires <= at)
        if not free or lease.fence != (stored.fence if stored else 0) + 1:
            holder = stored.runner if stored else "nobody"
            raise LeaseHeld(
                f"operation `{lease.operation}` is driven by `{holder}`",
                operation=lease.operation,
                runner=holder,
            )
        self.save_lease(number, lease)

    def lease(self, number: int, operation: str) -> Lease | None:
        """Return the lease of the operation with `number`, as stored."""
        row = self.connection.execute(
            "SELECT runner, fence, expires FROM leases WHERE op=?", (number,)
        ).fetchone()
        return None if row is None else lease_of(operation, row)

    def save_lease(self, number: int, lease: Lease) -> None:
        """Make `lease` the one in force."""
        self.connection.execute(
            "INSERT INTO leases(op, runner, fence, expires) VALUES(?,?,?,?)"
            " ON CONFLICT(op) DO UPDATE"
            " SET runner=excluded.runner, fence=excluded.fence, expires=excluded.expires",
            (number, lease.runner, lease.fence, pack_time(lease.expires)),
        )

    # --- what hangs on records ---

    def _attach(self, number: int, batch: Batch) -> None:
        for claim in batch.claims:
            self._claim(number, claim.space, claim.key)
        for lock in batch.locks:
            self._lock(number, batch.operation, lock)
        for head in batch.heads:
            self._advance(head)
        for signature in batch.signatures:
            self.connection.execute(
                "INSERT INTO signatures(digest, form, data) VALUES(?,?,?)",
                (pack_digest(signature.digest), signature.form, signature.data),
            )
        for pinned in batch.inputs:
            self.connection.execute(
                "INSERT OR IGNORE INTO inputs(digest, role, data) VALUES(?,?,?)",
                (pack_digest(pinned.digest), pinned.role, pinned.data),
            )
        for blob in batch.blobs:
            self._keep_blob(blob)

    def _claim(self, number: int, space: str, key: str) -> None:
        try:
            self.connection.execute(
                "INSERT INTO claims(space, key, op) VALUES(?,?,?)", (space, pack_key(key), number)
            )
        except apsw.ConstraintError as error:
            raise ClaimTaken(f"{space} `{key}` was used already", space=space, key=key) from error

    def _lock(self, number: int, operation: str, lock: Lock) -> None:
        if lock.release:
            self.connection.execute("DELETE FROM locks WHERE target=? AND op=?", (lock.target, number))
            return
        row = self.connection.execute(
            "SELECT id FROM locks JOIN operations ON number=op"
            " WHERE locks.target=? AND op<>? AND (exclusive OR ?) LIMIT 1",
            (lock.target, number, int(lock.exclusive)),
        ).fetchone()
        if row is not None:
            holder = unpack_operation(row[0])
            raise LockHeld(
                f"target `{lock.target}` is held by operation `{holder}`",
                target=lock.target,
                holder=holder,
                operation=operation,
            )
        self.connection.execute(
            "INSERT INTO locks(target, op, exclusive) VALUES(?,?,?)"
            " ON CONFLICT(target, op) DO UPDATE SET exclusive=max(exclusive, excluded.exclusive)",
            (lock.target, number, int(lock.exclusive)),
        )

    def _advance(self, head: TargetHead) -> None:
        row = self.connection.execute("SELECT n FROM heads WHERE target=?", (head.target,)).fetchone()
        last = 0 if row is None else row[0]
        if head.n != last + 1:
            raise AppendConflict(
                f"change {head.n} of target `{head.target}` does not follow change {last}",
                target=head.target,
                found=last,
            )
        self.connection.execute(
            "INSERT INTO heads(target, n, attempt) VALUES(?,?,?)"
            " ON CONFLICT(target) DO UPDATE SET n=excluded.n, attempt=excluded.attempt",
            (head.target, head.n, pack_digest(head.attempt)),
        )

    def _keep_blob(self, blob: Blob) -> None:
        ref = blob.ref
        try:
            self.connection.execute(
                "INSERT INTO blobs(commitment, key, media, raw, kept, truncated, redactions)"
                " VALUES(?,?,?,?,?,?,?)",
                (
                    pack_digest(ref.commitment),
                    blob.key,
                    ref.media,
                    ref.raw_bytes,
                    ref.kept_bytes,
                    int(ref.truncated),
                    ref.redactions,
                ),
            )
        except apsw.ConstraintError as error:
            raise BatchRefused(f"output `{ref.commitment}` is kept already") from error
        place = self.connection.last_insert_rowid() * CHUNKS_MAX
        pieces = range(0, len(blob.data), CHUNK_BYTES)
        self.connection.executemany(
            "INSERT INTO chunks(place, data) VALUES(?,?)",
            [(place + i, blob.data[start : start + CHUNK_BYTES]) for i, start in enumerate(pieces)],
        )


def lease_of(operation: str, row: tuple[str, int, int]) -> Lease:
    """Return the lease stored as (runner, fence, expires)."""
    return Lease(operation=operation, runner=row[0], fence=row[1], expires=unpack_time(row[2]))


def is_released(lease: Lease) -> bool:
    """Return whether `lease` was given back."""
    return pack_time(lease.expires) == RELEASED
