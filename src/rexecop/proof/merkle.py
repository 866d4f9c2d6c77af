"""The Merkle tree of the log: RFC 6962 hashing, and RFC 9162's proofs over it.

A node is named by (level, index): level 0 holds the leaves, and a node of level k
stands over the 2^k leaves from index << k on. Only full nodes are ever kept, and
a full node never changes. Each is completed by exactly one leaf, so a store that
keeps beside leaf i the nodes that leaf i completed holds every node in one known
row (`node_reader`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from rexecop.proof.canonical import INTEGER_MAX, sha256
from rexecop.proof.errors import (
    ConsistencyProofWrong,
    InclusionProofWrong,
    LogProofEmpty,
    LogProofMalformed,
    NodeMissing,
)

HASH_BYTES: Final = 32
LEAVES_MAX: Final = INTEGER_MAX  # A size stands in evidence as an integer.
EMPTY_ROOT: Final = sha256(b"")

Place: TypeAlias = tuple[int, int]
"""Level and index of a node."""

NodeReader: TypeAlias = Callable[[Sequence[Place]], Sequence[bytes]]
"""Returns the hashes of the full nodes at some places, in their order: all that one proof needs, at once."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf that holds `data`."""
    return sha256(b"\x00" + data)


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node over two subtrees."""
    return sha256(b"\x01" + left + right)


def completing(places: Sequence[Place]) -> list[int]:
    """Return for each of `places` the leaf that completes its node."""
    return [((index + 1) << level) - 1 for level, index in places]


def nodes_from(rows: Iterable[bytes | None], places: Sequence[Place]) -> list[bytes]:
    """Return the nodes at `places`, each from its row: the nodes its completing leaf completed, joined.

    Raises:
        NodeMissing: a row is not there, or too short for the node it should hold.
    """
    found = []
    for (level, index), row in zip(places, rows, strict=True):
        node = (row or b"")[level * HASH_BYTES : (level + 1) * HASH_BYTES]
        if len(node) != HASH_BYTES:
            leaf = ((index + 1) << level) - 1
            raise NodeMissing(f"leaf `{leaf}` lacks its node of level {level}", leaf=leaf, level=level)
        found.append(node)
    return found


def node_reader(row: Callable[[int], bytes]) -> NodeReader:
    """Return a reader of nodes over rows that hold the nodes each leaf completed, joined.

    When read it raises NodeMissing for a node that its row does not hold.
    """
    return lambda places: nodes_from(map(row, completing(places)), places)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """The right edge of a tree: all that is needed to append to it.

    `peaks` are the hashes of the full subtrees that `size` splits into, left
    (largest) first, one for each bit set in `size`.
    """

    size: int
    peaks: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.peaks) != self.size.bit_count():
            raise LogProofMalformed(f"{len(self.peaks)} subtree hashes cannot make up a tree of {self.size}")

    @classmethod
    def empty(cls) -> Frontier:
        """Return the frontier of the tree without leaves."""
        return cls(size=0, peaks=())

    @classmethod
    def load(cls, size: int, nodes: NodeReader) -> Frontier:
        """Return the frontier of the tree of `size`, read from stored nodes."""
        return cls(size=size, peaks=tuple(nodes(_full(0, size))))

    def append(self, leaf: bytes) -> tuple[Frontier, tuple[bytes, ...]]:
        """Return the frontier with the leaf hash `leaf`, and the nodes it completed, level 0 first."""
        grown, (row,) = self.extend((leaf,))
        return grown, tuple(row[at : at + HASH_BYTES] for at in range(0, len(row), HASH_BYTES))

    def extend(self, leaves: Iterable[bytes]) -> tuple[Frontier, list[bytes]]:
        """Return the frontier with the leaf hashes `leaves`, and for each the nodes it completed, joined."""
        size, peaks, rows = self.size, list(self.peaks), []
        for leaf in leaves:
            node, row, bits = leaf, leaf, size
            while bits & 1:
                node = node_hash(peaks.pop(), node)
                row += node
                bits >>= 1
            peaks.append(node)
            rows.append(row)
            size += 1
        return Frontier(size=size, peaks=tuple(peaks)), rows

    def root(self) -> bytes:
        """Return the root of the tree."""
        return _join(self.peaks)


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the root over `leaf_hashes`, computed from all of them."""
    return Frontier.empty().extend(leaf_hashes)[0].root()


def inclusion_proof(index: int, size: int, nodes: NodeReader) -> tuple[bytes, ...]:
    """Return the path from leaf `index` to the root of the tree of `size`.

    Raises:
        LogProofMalformed: there is no such leaf.
    """
    _require_place(index, size)
    _, siblings = _way(index, size, whole=False)
    return _subtrees(siblings, nodes)


def consistency_proof(old: int, new: int, nodes: NodeReader) -> tuple[bytes, ...]:
    """Return the proof that the tree of size `new` begins with the tree of size `old`.

    It is empty when `old` is 0 or equals `new`.

    Raises:
        LogProofMalformed: `old` is negative or beyond `new`.
    """
    _require_growth(old, new)
    if old == 0:
        return ()
    first, siblings = _way(old - 1, new, whole=True)
    # A verifier already holds the old root; when that is the subtree itself it is not repeated.
    shared = [(first, old)] if first else []
    return _subtrees([*shared, *siblings], nodes)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return only if the leaf hash `leaf` is at `index` of the tree that has `size` and `root`.

    `size` and `root` must come from one checkpoint: a proof alone does not bind a size.

    Raises:
        LogProofMalformed: no such place, or a proof too short or too long for it.
        InclusionProofWrong: the proof leads to another root.
    """
    _require_place(index, size)
    _, siblings = _way(index, size, whole=False)
    _require_hashes((leaf, root, *proof), 2 + len(siblings))
    for (start, _), step in zip(siblings, proof, strict=True):
        leaf = node_hash(step, leaf) if start <= index else node_hash(leaf, step)
    if leaf != root:
        raise InclusionProofWrong(
            f"leaf `{index}` is not under the root of size {size}", index=index, size=size
        )


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return only if the tree (`new`, `new_root`) continues the tree (`old`, `old_root`).

    Raises:
        LogProofMalformed: sizes out of order, or a proof too short or too long for them.
        ConsistencyProofWrong: the proof does not lead to both roots.
    """
    _require_growth(old, new)
    first, siblings = _way(old - 1, new, whole=True) if old else (0, [])
    _require_hashes((old_root, new_root, *proof), 2 + bool(first) + len(siblings))
    # When the old tree is itself the subtree reached, its root begins the path and the proof leaves it out.
    shared, *path = proof if first else (old_root, *proof)
    old_found = new_found = shared
    for (start, _), step in zip(siblings, path, strict=True):
        if start < old:
            old_found, new_found = node_hash(step, old_found), node_hash(step, new_found)
        else:
            new_found = node_hash(new_found, step)
    expected = (old_root, new_root) if old else (EMPTY_ROOT, old_root)
    if (old_found, new_found) != expected:
        raise ConsistencyProofWrong(f"tree of {new} does not continue the tree of {old}", old=old, new=new)


def _way(leaf: int, size: int, *, whole: bool) -> tuple[int, list[tuple[int, int]]]:
    """Walk from the root down to `leaf`, or with `whole` to the largest subtree that ends with it.

    Returns the first leaf of where the way ends, and the subtrees [start, end) beside it, lowest first.
    """
    siblings = []
    start, end = 0, size
    while end - start > 1 and not (whole and end == leaf + 1):
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if leaf < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    return start, siblings[::-1]


def _full(start: int, end: int) -> list[Place]:
    """Split the subtree [start, end) into full nodes, left first."""
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def _subtrees(spans: Sequence[tuple[int, int]], nodes: NodeReader) -> tuple[bytes, ...]:
    """Return the hash over each subtree [start, end), all their nodes read at once."""
    parts = [_full(start, end) for start, end in spans]
    found = iter(nodes([place for part in parts for place in part]))
    # Of all subtrees only the one at the right edge is made of more than one node.
    return tuple(next(found) if len(part) == 1 else _join(tuple(islice(found, len(part)))) for part in parts)


def _join(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    found = peaks[-1]
    for peak in reversed(peaks[:-1]):
        found = node_hash(peak, found)
    return found


def _require_place(index: int, size: int) -> None:
    if not 0 <= index < size <= LEAVES_MAX:
        raise LogProofMalformed(f"a tree of {size} has no leaf `{index}`", index=index, size=size)


def _require_growth(old: int, new: int) -> None:
    if not 0 <= old <= new <= LEAVES_MAX:
        raise LogProofMalformed(f"a tree of {new} cannot continue a tree of {old}", old=old, new=new)


def _require_hashes(hashes: Sequence[bytes], count: int) -> None:
    if len(hashes) == 2 < count:
        raise LogProofEmpty(f"there is no proof where one of {count - 2} hashes is needed")
    if len(hashes) != count or any(len(value) != HASH_BYTES for value in hashes):
        raise LogProofMalformed(f"a proof is not made of {count - 2} hashes of {HASH_BYTES} bytes")
