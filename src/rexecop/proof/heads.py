"""Heads: one root over how many changes each target has had, and which was the last.

The map target → (count, last change) is sorted by target and hashed like the log, so a
root of it, recorded in the instance's chain, pins the number of changes of every target
at that place of the log. Two such roots bound a window: what lies between two counts
must all be there, and nothing else can be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest
from rexecop.proof.codec import encode
from rexecop.proof.errors import HeadsProofWrong, ProofError
from rexecop.proof.merkle import Frontier, inclusion_proof, leaf_hash, node_reader, root_of, verify_inclusion

TARGETS_MAX: Final = 100_000  # Entries of one map that are read; ten times the largest fan-out.


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
class HeadsProofs:
    """The maps at both ends of a window: whole, or what they say about one target.

    About a target that is not in a map, its neighbours in the order speak.
    """

    kind: ClassVar[str] = "heads-proofs/1"

    start: tuple[HeadProof, ...]
    end: tuple[HeadProof, ...]


def ordered(heads: Sequence[Head]) -> tuple[Head, ...]:
    """Return `heads` in the order of the map: by the UTF-8 bytes of their targets."""
    return tuple(sorted(heads, key=lambda head: head.target.encode()))


def heads_root(heads: Sequence[Head]) -> Digest:
    """Return the root of the map of `heads`, whatever their order."""
    return Digest("sha256:" + root_of([_leaf(head) for head in ordered(heads)]).hex())


def whole_map(heads: Sequence[Head]) -> tuple[HeadProof, ...]:
    """Return the whole map, which needs no paths."""
    return tuple(HeadProof(index=index, head=head) for index, head in enumerate(ordered(heads)))


def prove_target(heads: Sequence[Head], target: str) -> tuple[HeadProof, ...]:
    """Return the proof of what the map says about `target`: its entry, else its neighbours."""
    entries = ordered(heads)
    frontier, rows = Frontier.empty(), []
    for entry in entries:
        frontier, completed = frontier.append(_leaf(entry))
        rows.append(b"".join(completed))
    name = target.encode()
    below = sum(entry.target.encode() < name for entry in entries)
    found = below < len(entries) and entries[below].target == target
    wanted = [below] if found else [index for index in (below - 1, below) if 0 <= index < len(entries)]
    node = node_reader(rows.__getitem__)
    return tuple(
        HeadProof(
            index=index,
            head=entries[index],
            path=tuple(step.hex() for step in inclusion_proof(index, len(entries), node)),
        )
        for index in wanted
    )


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
        try:
            path = [bytes.fromhex(step) for step in proof.path]
            wanted = bytes.fromhex(root.removeprefix("sha256:"))
            verify_inclusion(_leaf(proof.head), proof.index, targets, path, wanted)
        except (ProofError, ValueError) as error:
            raise HeadsProofWrong(f"entry {proof.index} of the map: {error}") from error
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


def _leaf(head: Head) -> bytes:
    return leaf_hash(encode(head))
