"""Heads: one root over how many changes each target has had, and which was the last.

The map target → (count, last change) is sorted by target and hashed like the log, so a
root of it, recorded in the instance's chain, pins the number of changes of every target
at that place of the log. Two such roots bound a window: what lies between two counts
must all be there, and nothing else can be. A second list beside it names the operations
that had not ended: none of the others can lose its newest records unseen, and neither
can they.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.errors import HeadsProofWrong, ProofError
from rexecop.proof.merkle import Frontier, inclusion_proof, leaf_hash, node_reader, root_of, verify_inclusion
from rexecop.proof.receipts import closing

TARGETS_MAX: Final = 100_000  # Entries of one map or list that are read; ten times the largest fan-out.


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """`target` has had `n` changes; `attempt` is the digest of the last. A leaf of the map."""

    kind: ClassVar[str] = "head/1"

    target: str
    n: int
    attempt: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadProof:
    """That `head` is leaf `index` of a map; `path` is empty where the whole map is given."""

    index: int
    head: Head
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """`operation` had changed something and not ended; `record` was its last. A leaf of the list."""

    kind: ClassVar[str] = "unfinished/1"

    operation: str
    record: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedProof:
    """That `unfinished` is leaf `index` of the list, by an inclusion proof in hex."""

    index: int
    unfinished: Unfinished
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsProofs:
    """The maps at both ends of a window: whole, or what they say about one target.

    About a target that is not in a map, its neighbours in the order speak. `unfinished` are
    the operations of the window that had not ended at its end.
    """

    kind: ClassVar[str] = "heads-proofs/1"

    start: tuple[HeadProof, ...]
    end: tuple[HeadProof, ...]
    unfinished: tuple[UnfinishedProof, ...] = ()


def ordered(heads: Sequence[Head]) -> tuple[Head, ...]:
    """Return `heads` in the order of the map: by the UTF-8 bytes of their targets."""
    return tuple(sorted(heads, key=lambda head: head.target.encode()))


def heads_root(heads: Sequence[Head]) -> Digest:
    """Return the root of the map of `heads`, whatever their order."""
    return _root(ordered(heads))


def whole_map(heads: Sequence[Head]) -> tuple[HeadProof, ...]:
    """Return the whole map, which needs no paths."""
    return tuple(HeadProof(index=index, head=head) for index, head in enumerate(ordered(heads)))


def prove_target(heads: Sequence[Head], target: str) -> tuple[HeadProof, ...]:
    """Return the proof of what the map says about `target`: its entry, else its neighbours."""
    entries = ordered(heads)
    name = target.encode()
    below = sum(entry.target.encode() < name for entry in entries)
    found = below < len(entries) and entries[below].target == target
    wanted = [below] if found else [index for index in (below - 1, below) if 0 <= index < len(entries)]
    paths = _paths(entries, wanted)
    return tuple(HeadProof(index=index, head=entries[index], path=path) for index, path in paths.items())


def check_whole(proofs: Sequence[HeadProof], targets: int, root: Digest) -> dict[str, Head]:
    """Return the map by target, which is all of the `targets` entries under `root`.

    Raises:
        HeadsProofWrong: an entry is missing, repeated or out of order, or the root is another.
    """
    heads = [proof.head for proof in proofs]
    names = [head.target.encode() for head in heads]
    if len(heads) != targets or [proof.index for proof in proofs] != list(range(targets)):
        raise HeadsProofWrong(f"{len(heads)} entries cannot be the whole map of {targets} targets")
    if any(left >= right for left, right in pairwise(names)):
        raise HeadsProofWrong("the entries of the map are not sorted and each once")
    if heads_root(heads) != root:
        raise HeadsProofWrong("the entries of the map do not lead to its root")
    return {head.target: head for head in heads}


def check_target(proofs: Sequence[HeadProof], target: str, targets: int, root: Digest) -> Head | None:
    """Return the entry of `target`, or None where the map under `root` is shown to have none.

    Raises:
        HeadsProofWrong: a proof does not lead to `root`, or shows nothing about `target`.
    """
    for proof in proofs:
        _require_included(proof.head, proof.index, proof.path, targets, root)
    if len(proofs) == 1 and proofs[0].head.target == target:
        return proofs[0].head
    # Entries are sorted, so a target between two neighbours, or beyond an end, is not there.
    name = target.encode()
    left = [proof for proof in proofs if proof.head.target.encode() < name]
    right = [proof for proof in proofs if proof.head.target.encode() > name]
    last = left[0].index if left else -1
    first = right[0].index if right else targets
    if len(left) > 1 or len(right) > 1 or len(left) + len(right) != len(proofs) or first != last + 1:
        raise HeadsProofWrong(f"the map is not shown to have no entry of `{target:.64}`")
    return None


def has_ended(records: Sequence[Sealed]) -> bool:
    """Return whether these first records of an operation end it: a receipt, and at most notes and reviews."""
    return closing(records) is not None


def unfinished_root(entries: Iterable[Unfinished]) -> Digest:
    """Return the root of the list of `entries`, whatever their order."""
    return _root(_by_operation(entries))


def prove_unfinished(entries: Iterable[Unfinished], operations: Iterable[str]) -> tuple[UnfinishedProof, ...]:
    """Return the proofs that those of `operations` which are in the list of `entries` are in it."""
    found, wanted = _by_operation(entries), set(operations)
    paths = _paths(found, [index for index, entry in enumerate(found) if entry.operation in wanted])
    return tuple(
        UnfinishedProof(index=index, unfinished=found[index], path=path) for index, path in paths.items()
    )


def check_unfinished(proofs: Sequence[UnfinishedProof], count: int, root: Digest) -> dict[str, Digest]:
    """Return the last record of each operation that `proofs` show in the list of `count` under `root`.

    Raises:
        HeadsProofWrong: one does not lead to `root`, or the list has two entries of one operation.
    """
    for proof in proofs:
        _require_included(proof.unfinished, proof.index, proof.path, count, root)
    found = {proof.unfinished.operation: proof.unfinished.record for proof in proofs}
    if len(found) != len(proofs):
        raise HeadsProofWrong("an operation is named twice as unfinished")
    return found


def _by_operation(entries: Iterable[Unfinished]) -> tuple[Unfinished, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.operation.encode()))


def _leaf(entry: Head | Unfinished) -> bytes:
    return leaf_hash(encode(entry))


def _root(entries: Sequence[Head | Unfinished]) -> Digest:
    return Digest("sha256:" + root_of([_leaf(entry) for entry in entries]).hex())


def _paths(entries: Sequence[Head | Unfinished], wanted: Iterable[int]) -> Mapping[int, tuple[str, ...]]:
    frontier, rows = Frontier.empty(), []
    for entry in entries:
        frontier, completed = frontier.append(_leaf(entry))
        rows.append(b"".join(completed))
    node = node_reader(rows.__getitem__)
    return {
        index: tuple(step.hex() for step in inclusion_proof(index, len(entries), node)) for index in wanted
    }


def _require_included(
    entry: Head | Unfinished, index: int, path: Sequence[str], size: int, root: Digest
) -> None:
    try:
        wanted = bytes.fromhex(root.removeprefix("sha256:"))
        verify_inclusion(_leaf(entry), index, size, [bytes.fromhex(step) for step in path], wanted)
    except (ProofError, ValueError) as error:
        raise HeadsProofWrong(f"entry {index}: {error}") from error
