"""The default ledger: one SQLite file, shared safely by the processes of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Self, TypeVar

import apsw

from rexecop.operations.errors import OperationUnknown
from rexecop.operations.ports import (
    Appended,
    Batch,
    Blob,
    Claim,
    Journal,
    Lease,
    Row,
    Signature,
    TargetHead,
)
from rexecop.proof.canonical import Digest
from rexecop.store import connection as connections
from rexecop.store import index, names, reading, rows
from rexecop.store.apply import RELEASED, Applier, is_released, lease_of
from rexecop.store.checkpoints import Checkpointer, Sign, keep
from rexecop.store.connection import Patience
from rexecop.store.errors import StoreReadOnly
from rexecop.store.index import Difference, Fold
from rexecop.store.log import Leaf, Log, LogReport, StoredCheckpoint
from rexecop.store.packing import pack_operation
from rexecop.store.prepare import prepare
from rexecop.store.readers import Readers
from rexecop.store.writer import Writer

SQLITE_FIXED: Final = (3, 51, 3)  # Before it, two writers at the wrong moment could damage the file.
FAULTS_MAX: Final = 20  # Of the faults SQLite finds in its pages, so many are told.

T = TypeVar("T")


class SqliteStore:
    """The `Store` port over one file, and what the log, `doctor` and export need beside it.

    Any number of processes may hold one open; each group-commits on its own and waits for
    the others. Reading works on a damaged or read-only ledger as far as its bytes allow.
    """

    def __init__(self, path: Path, readers: Readers, writer: Writer | None) -> None:
        self._path = path
        self._readers = readers
        self._writer = writer
        self._checkpointer: Checkpointer | None = None
        self._opened = reading.OpenedRecords()
        self._log = Log(readers)

    # --- making, opening, closing ---

    @classmethod
    def create(cls, path: Path, instance_id: str, *, checkpointer: Sign | None = None) -> Self:
        """Make an empty ledger for `instance_id`, readable by its owner alone, and open it.

        Raises:
            StoreExists: there is something at `path`. StoreUnavailable: it cannot be written.
        """
        connections.create(path, {"instance": instance_id, "epoch": 1})
        return cls.open(path, checkpointer=checkpointer)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        read_only: bool = False,
        checkpointer: Sign | None = None,
        vfs: str | None = None,
    ) -> Self:
        """Open the ledger at `path`; with `checkpointer`, commits are covered within 50 ms.

        `vfs` names another SQLite file layer than the system's.

        Raises:
            StoreMissing, StoreForeign, StoreNewer, StoreDamaged, StoreReadOnly, StoreUnavailable.
        """
        readers = Readers(path, vfs)
        if read_only:
            with readers.borrow():
                return cls(path, readers, None)
        patience = Patience()
        writer = Writer(connections.open_writer(path, patience, vfs), patience, path)
        store = cls(path, readers, writer)
        if checkpointer is not None:
            store._checkpointer = Checkpointer(checkpointer, readers, writer)
            writer.on_commit = store._checkpointer.wake
        return store

    def close(self) -> None:
        """Finish what was begun, cover it with a checkpoint, and let go of the file."""
        if self._checkpointer is not None:
            self._checkpointer.close()
        # The writer goes last: the last connection that may write tidies the file up.
        self._readers.close()
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- writing ---

    async def append(self, batch: Batch) -> Appended:
        """Append `batch` whole and durably; see the port.

        Raises:
            BatchRefused, ClockSteppedBack: beside the port's errors.
        """
        prepared = prepare(batch)
        appended = await self._writing.run_async(
            lambda applier: applier.append(prepared), weight=prepared.weight
        )
        for stored, leaf, sealed in zip(prepared.bodies, prepared.leaves, batch.records, strict=True):
            self._opened.keep(stored, leaf, sealed)
        return appended

    def append_sync(self, batch: Batch) -> Appended:
        """Do as `append` for a caller without an event loop."""
        prepared = prepare(batch)
        return self._writing.run(lambda applier: applier.append(prepared), weight=prepared.weight)

    def acquire(self, operation: str, runner: str, until: datetime, now: datetime) -> Lease | None:
        """Take or renew the lease of `operation`; None while another live runner holds it.

        Raises:
            OperationUnknown: the ledger holds no record of it.
        """
        key = pack_operation(operation)

        def work(applier: Applier) -> Lease | None:
            number = applier.number(key)
            if number is None:
                raise OperationUnknown(f"no operation `{operation}`", operation=operation)
            stored = applier.lease(number, operation)
            fence = 1
            if stored is not None:
                ours = stored.runner == runner and not is_released(stored)
                if not ours and not is_released(stored) and stored.expires > now:
                    return None
                fence = stored.fence if ours else stored.fence + 1
            lease = Lease(operation=operation, runner=runner, fence=fence, expires=until)
            applier.save_lease(number, lease)
            return lease

        # No flush of its own: the flush of the attempt that acts under it makes it durable first.
        return self._writing.run(work, durable=False)

    def release(self, lease: Lease) -> None:
        """Give `lease` back; one that was lost already is left alone."""
        key = pack_operation(lease.operation)

        def work(applier: Applier) -> None:
            applier.connection.execute(
                "UPDATE leases SET expires=? WHERE runner=? AND fence=?"
                " AND op=(SELECT number FROM operations WHERE id=?)",
                (RELEASED, lease.runner, lease.fence, key),
            )

        # Lost in a power cut, it expires instead.
        self._writing.run(work, durable=False)

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreReadOnly(f"the ledger `{self._path}` was opened for reading", path=str(self._path))
        return self._writer

    # --- reading ---

    def _read(self, read: Callable[[apsw.Connection], T]) -> T:
        with self._readers.borrow() as connection:
            return read(connection)

    def journal(self, operation: str) -> Journal:
        """Return the records of `operation`; damaged ones are named and set aside.

        Raises:
            OperationUnknown: there are none.
        """
        return self._read(lambda connection: reading.journal(connection, operation, self._opened))

    def records_of(self, operation: str) -> int:
        """Return how many records `operation` has; 0 for none."""
        return self._read(lambda connection: reading.records_of(connection, operation))

    def resolve(self, name: str) -> str:
        """Return the operation id for an id, a unique prefix, a short number, or `@`.

        Raises:
            OperationUnknown: nothing, or more than one operation, has that name.
        """
        return self._read(lambda connection: names.resolve(connection, name))

    def number(self, operation: str) -> int:
        """Return the short number of `operation`.

        Raises:
            OperationUnknown: the ledger holds no record of it.
        """
        return self._read(lambda connection: names.number_of(connection, operation))

    def rows(
        self, *, state: str | None = None, after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, Row]]:
        """Return (short number, row) newest first; `after` pages backwards from that number."""
        return self._read(lambda connection: rows.rows(connection, state=state, after=after, limit=limit))

    def claimed(self, claim: Claim) -> str | None:
        """Return the operation that used `claim`, or None."""
        return self._read(lambda connection: reading.claimed(connection, claim))

    def pinned(self, digest: Digest) -> bytes:
        """Return the pinned input named `digest`.

        Raises:
            InputMissing: it is not stored, or its bytes no longer match.
        """
        return self._read(lambda connection: reading.pinned(connection, digest))

    def blob(self, commitment: Digest) -> Blob | None:
        """Return the kept output named `commitment`, or None if it was erased.

        Raises:
            StoreDamaged: its bytes are not those committed to.
        """
        return self._read(lambda connection: reading.blob(connection, commitment))

    def signatures(self, digest: Digest) -> Sequence[Signature]:
        """Return the signatures kept beside record `digest`."""
        return self._read(lambda connection: reading.signatures(connection, digest))

    def lease(self, operation: str) -> Lease | None:
        """Return the lease of `operation`, expired or not; one given back expires in 1970."""

        def read(connection: apsw.Connection) -> Lease | None:
            row = connection.execute(
                "SELECT runner, fence, expires FROM leases"
                " WHERE op=(SELECT number FROM operations WHERE id=?)",
                (pack_operation(operation),),
            ).fetchone()
            return None if row is None else lease_of(operation, row)

        return self._read(read)

    def target_head(self, target: str) -> TargetHead | None:
        """Return the last change attempt on `target`, or None."""
        return self._read(lambda connection: reading.target_head(connection, target))

    def locked_by(self, target: str) -> Sequence[str]:
        """Return the operations that hold a lock on `target`."""
        return self._read(lambda connection: reading.locked_by(connection, target))

    # --- the log ---

    @property
    def instance_id(self) -> str:
        """Return the id of the instance this ledger is of."""
        return str(self._read(lambda connection: reading.meta(connection, "instance")))

    @property
    def epoch(self) -> int:
        """Return the epoch of the log: 1, and one more for each restored copy."""
        return int(self._read(lambda connection: reading.meta(connection, "epoch")))

    def size(self) -> int:
        """Return how many leaves the log has."""
        return self._log.size()

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves.

        Raises:
            NodeMissing: the log is shorter.
        """
        return self._log.root(size)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the full tree node at (`level`, `index`).

        Raises:
            NodeMissing: the log does not hold it.
        """
        return self._log.node(level, index)

    def with_nodes(self, use: Callable[[Callable[[int, int], bytes]], T]) -> T:
        """Return `use(node)` with all nodes read over one connection: for proofs."""
        return self._log.with_nodes(use)

    def body_at(self, leaf: int) -> bytes:
        """Return the bytes of the record at `leaf`.

        Raises:
            StoreDamaged: there is none, or it cannot be read.
        """
        return self._log.body_at(leaf)

    def leaf_of(self, operation: str, n: int) -> int:
        """Return the leaf that record `n` of `operation` is.

        Raises:
            OperationUnknown: there is no such record.
        """
        leaf = self._log.leaf_of(pack_operation(operation), n)
        if leaf is None:
            raise OperationUnknown(f"operation `{operation}` has no record {n}", operation=operation)
        return leaf

    def leaves(self, start: int, stop: int) -> Iterator[Leaf]:
        """Yield the leaves from `start` up to and without `stop`.

        Raises:
            StoreDamaged: one is missing or cannot be read.
        """
        return self._log.leaves(start, stop)

    def checkpoint(self, sign: Sign | None = None) -> StoredCheckpoint | None:
        """Return a checkpoint over all that is committed, signed by `sign` or the store's own signer.

        None while the log is empty.

        Raises:
            StoreReadOnly: nothing signs here. StoreDamaged: what was read back is not what was logged.
        """
        if sign is not None:
            return Checkpointer(sign, self._readers, self._writing).cover()
        if self._checkpointer is None:
            raise StoreReadOnly(f"the ledger `{self._path}` was opened without a key to sign checkpoints")
        return self._checkpointer.cover()

    def kept_checkpoint(self, at_least: int = 0) -> StoredCheckpoint | None:
        """Return the oldest checkpoint kept that covers `at_least` leaves, the newest for 0, or None."""
        return self._log.checkpoint(at_least)

    def keep_checkpoint(self, checkpoint: StoredCheckpoint) -> None:
        """Store a checkpoint again, with the cosignatures it gained."""
        self._writing.run(lambda applier: keep(applier, checkpoint))

    # --- doctor ---

    @property
    def failure(self) -> Exception | None:
        """Return why nothing is written or vouched for any more, or None."""
        stopped = self._writer.stopped if self._writer is not None else None
        return stopped or (self._checkpointer.failure if self._checkpointer is not None else None)

    def verify_log(self) -> LogReport:
        """Recompute the log from its bytes and name the first bad record."""
        return self._log.verify()

    def integrity(self) -> tuple[str, ...]:
        """Return what SQLite finds wrong with its own pages; nothing if they are sound."""
        found = self._read(lambda connection: list(connection.execute(f"PRAGMA quick_check({FAULTS_MAX})")))
        return tuple(str(text) for (text,) in found if text != "ok")

    def compare_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Return where the index differs from what `fold` makes of the records."""
        return index.compare_index(self._readers, fold)

    def rebuild_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Write the rows that `fold` makes of the records, and return what differed."""
        return index.rebuild_index(self._readers, self._writing, fold)

    @staticmethod
    def sqlite_version() -> str:
        """Return the version of the SQLite in use."""
        return apsw.sqlite_lib_version()
