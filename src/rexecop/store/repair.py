"""Finding damaged records and tree nodes, telling which of them the tree still determines, and mending.

Beside every record the tree keeps its hash, and above it the hashes of ever more of
them. A hash is sure when two of these agree: record and leaf, children and node, or
everything and a checkpoint. What is not sure is never overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Final, cast

from rexecop.operations.errors import OperationUnknown
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.chain import Sealed, check_link, unseal
from rexecop.proof.checkpoint import Checkpoint, require_continued
from rexecop.proof.codec import RECORD_BYTES_MAX
from rexecop.proof.errors import LogRecordAltered, ProofError
from rexecop.proof.logcheck import BadRecord, LogReport
from rexecop.proof.merkle import (
    HASH_BYTES,
    Frontier,
    inclusion_proof,
    leaf_hash,
    node_hash,
    verify_inclusion,
)
from rexecop.store.database import Connection, Readers
from rexecop.store.errors import StoreDamaged
from rexecop.store.log import PAGE_LEAVES, QUARANTINE, SAY, Leaf, Log, checkpoint_in
from rexecop.store.packing import pack_body, pack_operation, unpack_body, unpack_operation

TAILS_MAX: Final = 20_000  # Ends of chains remembered while checking; others are read again.
TAIL_LEAVES: Final = 4096  # Checked each time, some tenths of a second: what was written last is lost first.
UNKNOWN_PLACE: Final = -1  # Where even the place of a lost record cannot be told.
NODES: Final = "the tree nodes stored beside it are not those of its log"
UNREAD: Final = "the checkpoint of this size cannot be read"
BEYOND: Final = "a checkpoint covers more than the log holds"
FORKED: Final = "a checkpoint was signed over another log"

_ROWS: Final = """
SELECT leaf, id, n, body, nodes FROM records LEFT JOIN operations ON number=op
WHERE leaf>=? AND leaf<? ORDER BY leaf
"""
# The index of places may outlive the page of a row.
PLACE: Final = "SELECT id, n FROM records INDEXED BY places LEFT JOIN operations ON number=op WHERE leaf=?"
_GAPS: Final = """
SELECT id, 0 FROM operations WHERE NOT EXISTS (SELECT 1 FROM records WHERE op=number AND n=0)
UNION ALL SELECT id, n+1 FROM records AS here JOIN operations ON number=op
WHERE NOT EXISTS (SELECT 1 FROM records WHERE op=here.op AND n=here.n+1)
AND (EXISTS (SELECT 1 FROM records WHERE op=here.op AND n>here.n) OR operations.records>n+1) LIMIT 2
"""
_MARKED: Final = (len(QUARANTINE), QUARANTINE)
_OF_ONE: Final = """
SELECT leaf, n, body, nodes FROM records WHERE op=(SELECT number FROM operations WHERE id=?) ORDER BY n
"""
_PUT: Final = """
INSERT INTO records(leaf, op, n, body, nodes) VALUES(?, (SELECT number FROM operations WHERE id=?), ?, ?, ?)
ON CONFLICT(leaf) DO UPDATE
SET body=excluded.body, nodes=CASE length(excluded.nodes) WHEN 0 THEN records.nodes ELSE excluded.nodes END
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Record `n` of `operation` at `leaf`, whose bytes are not those that were logged.

    `hash` is what the tree says that the record hashes to; None where that is lost as well.
    """

    leaf: int
    operation: str = ""
    n: int = UNKNOWN_PLACE
    reason: str
    hash: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What a walk over `size` leaves found. `root` is None where the tree does not determine it.

    `nodes` are rows of tree nodes as they should be, where they are not, `notes` the sizes of
    checkpoints that cannot be read; `unfit` is what no damage explains: records that are what was
    logged and do not follow one another, and checkpoints over another log.
    """

    size: int
    root: bytes | None
    damaged: tuple[Damage, ...]
    nodes: tuple[Leaf, ...]
    notes: tuple[int, ...]
    unfit: tuple[Damage, ...]


@dataclass(frozen=True, slots=True)
class _Node:
    """A hash, None where it is lost, and whether another one vouches for it."""

    hash: bytes | None
    sure: bool


class _Tree:
    """The right edge of a tree of which hashes may be lost; each node is compared with the stored one."""

    def __init__(self) -> None:
        self.size = 0
        self.peaks: list[_Node] = []

    def append(self, leaf: _Node, stored: bytes) -> list[_Node]:
        """Take `leaf` in, beside which `stored` lies; return the nodes it completes."""
        size, node, completed = self.size, leaf, [leaf]
        while size & 1:
            left, found = self.peaks.pop(), _level(stored, len(completed))
            made = None if left.hash is None or node.hash is None else node_hash(left.hash, node.hash)
            sure = made is not None and (made == found or (left.sure and node.sure))
            node = _Node(made, True) if sure else _Node(found, False)
            completed.append(node)
            size >>= 1
        self.peaks.append(node)
        self.size += 1
        return completed

    def root(self) -> bytes | None:
        """Return the root, or None where a peak is lost."""
        hashes = tuple(peak.hash for peak in self.peaks if peak.hash is not None)
        return Frontier(size=self.size, peaks=hashes).root() if len(hashes) == len(self.peaks) else None


class Examiner:
    """Walks once over the log in the file, record by record, past whatever is damaged."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._log = Log(readers)
        self._tree = _Tree()
        self._roots, self._notes = kept_roots(readers)  # Before the size, which only grows.
        self._size = self._log.size()
        self._own: dict[int, bytes] = {}  # The root as the stored nodes have it.
        with suppress(ProofError, StoreDamaged):
            self._own[self._size] = self._log.root(self._size)
        self._tails: dict[str, Sealed] = {}
        self._broken: set[tuple[str, int]] = set()

    def run(self) -> Examination:
        """Return everything that is wrong with the log as it is now."""
        size = self._size
        damaged: list[Damage] = []
        nodes: list[Leaf] = []
        unfit: list[Damage] = []
        for row in self._rows(0, size):
            leaf, damage = self._judge(row)
            completed = self._tree.append(leaf, row.nodes)
            should = b"".join(one.hash or b"" for one in completed)
            if row.body and all(one.sure for one in completed) and row.nodes != should:
                nodes.append(replace(row, nodes=should))
            if damage is not None:
                damaged.append(damage)
                self._broken.add((damage.operation, damage.n))
            elif (reason := self._unfit(row)) is not None:
                unfit.append(Damage(leaf=row.leaf, operation=row.operation, n=row.n, reason=reason))
            if not self._is_checked():
                unfit.append(Damage(leaf=row.leaf, reason=FORKED))
        unfit += [Damage(leaf=size, reason=BEYOND) for kept in self._roots if kept > size]
        return Examination(
            size=size,
            root=self._tree.root(),
            damaged=self._named(damaged),
            nodes=tuple(nodes),
            notes=self._notes,
            unfit=tuple(unfit),
        )

    def _is_checked(self) -> bool:
        """Compare the tree with the checkpoint of its size: if they are equal, every hash in it is sure."""
        kept, peaks = self._roots.get(self._tree.size), self._tree.peaks
        if kept is None or kept == self._tree.root():
            self._tree.peaks = peaks if kept is None else [replace(peak, sure=True) for peak in peaks]
            return True
        return not all(peak.sure for peak in peaks)

    def _judge(self, row: Leaf) -> tuple[_Node, Damage | None]:
        """Return the hash of the leaf in `row`, and what is wrong with its record."""
        stored, reason, found = _level(row.nodes, 0), "its bytes are not those that were logged", None
        try:
            found = leaf_hash(unpack_body(row.body))
        except StoreDamaged as error:
            reason = error.message if row.body else "it is missing"
        # Where the two differ and the record is the right one, it is the node that was damaged.
        if found is not None and (found == stored or self._is_right(row, found, stored)):
            return _Node(found, True), None
        lost = Damage(leaf=row.leaf, operation=row.operation, n=row.n, reason=reason, hash=stored)
        return _Node(stored, False), lost

    def _is_right(self, row: Leaf, found: bytes, stored: bytes | None) -> bool:
        """Return whether the record in `row`, which hashes to `found` and not to `stored`, was logged so."""
        roots = {size: root for size, root in self._roots.items() if size > row.leaf}
        last = not roots and row.leaf + 1 == self._size
        if not (last and self._size & 1):  # Else the stored root rests on nothing but the stored hash.
            roots = self._own | roots
        if any(self._is_under(root, size, row.leaf, found) for size, root in roots.items()):
            return True
        if not last or any(self._is_under(root, size, row.leaf, stored) for size, root in roots.items()):
            return False
        # Of the very last leaf the tree may know nothing. By accident no bytes become a record
        # that names its place and the record before it.
        return (row.operation, row.n - 1) not in self._broken and self._unfit(row) is None

    def _is_under(self, root: bytes, size: int, leaf: int, candidate: bytes | None) -> bool:
        try:
            path = self._log.with_nodes(partial(inclusion_proof, leaf, size))
            verify_inclusion(candidate or b"", leaf, size, path, root)
        except (ProofError, StoreDamaged):
            return False
        return True

    def _unfit(self, row: Leaf) -> str | None:
        """Return why the record in `row` does not follow the one before it, if that can be read."""
        last = self._tails.pop(row.operation, None)
        try:
            sealed = unseal(unpack_body(row.body))
            said = sealed.record
            if (said.operation, said.n) != (row.operation, row.n):
                return f"it says it is record {said.n} of `{said.operation}`"
            if (row.operation, row.n - 1) not in self._broken:
                if row.n > 0 and (last is None or last.record.n != row.n - 1):
                    last = unseal(self._log.body_at(self._log.leaf_of(row.operation, row.n - 1)))
                check_link(last if row.n > 0 else None, sealed, row.n)
        except OperationUnknown as error:
            return None if ("", UNKNOWN_PLACE) in self._broken else error.message
        except (ProofError, StoreDamaged) as error:
            return error.message
        self._tails[row.operation] = sealed
        while len(self._tails) > TAILS_MAX:
            del self._tails[next(iter(self._tails))]
        return None

    def _rows(self, start: int, stop: int) -> Iterator[Leaf]:
        """Yield every place in order, bodies still packed; what cannot be read is empty."""
        if stop - start > PAGE_LEAVES:
            for first in range(start, stop, PAGE_LEAVES):
                yield from self._rows(first, min(first + PAGE_LEAVES, stop))
            return
        found: dict[int, Leaf] = {}
        try:
            with self._readers.borrow() as connection:
                for leaf, key, n, body, nodes in connection.execute(_ROWS, (start, stop)):
                    found[leaf] = Leaf(leaf, "" if key is None else unpack_operation(key), n, body, nodes)
        except StoreDamaged:
            if stop - start > 1:
                middle = (start + stop) // 2
                yield from self._rows(start, middle)
                yield from self._rows(middle, stop)
                return
        for place in range(start, stop):
            yield found.get(place) or Leaf(place, *self._place(PLACE, (place,)), b"", b"")

    def _named(self, damaged: list[Damage]) -> tuple[Damage, ...]:
        """Return `damaged`; a single lost record of which nothing is left is named by the gap it makes."""
        if sum(item.n == UNKNOWN_PLACE for item in damaged) != 1:
            return tuple(damaged)
        operation, n = self._place(_GAPS, ())
        return tuple(
            replace(item, operation=operation, n=n) if item.n == UNKNOWN_PLACE else item for item in damaged
        )

    def _place(self, query: str, values: tuple[int, ...]) -> tuple[str, int]:
        """Return the one place that `query` finds, an unknown one where it finds none or several."""
        try:
            with self._readers.borrow() as connection:
                rows = list(connection.execute(query, values))
        except StoreDamaged:
            rows = []
        known = len(rows) == 1 and rows[0][0] is not None
        return (unpack_operation(rows[0][0]), int(rows[0][1])) if known else ("", UNKNOWN_PLACE)


def _level(stored: bytes, level: int) -> bytes | None:
    found = stored[level * HASH_BYTES : (level + 1) * HASH_BYTES]
    return found if len(found) == HASH_BYTES else None


def kept_roots(readers: Readers) -> tuple[dict[int, bytes], tuple[int, ...]]:
    """Return the roots of the checkpoints kept, by size, and the sizes of those that cannot be read."""
    roots: dict[int, bytes] = {}
    bad: list[int] = []
    with readers.borrow() as connection:
        for size, note in connection.execute("SELECT size, note FROM checkpoints"):
            try:
                roots[size] = checkpoint_in(size, note).root
            except (ProofError, StoreDamaged):
                bad.append(size)
    return roots, tuple(bad)


def glance(readers: Readers, operations: Iterable[str], known: frozenset[int]) -> int:
    """Check the newest leaves and checkpoint, and all records of `operations`; return how many records.

    Leaves `known` to be damaged are passed over.

    Raises:
        StoreDamaged, ProofError: one is not what was logged; an `Examiner` tells everything.
    """
    log, seen = Log(readers), set(known)
    kept, size = log.kept_checkpoint(), log.size()
    if kept is not None and checkpoint_in(kept.size, kept.note).root != log.root(kept.size):
        raise StoreDamaged(FORKED)
    start = max(0, size - TAIL_LEAVES)
    edges = [start - 1, *sorted(leaf for leaf in known if leaf >= start), size]
    rows = [row for before, stop in pairwise(edges) for row in log.leaves(before + 1, stop)]
    hashes = [leaf_hash(row.body) for row in rows]
    if len(edges) == 2:
        grown, nodes = log.with_nodes(partial(Frontier.load, start)).extend(hashes)
        sound = [row.nodes for row in rows] == nodes and grown.root() == log.root(size)
    else:  # Above what is lost no node can be computed.
        sound = [row.nodes[:HASH_BYTES] for row in rows] == hashes
    if not sound:
        raise StoreDamaged(NODES)
    seen.update(row.leaf for row in rows)
    checked = len(seen) - len(known)
    for operation in operations:
        with readers.borrow() as connection:
            found = list(connection.execute(_OF_ONE, (pack_operation(operation),)))
        for place, (leaf, n, body, nodes) in enumerate(found):
            if leaf is None or leaf in seen:
                continue
            if n != place or leaf_hash(unpack_body(body)) != nodes[:HASH_BYTES]:
                raise StoreDamaged(f"record {place} of `{operation}` is not what was logged")
            checked += 1
    return checked


def set_aside(readers: Readers) -> tuple[Damage, ...]:
    """Return the records that are known to be damaged, as they were named."""
    with readers.borrow() as connection:
        rows = list(connection.execute("SELECT name, value FROM meta WHERE substr(name,1,?)=?", _MARKED))
    return tuple(_named(int(name.removeprefix(QUARANTINE)), value) for name, value in rows)


def _named(leaf: int, said: str) -> Damage:
    found = cast("dict[str, Json]", parse_json(said, bytes_max=RECORD_BYTES_MAX))
    operation, reason = str(found["operation"]), str(found["reason"])
    return Damage(leaf=leaf, operation=operation, n=cast("int", found["n"]), reason=reason)


def report_around(readers: Readers, known: frozenset[int], held: Sequence[Checkpoint]) -> LogReport:
    """Return what checking the log finds beside the leaves that are `known` to be damaged.

    Raises:
        StoreDamaged: a checkpoint cannot be read.
    """
    found = Examiner(readers).run()
    wrong = [
        *((item.leaf, item.operation, item.n, item.reason) for item in (*found.damaged, *found.unfit)),
        *((item.leaf, item.operation, item.n, NODES) for item in found.nodes if item.leaf not in known),
        *((size, "", UNKNOWN_PLACE, UNREAD) for size in found.notes),
        *((item.size, "", UNKNOWN_PLACE, why) for item in held if (why := _discontinued(readers, item))),
    ]
    bad = [
        BadRecord(code=LogRecordAltered.code, leaf=leaf, operation_id=of, n=n, reason=why)
        for leaf, of, n, why in sorted(wrong)
    ]
    return LogReport(
        size=found.size,
        root=found.root or b"",
        bad=next((item for item in bad if item.leaf not in known), None),
        quarantined=tuple(item for item in bad if item.leaf in known),
    )


def _discontinued(readers: Readers, held: Checkpoint) -> str | None:
    """Return why the log does not continue `held`, None if it does."""
    log = Log(readers)
    try:
        require_continued(held, log.size(), log.root)
    except (ProofError, StoreDamaged) as error:
        return error.message
    return None


def put_back(connection: Connection, records: Iterable[Leaf]) -> None:
    """Store `records` where they stood; the nodes of one that brings none are left as they are."""
    for item in records:
        row = (item.leaf, pack_operation(item.operation), item.n, pack_body(item.body), item.nodes)
        connection.execute(_PUT, row)
        connection.execute("DELETE FROM meta WHERE name=?", (f"{QUARANTINE}{item.leaf}",))


def mend(connection: Connection, found: Examination) -> None:
    """Store tree nodes as they should be, and drop checkpoints nobody can read: losing one is harmless."""
    rows = [(item.nodes, item.leaf) for item in found.nodes]
    connection.executemany("UPDATE records SET nodes=? WHERE leaf=?", rows)
    sizes = [(size,) for size in found.notes]
    connection.executemany("DELETE FROM checkpoints WHERE size=?", sizes)


def quarantine(connection: Connection, damaged: Iterable[Damage], by: str, at: str) -> None:
    """Remember `damaged` as known: who named them and when."""
    for item in damaged:
        said: dict[str, Json] = {"operation": item.operation, "n": item.n, "reason": item.reason}
        row = (f"{QUARANTINE}{item.leaf}", canonical_bytes({**said, "by": by, "at": at}).decode())
        connection.execute(SAY, row)
