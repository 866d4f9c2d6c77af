"""The Merkle log in the database: reading it, and checking it from its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from rexecop.operations.errors import OperationUnknown
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.checkpoint import Checkpoint, LogKeys
from rexecop.proof.errors import CheckpointForeign, CheckpointForged, LogLeafUnreadable, ProofError
from rexecop.proof.logcheck import Leaf as CheckedLeaf
from rexecop.proof.logcheck import LogReport, check_log
from rexecop.proof.merkle import (
    HASH_BYTES,
    LEAVES_MAX,
    Frontier,
    NodeReader,
    Place,
    completing,
    nodes_from,
)
from rexecop.store.database import Connection, Readers
from rexecop.store.errors import LogBehind, StoreDamaged
from rexecop.store.packing import pack_operation, unpack_body, unpack_operation

PAGE_LEAVES: Final = 512  # Leaves read at a time: a reader that is slow must not pin the file's history.
SAY: Final = "INSERT INTO meta(name, value) VALUES(?,?) ON CONFLICT(name) DO UPDATE SET value=excluded.value"
QUARANTINE: Final = "quarantine:"  # What stands before a leaf in `meta` when its damage is known.

_PAGE: Final = """
SELECT leaf, id, n, body, nodes FROM records LEFT JOIN operations ON number=op
WHERE leaf>=? AND leaf<? ORDER BY leaf
"""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Leaf:
    """Leaf `leaf` of the log: record `n` of `operation`, its body, and the nodes stored beside it."""

    leaf: int
    operation: str
    n: int
    body: bytes
    nodes: bytes

    def kept(self, level: int) -> bytes:
        """Return what is stored as the node of `level` that this leaf completes."""
        # Of the last one all that is left, so that bytes too many are noticed.
        end = None if (self.leaf >> level) & 1 == 0 else (level + 1) * HASH_BYTES
        return self.nodes[level * HASH_BYTES : end]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCheckpoint:
    """A checkpoint kept in the ledger: the log's size it is for, and the signed note."""

    size: int
    note: bytes


class Log:
    """The log as it lies in the file."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers

    def size(self) -> int:
        """Return how many leaves the log has."""
        with self._readers.borrow() as connection:
            return size_in(connection)

    def with_nodes(self, use: Callable[[NodeReader], T]) -> T:
        """Return `use(nodes)`, all nodes read over one connection; NodeMissing for one that is not there."""
        with self._readers.borrow() as connection:
            return use(nodes_in(connection))

    def nodes(self, places: Sequence[Place]) -> Sequence[bytes]:
        """Return the hashes of the full tree nodes at `places`, or raise NodeMissing."""
        return self.with_nodes(lambda nodes: nodes(places))

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves; NodeMissing when the log is shorter."""
        return self.with_nodes(lambda nodes: Frontier.load(size, nodes).root())

    def body_at(self, leaf: int) -> bytes:
        """Return the bytes of the record at `leaf`.

        Raises:
            StoreDamaged: there is none, or it cannot be unpacked.
        """
        with self._readers.borrow() as connection:
            row = connection.execute("SELECT body FROM records WHERE leaf=?", (leaf,)).fetchone()
        if row is None:
            raise _no_leaf(leaf)
        return unpack_body(row[0])

    def leaf_of(self, operation: str, n: int) -> int:
        """Return the leaf that record `n` of `operation` is.

        Raises:
            OperationUnknown: there is no such record. LogBehind: it has no place in the log yet.
        """
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT leaf FROM records WHERE op=(SELECT number FROM operations WHERE id=?) AND n=?",
                (pack_operation(operation), n),
            ).fetchone()
        if row is None:
            raise OperationUnknown(f"operation `{operation}` has no record {n}", operation=operation)
        if row[0] is None:
            raise LogBehind(f"record {n} of `{operation}` has no place in the log yet", operation=operation)
        return int(row[0])

    @property
    def epoch(self) -> int:
        """Return the epoch of the log: 1, and one more for each restored copy."""
        return int(self._meta("epoch"))

    @property
    def identity(self) -> str | None:
        """Return the mark of the root that this ledger was last written in, None before it has one."""
        with self._readers.borrow() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name='identity'").fetchone()
        return None if row is None else str(row[0])

    def _meta(self, name: str) -> str | int:
        with self._readers.borrow() as connection:
            row = connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
        if row is None or not isinstance(row[0], str | int):
            raise StoreDamaged(f"the ledger does not say its `{name}`")
        return row[0]

    def quarantined(self) -> frozenset[int]:
        """Return the leaves that are known to be damaged: `recover` named them and set them aside."""
        with self._readers.borrow() as connection:
            found = connection.execute(
                "SELECT name FROM meta WHERE substr(name,1,?)=?", (len(QUARANTINE), QUARANTINE)
            )
            return frozenset(int(name.removeprefix(QUARANTINE)) for (name,) in found)

    def leaves(self, start: int, stop: int) -> Iterator[Leaf]:
        """Yield the leaves from `start` up to and without `stop`, reading a page at a time.

        Raises:
            StoreDamaged: the next leaf is missing, or cannot be read or unpacked.
        """
        pages = PAGE_LEAVES
        while start < stop:
            end = min(start + pages, stop)
            try:
                with self._readers.borrow() as connection:
                    rows = list(connection.execute(_PAGE, (start, end)))
            except StoreDamaged:
                if pages == 1:
                    raise
                pages = 1  # Pages of the file are unreadable: what lies before them is not.
                continue
            for leaf, key, n, body, nodes in rows:
                if leaf != start:
                    break
                yield Leaf(leaf, "" if key is None else unpack_operation(key), n, unpack_body(body), nodes)
                start += 1
            if start != end:
                raise _no_leaf(start)

    def kept_checkpoint(self, at_least: int = 0) -> StoredCheckpoint | None:
        """Return the oldest checkpoint kept that covers `at_least` leaves, the newest for 0, or None."""
        order = "ASC" if at_least else "DESC"
        with self._readers.borrow() as connection:
            row = connection.execute(
                f"SELECT size, note FROM checkpoints WHERE size>=? ORDER BY size {order} LIMIT 1",
                (at_least,),
            ).fetchone()
        return None if row is None else StoredCheckpoint(size=row[0], note=row[1])

    def given_checkpoints(self) -> Iterator[StoredCheckpoint]:
        """Yield the checkpoints that were given to witnesses, with what they answered, newest first."""
        given = "SELECT size, note FROM checkpoints WHERE given<>0 AND size<? ORDER BY size DESC LIMIT ?"
        size, rows = LEAVES_MAX + 1, [(0, b"")]
        while rows:
            with self._readers.borrow() as connection:
                rows = list(connection.execute(given, (size, PAGE_LEAVES)))
            for size, note in rows:
                yield StoredCheckpoint(size=size, note=note)

    def verify_log(self, *, held: Sequence[Checkpoint] = (), log_keys: LogKeys | None = None) -> LogReport:
        """Recompute the log, its chains and checkpoints' roots from bytes, up to the first thing wrong.

        The log must continue the checkpoints `held`, and with `log_keys` its own must be signed by them.

        Raises:
            CheckpointForeign: one of `held` is of another log.
            ProofError, StoreDamaged: one of its own is no checkpoint, or not signed.
        """
        with self._readers.borrow() as connection:
            notes_kept = list(connection.execute("SELECT size, note FROM checkpoints"))
        own = [checkpoint_in(size, note, log_keys) for size, note in notes_kept]
        require_same_log(own, held)
        size = self.size()
        report = check_log(self._checked_leaves(size), size, own=own, held=held)
        if report.bad is not None and not report.bad.operation_id and report.bad.leaf < size:
            operation, n = self.place_of(report.bad.leaf)
            report = replace(report, bad=replace(report.bad, operation_id=operation, n=n))
        return report

    def _checked_leaves(self, size: int) -> Iterator[CheckedLeaf]:
        try:
            for leaf in self.leaves(0, size):
                yield CheckedLeaf(body=leaf.body, kept=leaf.kept, operation=leaf.operation, n=leaf.n)
        except StoreDamaged as error:
            raise LogLeafUnreadable(error.message) from error

    def place_of(self, leaf: int) -> tuple[str, int]:
        """Return the operation and place of the record at `leaf` without reading it; ("", 0) for none."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT id, n FROM records LEFT JOIN operations ON number=op WHERE leaf=?", (leaf,)
            ).fetchone()
        return ("", 0) if row is None or row[0] is None else (unpack_operation(row[0]), int(row[1]))


def require_same_log(own: Sequence[Checkpoint], held: Sequence[Checkpoint]) -> None:
    """Return only if the checkpoints `held` are of the log of `own`, else raise CheckpointForeign."""
    for checkpoint in held:
        if own and checkpoint.log != own[-1].log:
            words = f"the checkpoint held is of {checkpoint.log[:64]!a}, not of `{own[-1].log}`"
            raise CheckpointForeign(words)


def size_in(connection: Connection) -> int:
    """Return how many leaves the log has."""
    row = connection.execute("SELECT max(leaf) FROM records").fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) + 1


def nodes_in(connection: Connection) -> NodeReader:
    """Return the reader of the tree's nodes, which raises NodeMissing for one that is not there."""

    def read(places: Sequence[Place]) -> Sequence[bytes]:
        if not places:
            return ()
        # One statement, one row: measured, each statement costs more than the node it finds.
        sql = ",".join(["(SELECT nodes FROM records WHERE leaf=?)"] * len(places))
        row = connection.execute(f"SELECT {sql}", completing(places)).fetchone() or ()
        return nodes_from(row, places)

    return read


def checkpoint_in(size: int, note: bytes, log_keys: LogKeys | None = None) -> Checkpoint:
    """Return the checkpoint in `note`, kept for `size`, signed by its log where `log_keys` are given.

    Raises:
        StoreDamaged: it is no checkpoint. CheckpointForged: it is of another size.
        CheckpointForeign, CheckpointUnsigned, SignatureWrong: its log did not sign it.
    """
    try:
        found = checkpoints.parse(notes.parse(note).text)
    except ProofError as error:
        raise StoreDamaged(f"the checkpoint of size {size} cannot be read: {error.message}") from error
    if log_keys is not None:
        checkpoints.verify(note, log_keys)
    if found.size != size:
        raise CheckpointForged(f"the checkpoint kept for {size} records says it is of {found.size}")
    return found


def epoch_in(note: bytes) -> int:
    """Return the epoch that the checkpoint `note` is of, or raise StoreDamaged."""
    try:
        epoch = checkpoints.parse(notes.parse(note).text).origin.rpartition("/")[2]
    except ProofError as error:
        raise StoreDamaged(f"the checkpoint cannot be read: {error.message}") from error
    return int(epoch) if epoch.isdecimal() else 0


def _no_leaf(leaf: int) -> StoreDamaged:
    return StoreDamaged(f"the log has no leaf `{leaf}`", leaf=leaf)
