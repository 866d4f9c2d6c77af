"""The Merkle log in the file: reading it, and checking it from its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import apsw

from rexecop.operations.errors import OperationUnknown
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.chain import Sealed, check_link, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import HASH_BYTES, Frontier, NodeReader, leaf_hash, node_reader
from rexecop.store.connection import Readers
from rexecop.store.errors import StoreDamaged
from rexecop.store.packing import pack_operation, unpack_body, unpack_operation

PAGE_LEAVES: Final = 512  # Leaves read at a time: a reader that is slow must not pin the file's history.
TAILS_MAX: Final = 20_000  # Ends of chains remembered while checking; others are read again.

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


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRecord:
    """The first record that is not what the log says."""

    leaf: int
    operation: str
    n: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What checking found: the log's `size` and `root` as recomputed, and the first bad record."""

    size: int
    root: bytes
    bad: BadRecord | None


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
        """Return `use(node)`, all nodes read over one connection; NodeMissing for one that is not there."""
        with self._readers.borrow() as connection:
            return use(nodes_in(connection))

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the full tree node at (`level`, `index`), or raise NodeMissing."""
        return self.with_nodes(lambda node: node(level, index))

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves; NodeMissing when the log is shorter."""
        return self.with_nodes(lambda node: Frontier.load(size, node).root())

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
            OperationUnknown: there is no such record.
        """
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT leaf FROM records WHERE op=(SELECT number FROM operations WHERE id=?) AND n=?",
                (pack_operation(operation), n),
            ).fetchone()
        if row is None:
            raise OperationUnknown(f"operation `{operation}` has no record {n}", operation=operation)
        return int(row[0])

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

    def verify_log(self) -> LogReport:
        """Recompute the log, its chains and checkpoints' roots from bytes, up to the first bad record."""
        with self._readers.borrow() as connection:
            notes_kept = list(connection.execute("SELECT size, note FROM checkpoints"))
        check = _Check(self, {size: root_in(size, note) for size, note in notes_kept})
        bad = check.run(self.size())
        return LogReport(size=check.frontier.size, root=check.frontier.root(), bad=bad)

    def place_of(self, leaf: int) -> tuple[str, int]:
        """Return the operation and place of the record at `leaf` without reading it; ("", 0) for none."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT id, n FROM records LEFT JOIN operations ON number=op WHERE leaf=?", (leaf,)
            ).fetchone()
        return ("", 0) if row is None or row[0] is None else (unpack_operation(row[0]), int(row[1]))


class _Check:
    """One walk over the whole log; `frontier` is the tree of what was found good, `roots` of checkpoints."""

    def __init__(self, log: Log, roots: dict[int, bytes]) -> None:
        self.frontier = Frontier.empty()
        self._log = log
        self._roots = roots
        self._tails: dict[str, Sealed] = {}

    def run(self, size: int) -> BadRecord | None:
        try:
            for leaf in self._log.leaves(0, size):
                reason = self._fault(leaf)
                if reason is not None:
                    return BadRecord(leaf=leaf.leaf, operation=leaf.operation, n=leaf.n, reason=reason)
        except StoreDamaged as error:
            operation, n = self._log.place_of(self.frontier.size)
            return BadRecord(leaf=self.frontier.size, operation=operation, n=n, reason=error.message)
        if any(found > size for found in self._roots):
            reason = "a checkpoint covers more than the log holds"
            return BadRecord(leaf=size, operation="", n=0, reason=reason)
        return None

    def _fault(self, leaf: Leaf) -> str | None:
        """Return what is wrong with `leaf`, which is the next; or take it in."""
        frontier, completed = self.frontier.append(leaf_hash(leaf.body))
        if leaf.nodes[:HASH_BYTES] != completed[0]:
            return "the record's bytes are not those that were logged"
        if leaf.nodes != b"".join(completed):
            return "the tree nodes stored beside it are not those of its log"
        if frontier.size in self._roots and self._roots[frontier.size] != frontier.root():
            return "a checkpoint was signed over another log"
        try:
            self._link(leaf)
        except (ProofError, StoreDamaged, OperationUnknown) as error:
            return error.message
        self.frontier = frontier
        return None

    def _link(self, leaf: Leaf) -> None:
        sealed = unseal(leaf.body)
        if sealed.record.operation != leaf.operation:
            raise StoreDamaged(f"it says it belongs to `{sealed.record.operation}`, not `{leaf.operation}`")
        last = self._tails.pop(leaf.operation, None)
        if last is None and leaf.n > 0:
            last = unseal(self._log.body_at(self._log.leaf_of(leaf.operation, leaf.n - 1)))
        check_link(last, sealed, leaf.n)
        self._tails[leaf.operation] = sealed
        while len(self._tails) > TAILS_MAX:
            del self._tails[next(iter(self._tails))]


def size_in(connection: apsw.Connection) -> int:
    """Return how many leaves the log has."""
    row = connection.execute("SELECT max(leaf) FROM records").fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) + 1


def nodes_in(connection: apsw.Connection) -> NodeReader:
    """Return the reader of the tree's nodes, which raises NodeMissing for one that is not there."""

    def row(leaf: int) -> bytes:
        found = connection.execute("SELECT nodes FROM records WHERE leaf=?", (leaf,)).fetchone()
        return b"" if found is None else bytes(found[0])

    return node_reader(row)


def root_in(size: int, note: bytes) -> bytes:
    """Return the root that the checkpoint `note`, kept for `size`, names.

    Raises:
        StoreDamaged: it is no checkpoint of that size.
    """
    try:
        found = checkpoints.parse(notes.parse(note).text)
    except ProofError as error:
        raise StoreDamaged(f"the checkpoint of size {size} cannot be read: {error.message}") from error
    if found.size != size:
        raise StoreDamaged(f"the checkpoint of size {size} says it is of size {found.size}")
    return found.root


def _no_leaf(leaf: int) -> StoreDamaged:
    return StoreDamaged(f"the log has no leaf `{leaf}`", leaf=leaf)
