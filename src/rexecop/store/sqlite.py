"""The default ledger: one SQLite file, shared safely by the processes of one machine."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final, Self

import apsw

from rexecop.operations.errors import OperationUnknown
from rexecop.operations.ports import Appended, Batch, Lease
from rexecop.proof.note import NoteSignature
from rexecop.store import connection as connections
from rexecop.store import index
from rexecop.store.apply import RELEASED, Applier, is_released
from rexecop.store.checkpoints import Checkpointer, Sign, give
from rexecop.store.errors import StoreReadOnly
from rexecop.store.index import Difference, Fold
from rexecop.store.log import StoredCheckpoint
from rexecop.store.packing import pack_operation
from rexecop.store.prepare import prepare
from rexecop.store.reading import Reading, lease_in, number_in
from rexecop.store.writer import Writer

SQLITE_FIXED: Final = (3, 51, 3)  # Before it, two writers at the wrong moment could damage the file.
FAULTS_MAX: Final = 20  # Of the faults SQLite finds in its pages, so many are told.


class SqliteStore(Reading):
    """The `Store` port over one file, and what the log, `doctor` and export need beside it.

    Any number of processes may hold one open; each group-commits on its own and waits for
    the others. Reading works on a damaged or read-only ledger as far as its bytes allow.
    """

    def __init__(self, path: Path, readers: connections.Readers, writer: Writer | None) -> None:
        super().__init__(readers)
        self._path = path
        self._writer = writer
        self._checkpointer: Checkpointer | None = None

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
        readers = connections.Readers(path, vfs)
        if read_only:
            with readers.borrow():
                return cls(path, readers, None)
        patience = connections.Patience()
        writer = Writer(connections.open_writer(path, patience, vfs), patience, path)
        store = cls(path, readers, writer)
        if checkpointer is not None:
            store._checkpointer = Checkpointer(checkpointer, readers, writer, store._opened)
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

        def work(applier: Applier) -> Lease | None:
            number = number_in(applier.connection, pack_operation(operation))
            if number is None:
                raise OperationUnknown(f"no operation `{operation}`", operation=operation)
            stored, fence = lease_in(applier.connection, operation, number), 1
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

    def checkpoint(self, sign: Sign | None = None) -> StoredCheckpoint | None:
        """Return a checkpoint over all that is committed, signed by `sign` or the store's own signer.

        None while the log is empty.

        Raises:
            StoreReadOnly: nothing signs here. StoreDamaged: what was read back is not what was logged.
        """
        if sign is not None:
            return Checkpointer(sign, self._readers, self._writing, self._opened).cover()
        if self._checkpointer is None:
            raise StoreReadOnly(f"the ledger `{self._path}` was opened without a key to sign checkpoints")
        return self._checkpointer.cover()

    def give_checkpoint(self, checkpoint: StoredCheckpoint, lines: tuple[NoteSignature, ...] = ()) -> None:
        """Keep `checkpoint` for good, because a witness is given it or answered with `lines`."""
        self._writing.run(lambda applier: give(applier, checkpoint, lines))

    # --- doctor ---

    @property
    def failure(self) -> Exception | None:
        """Return why nothing is written or vouched for any more, or None."""
        stopped = self._writer.stopped if self._writer is not None else None
        return stopped or (self._checkpointer.failure if self._checkpointer is not None else None)

    def integrity(self) -> tuple[str, ...]:
        """Return what SQLite finds wrong with its own pages; nothing if they are sound."""
        with self._readers.borrow() as connection:
            found = list(connection.execute(f"PRAGMA quick_check({FAULTS_MAX})"))
        return tuple(str(text) for (text,) in found if text != "ok")

    def compare_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Return where the index differs from what `fold` makes of the records."""
        return index.compare_index(self._readers, fold)

    def rebuild_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Write the rows that `fold` makes of the records, and return what differed."""
        return index.compare_index(self._readers, fold, self._writing)

    @staticmethod
    def sqlite_version() -> str:
        """Return the version of the SQLite in use."""
        return apsw.sqlite_lib_version()
