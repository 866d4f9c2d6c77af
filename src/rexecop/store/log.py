"""Reading the Merkle log out of the file, and checking it from its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import apsw

from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.chain import Sealed, check_link, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import HASH_BYTES, Frontier, leaf_hash, node_reader
from rexecop.store.errors import StoreDamaged
from rexecop.store.packing import Packed, pack_operation, unpack_body, unpack_operation
from rexecop.store.readers import Readers

PAGE_LEAVES: Final = 512  # Leaves read at a time: a reader that is slow must not pin the file's history.
TAILS_MAX: Final = 20_000  # Ends of chains remembered while checking; others are read again.

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
            return size_of(connection)

    def node(self, level: int, index: int) -> bytes:
        """Return the hash of the full tree node at (`level`, `index`).

        Raises:
            NodeMissing: the log does not hold it.
        """
        with self._readers.borrow() as connection:
            return node_reader(_rows(connection))(level, index)

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first `size` leaves, from stored nodes.

        Raises:
            NodeMissing: the log is shorter.
        """
        with self._readers.borrow() as connection:
            return Frontier.load(size, node_reader(_rows(connection))).root()

    def with_nodes(self, use: Callable[[Callable[[int, int], bytes]], T]) -> T:
        """Return `use(node)`, all nodes read over one connection: for proofs."""
        with self._readers.borrow() as connection:
            return use(node_reader(_rows(connection)))

    def body_at(self, leaf: int) -> bytes:
        """Return the bytes of the record at `leaf`.

        Raises:
            StoreDamaged: there is none, or it cannot be unpacked.
        """
        with self._readers.borrow() as connection:
            row = connection.execute("SELECT body FROM records WHERE leaf=?", (leaf,)).fetchone()
        if row is None:
            raise StoreDamaged(f"the log has no leaf `{leaf}`", leaf=leaf)
        return unpack_body(row[0])

    def leaf_of(self, operation: Packed, n: int) -> int | None:
        """Return the leaf that record `n` of `operation` is, or None."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT leaf FROM records WHERE op=(SELECT number FROM operations WHERE id=?) AND n=?",
                (operation, n),
            ).fetchone()
        return None if row is None else int(row[0])

    def leaves(self, start: int, stop: int) -> Iterator[Leaf]:
        """Yield the leaves from `start` up to and without `stop`, reading a page at a time.

        Raises:
            StoreDamaged: a leaf is missing or cannot be unpacked.
        """
        while start < stop:
            end = min(start + PAGE_LEAVES, stop)
            yield from self._page(start, end)
            start = end

    def _page(self, start: int, end: int) -> list[Leaf]:
        with self._readers.borrow() as connection:
            rows = list(
                connection.execute(
                    "SELECT leaf, id, n, body, nodes FROM records LEFT JOIN operations ON number=op"
                    " WHERE leaf>=? AND leaf<? ORDER BY leaf",
                    (start, end),
                )
            )
        found = [
            Leaf(leaf, unpack_operation(key) if key is not None else "", n, unpack_body(body), nodes)
            for leaf, key, n, body, nodes in rows
        ]
        for expected, leaf in enumerate(found, start=start):
            if leaf.leaf != expected:
                raise StoreDamaged(f"the log has no leaf `{expected}`", leaf=expected)
        if len(found) < end - start:
            raise StoreDamaged(f"the log has no leaf `{start + len(found)}`", leaf=start + len(found))
        return found

    def place_of(self, leaf: int) -> tuple[str, int]:
        """Return the operation and place of the record at `leaf` without reading it; ("", 0) for none."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT id, n FROM records LEFT JOIN operations ON number=op WHERE leaf=?", (leaf,)
            ).fetchone()
        return ("", 0) if row is None or row[0] is None else (unpack_operation(row[0]), int(row[1]))

    def checkpoint(self, at_least: int = 0) -> StoredCheckpoint | None:
        """Return the oldest checkpoint kept that covers `at_least` leaves; the newest for 0."""
        order = "ASC" if at_least else "DESC"
        with self._readers.borrow() as connection:
            row = connection.execute(
                f"SELECT size, note FROM checkpoints WHERE size>=? ORDER BY size {order} LIMIT 1",
                (at_least,),
            ).fetchone()
        return None if row is None else StoredCheckpoint(size=row[0], note=row[1])

    def verify(self) -> LogReport:
        """Recompute the log, its chains and checkpoints' roots from bytes, up to the first bad record."""
        return _Check(self).run()

    def roots(self) -> dict[int, bytes]:
        """Return the root of every checkpoint kept, by size; signatures are not looked at here."""
        with self._readers.borrow() as connection:
            rows = list(connection.execute("SELECT size, note FROM checkpoints"))
        return {size: root_in(size, note) for size, note in rows}

    def chain_record(self, operation: str, n: int, key: Packed) -> Sealed:
        """Return record `n` of `operation`, read again."""
        leaf = self.leaf_of(key, n)
        if leaf is None:
            raise StoreDamaged(f"record {n} of `{operation}` is missing")
        return unseal(self.body_at(leaf))


class _Check:
    """One walk over the whole log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._frontier = Frontier.empty()
        self._tails: dict[str, Sealed] = {}

    def run(self) -> LogReport:
        roots, size = self._log.roots(), self._log.size()
        try:
            for leaf in self._log.leaves(0, size):
                reason = self._fault(leaf, roots)
                if reason is not None:
                    return self._report(leaf, reason)
        except StoreDamaged as error:
            # A page with an unreadable row: take its rows one by one to name the first.
            return self._named(roots, size, error)
        if any(found > size for found in roots):
            place = BadRecord(
                leaf=size, operation="", n=0, reason="a checkpoint covers more than the log holds"
            )
            return LogReport(size=size, root=self._frontier.root(), bad=place)
        return LogReport(size=size, root=self._frontier.root(), bad=None)

    def _named(self, roots: dict[int, bytes], size: int, error: StoreDamaged) -> LogReport:
        for place in range(self._frontier.size, size):
            try:
                (leaf,) = self._log.leaves(place, place + 1)
            except StoreDamaged as damaged:
                operation, n = self._log.place_of(place)
                bad = BadRecord(leaf=place, operation=operation, n=n, reason=damaged.message)
                return LogReport(size=place, root=self._frontier.root(), bad=bad)
            reason = self._fault(leaf, roots)
            if reason is not None:
                return self._report(leaf, reason)
        raise error

    def _fault(self, leaf: Leaf, roots: dict[int, bytes]) -> str | None:
        """Return what is wrong with `leaf`, which is the next; or take it in."""
        frontier, completed = self._frontier.append(leaf_hash(leaf.body))
        if leaf.nodes[:HASH_BYTES] != completed[0]:
            return "the record's bytes are not those that were logged"
        if leaf.nodes != b"".join(completed):
            return "the tree nodes stored beside it are not those of its log"
        if frontier.size in roots and roots[frontier.size] != frontier.root():
            return "a checkpoint was signed over another log"
        try:
            self._link(leaf)
        except (ProofError, StoreDamaged) as error:
            return error.message
        self._frontier = frontier
        return None

    def _link(self, leaf: Leaf) -> None:
        sealed = unseal(leaf.body)
        if sealed.record.operation != leaf.operation:
            raise StoreDamaged(f"it says it belongs to `{sealed.record.operation}`, not `{leaf.operation}`")
        last = self._tails.pop(leaf.operation, None)
        if last is None and leaf.n > 0:
            last = self._log.chain_record(leaf.operation, leaf.n - 1, pack_operation(leaf.operation))
        check_link(last, sealed, leaf.n)
        self._tails[leaf.operation] = sealed
        while len(self._tails) > TAILS_MAX:
            del self._tails[next(iter(self._tails))]

    def _report(self, leaf: Leaf, reason: str) -> LogReport:
        bad = BadRecord(leaf=leaf.leaf, operation=leaf.operation, n=leaf.n, reason=reason)
        return LogReport(size=leaf.leaf, root=self._frontier.root(), bad=bad)


def size_of(connection: apsw.Connection) -> int:
    """Return how many leaves the log has."""
    row = connection.execute("SELECT max(leaf) FROM records").fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) + 1


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


def _rows(connection: apsw.Connection) -> Callable[[int], bytes]:
    def nodes(leaf: int) -> bytes:
        row = connection.execute("SELECT nodes FROM records WHERE leaf=?", (leaf,)).fetchone()
        return b"" if row is None else bytes(row[0])

    return nodes
