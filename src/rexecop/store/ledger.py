"""The ledger as `app` uses it, over whichever database: the port, the log, repair and what `doctor` asks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final, Self

from rexecop.operations.errors import AppendConflict, OperationUnknown
from rexecop.operations.ports import Appended, Batch, Lease, Note
from rexecop.proof.canonical import Digest
from rexecop.proof.checkpoint import Checkpoint, LogKeys
from rexecop.proof.errors import ProofError
from rexecop.proof.logcheck import LogReport
from rexecop.proof.note import NoteSignature
from rexecop.store import index, repair, retention
from rexecop.store.apply import RELEASED, Applier
from rexecop.store.checkpoints import Checkpointer, Sign, give
from rexecop.store.database import Connection, Readers
from rexecop.store.errors import LogBehind, RootIdentityDoubtful, StoreReadOnly
from rexecop.store.index import Difference, Fold
from rexecop.store.log import SAY, Leaf, Log, StoredCheckpoint, checkpoint_in, require_same_log, size_in
from rexecop.store.packing import pack_operation
from rexecop.store.prepare import is_changing, prepare
from rexecop.store.reading import Reading, lease_in, number_in
from rexecop.store.repair import Damage, Examination, Examiner
from rexecop.store.retention import Aged
from rexecop.store.schema import TABLE_NAMES
from rexecop.store.writer import Writer

_STATES: Final = "SELECT state, count(*) FROM operations WHERE number>0 AND state IS NOT NULL GROUP BY state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a database says of itself: what it is, what is broken in it, and what is wrong with its set-up."""

    words: str
    faults: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


class LedgerStore(Reading):
    """The `Store` port, and what the log, `doctor` and export need beside it.

    Any number of processes may hold one open; each group-commits on its own. Reading works on a
    damaged or read-only ledger as far as its bytes allow. `place` names it for people.
    """

    leases_are_durable: ClassVar[bool] = False
    """Whether a lease has a flush of its own; else that of the attempt that acts under it comes first."""

    def __init__(self, place: str, readers: Readers, writer: Writer | None, doubt: str | None) -> None:
        super().__init__(readers)
        self.place: Final = place
        self._writer = writer
        self._checkpointer: Checkpointer | None = None
        self.doubt: Final = doubt

    def close(self) -> None:
        """Finish what was begun, cover it with a checkpoint, and let go of the database."""
        if self._checkpointer is not None:
            self._checkpointer.close()
        # The writer goes last: the last connection to a file that may write tidies it up.
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
        self._require_harmless(batch)
        prepared = prepare(batch)
        appended = await self._writing.run_async(
            lambda applier: applier.append(prepared), weight=prepared.weight
        )
        for stored, leaf, sealed in zip(prepared.bodies, prepared.leaves, batch.records, strict=True):
            self._opened.keep(stored, leaf, sealed)
        return appended

    def append_sync(self, batch: Batch) -> Appended:
        """Do as `append` for a caller without an event loop."""
        self._require_harmless(batch)
        prepared = prepare(batch)
        return self._writing.run(lambda applier: applier.append(prepared), weight=prepared.weight)

    def require_sure(self) -> None:
        """Return only if this is without doubt the ledger that was last written.

        Raises:
            RootIdentityDoubtful: it may be a copy.
        """
        if self.doubt is not None:
            raise RootIdentityDoubtful(
                f"{self.doubt}; nothing changing is done here until a new epoch says that this root goes on",
                next_steps=("rexecop recover --new-epoch --reason TEXT",),
            )

    def _require_harmless(self, batch: Batch) -> None:
        """Return only if `batch` may be appended to what may be a copy: reads and dry runs may."""
        if is_changing(batch):
            self.require_sure()

    def begin_epoch(self, batch: Batch, epoch: int, identity: str, size: int) -> None:
        """Append `batch`, which begins `epoch`, to the log of `size`; from then on it is the root's own.

        Raises:
            AppendConflict: the log has another size; somebody else writes to it.
        """
        self.settle()
        prepared = prepare(batch)

        def work(applier: Applier) -> None:
            applier.hold_all()
            found = size_in(applier.connection)
            if found != size:
                what = f"the log has {found} records and had {size}: somebody else is writing to it"
                raise AppendConflict(what, operation=batch.operation)
            applier.append(prepared)
            applier.connection.executemany(SAY, [("epoch", str(epoch)), ("identity", identity)])

        self._writing.run(work)

    def mark(self, identity: str) -> None:
        """Say which root this ledger is written in; lost in a power cut, it is said again."""
        self._writing.run(
            lambda applier: applier.connection.execute(SAY, ("identity", identity)), durable=False
        )

    def settle(self) -> None:
        """Return once every record that was committed before has its place in the log.

        Raises:
            LogBehind: nobody gives it one.
        """

    def leaf_of(self, operation: str, n: int) -> int:
        """Return the leaf that record `n` of `operation` is; one that has none yet is waited for."""
        try:
            return super().leaf_of(operation, n)
        except LogBehind:
            if self._writer is None:
                raise
            self.settle()
            return super().leaf_of(operation, n)

    # --- what may go by its age ---

    def aged_outputs(self, before: datetime, states: Collection[str]) -> Iterator[Aged]:
        """Yield what operations still keep that are in one of `states` since before `before`.

        What was kept before the ledger noted whose it is, is placed first.
        """
        retention.place_outputs(self._readers, lambda: self._writing)
        yield from retention.aged_outputs(self._readers, before, states)

    def erase_aged(self, record: Batch | None, ended: Mapping[str, int], outputs: Sequence[Digest]) -> None:
        """Append `record` and erase `outputs`, in one transaction; see `retention.erase_aged`."""
        prepared = None if record is None else prepare(record)
        self._writing.run(lambda applier: retention.erase_aged(applier, prepared, ended, outputs))

    def forget_keys(self, before: datetime, states: Collection[str], *, really: bool) -> int:
        """Return how many idempotency keys are that old; `really` forget them."""
        with self._readers.borrow() as connection:
            found = retention.count_keys(connection, before, states)
        if really and found:
            self._writing.run(lambda applier: retention.forget_keys(applier, before, states))
        return found

    def free_bytes(self) -> int:
        """Return how much of the database's space holds nothing, where that can be given back."""
        return 0

    def give_back(self) -> None:
        """Give that back, a little at a time, while others write."""

    def acquire(self, operation: str, runner: str, until: datetime, now: datetime) -> Lease | None:
        """Take or renew the lease of `operation`; None while another live runner holds it.

        Raises:
            OperationUnknown: the ledger holds no record of it.
        """

        def work(applier: Applier) -> Lease | None:
            applier.hold(pack_operation(operation))
            number = number_in(applier.connection, pack_operation(operation))
            if number is None:
                raise OperationUnknown(f"no operation `{operation}`", operation=operation)
            stored, fence = lease_in(applier.connection, operation, number), 1
            if stored is not None:
                ours = stored.runner == runner and not stored.is_released
                if not ours and not stored.is_released and stored.expires > now:
                    return None
                fence = stored.fence if ours else stored.fence + 1
            lease = Lease(operation=operation, runner=runner, fence=fence, expires=until)
            applier.save_lease(number, lease)
            return lease

        return self._writing.run(work, durable=self.leases_are_durable)

    def be_heard(self, runner: str) -> None:
        """Do nothing: a file is used by the processes of one machine, which see one another."""

    def is_heard(self) -> bool:
        """Return True: nobody is taken for gone who is there."""
        return True

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

    def post(self, kind: str, name: str, body: bytes | None) -> None:
        """Let `body` be all that stands on the board under `kind` and `name`; None takes it down."""
        self._writing.run(lambda applier: applier.post(Note(kind=kind, name=name, body=body)))

    @property
    def _writing(self) -> Writer:
        if self._writer is None:
            raise StoreReadOnly(f"the ledger `{self.place}` was opened for reading", path=self.place)
        return self._writer

    def checkpoint(self, sign: Sign | None = None) -> StoredCheckpoint | None:
        """Return a checkpoint over all that is committed, signed by `sign` or the store's own signer.

        None while the log is empty. Where it may be a copy, the newest one kept: another would be a fork.

        Raises:
            StoreReadOnly: nothing signs here. StoreDamaged: what was read back is not what was logged.
        """
        if self.doubt is not None:
            return self.kept_checkpoint()
        self.settle()
        if sign is not None:
            return Checkpointer(sign, self._readers, self._writing, self._opened).cover()
        if self._checkpointer is None:
            raise StoreReadOnly(f"the ledger `{self.place}` was opened without a key to sign checkpoints")
        return self._checkpointer.cover()

    def give_checkpoint(self, checkpoint: StoredCheckpoint, lines: tuple[NoteSignature, ...] = ()) -> None:
        """Keep `checkpoint` for good, because a witness is given it or answered with `lines`."""
        self._writing.run(lambda applier: give(applier, checkpoint, lines))

    # --- repair ---

    def examine(self) -> Examination:
        """Return everything that is damaged, and what of it the tree determines."""
        return Examiner(self._readers).run()

    def glance(self, operations: Iterable[str]) -> int:
        """Check what was written last and all of `operations`; see `repair.glance`."""
        return repair.glance(self._readers, operations, self.quarantined())

    def set_aside(self) -> tuple[Damage, ...]:
        """Return the records that are known to be damaged."""
        return repair.set_aside(self._readers)

    def agrees_with(self, other: Log) -> int:
        """Return up to which leaf the log `other` is proved to be this one: the trees have one root there."""
        ours, _ = repair.kept_roots(self._readers)
        with suppress(ProofError):
            ours.setdefault(other.size(), self.root(other.size()))
        shared = (size for size, root in ours.items() if size <= other.size() and other.root(size) == root)
        return max(shared, default=0)

    def mend(self, found: Examination) -> None:
        """Put tree nodes right that `found` determines."""
        with self._repairing() as connection:
            repair.mend(connection, found)

    def put_back(self, records: Sequence[Leaf]) -> None:
        """Store the bytes of `records` where they were lost; the caller has compared them with the tree."""
        with self._repairing() as connection:
            repair.put_back(connection, records)

    def verify_log(self, *, held: Sequence[Checkpoint] = (), log_keys: LogKeys | None = None) -> LogReport:
        """Recompute the log as `Log.verify_log` does, or around the records that are known to be lost."""
        known = self.quarantined()
        if not known:
            return super().verify_log(held=held, log_keys=log_keys)
        with self._readers.borrow() as connection:
            notes = list(connection.execute("SELECT size, note FROM checkpoints"))
        require_same_log([checkpoint_in(size, note, log_keys) for size, note in notes], held)
        return repair.report_around(self._readers, known, held)

    def quarantine(self, damaged: Sequence[Damage], by: str, at: str) -> None:
        """Remember `damaged` records as known, who named them, and when."""
        with self._repairing() as connection:
            repair.quarantine(connection, damaged, by, at)

    @abstractmethod
    def _repairing(self) -> AbstractContextManager[Connection]:
        """Lend a transaction; unlike the writer's it needs no sound tree, and no store opened for writing."""

    # --- what is asked of the database ---

    @abstractmethod
    def clear_wal(self) -> bool:
        """Leave no copy of what was erased in the database's own log; False where it may still be there."""

    @abstractmethod
    def copy_to(self, target: Path) -> None:
        """Write the ledger as it is at one moment to the new SQLite file `target`, while others write.

        Raises:
            StoreUnavailable, StoreDamaged: it cannot be read, or `target` written.
            FileExistsError: there is a `target`.
        """

    @abstractmethod
    def _extent(self, connection: Connection) -> dict[str, int]:
        """Return how large everything is."""

    @abstractmethod
    def condition(self) -> Condition:
        """Return what the database finds wrong with itself."""

    @property
    def failure(self) -> Exception | None:
        """Return why nothing is written or vouched for any more, or None."""
        stopped = self._writer.stopped if self._writer is not None else None
        return stopped or (self._checkpointer.failure if self._checkpointer is not None else None)

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many rows each table has, how many operations each state, and how large it all is."""
        with self._readers.borrow() as connection:
            found = [(name, connection.execute(f"SELECT count(*) FROM {name}")) for name in TABLE_NAMES]
            rows = {name: int(count) for name, cursor in found for (count,) in cursor}
            states = {str(state): int(count) for state, count in connection.execute(_STATES)}
            return {"rows": rows, "states": states, "pages": self._extent(connection)}

    def compare_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Return where the index differs from what `fold` makes of the records."""
        return index.compare_index(self._readers, fold)

    def rebuild_index(self, fold: Fold) -> tuple[Difference, ...]:
        """Write the rows that `fold` makes of the records, and return what differed."""
        return index.compare_index(self._readers, fold, self._writing)
