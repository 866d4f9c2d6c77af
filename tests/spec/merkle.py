"""RFC 9162's own words for the tree and its proofs, step by step; no code is shared with `proof.merkle`.

The tree is 2.1.1, the two proofs are 2.1.3.1 and 2.1.4.1, their checks the loops of
2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256


def leaf(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + data).digest()


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node."""
    return sha256(b"\x01" + left + right).digest()


def tree_head(data: Sequence[bytes]) -> bytes:
    """MTH(D_n)."""
    if not data:
        return sha256().digest()
    if len(data) == 1:
        return leaf(data[0])
    k = split(len(data))
    return node(tree_head(data[:k]), tree_head(data[k:]))


def split(n: int) -> int:
    """Return the largest power of two smaller than `n`."""
    k = 1
    while k << 1 < n:
        k <<= 1
    return k


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D_n)."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*path(m, data[:k]), tree_head(data[k:])]
    return [*path(m - k, data[k:]), tree_head(data[:k])]


def proof(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D_n)."""
    return subproof(m, data, True)


def subproof(m: int, data: Sequence[bytes], b: bool) -> list[bytes]:
    """SUBPROOF(m, D_n, b)."""
    if m == len(data):
        return [] if b else [tree_head(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], b), tree_head(data[k:])]
    return [*subproof(m - k, data[k:], False), tree_head(data[:k])]


def root_from_inclusion(
    hashed: bytes, leaf_index: int, tree_size: int, inclusion: Sequence[bytes]
) -> bytes | None:
    """Return the root that an inclusion proof leads to, None where it fails."""
    if leaf_index >= tree_size:
        return None
    fn, sn, r = leaf_index, tree_size - 1, hashed
    for p in inclusion:
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            r = node(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node(r, p)
        fn, sn = fn >> 1, sn >> 1
    return r if sn == 0 else None


def is_consistent(
    first: int, second: int, first_hash: bytes, second_hash: bytes, consistency: Sequence[bytes]
) -> bool:
    """Return whether a consistency proof joins two trees, 0 < first < second."""
    steps = list(consistency)
    if not steps:
        return False
    if first & (first - 1) == 0:
        steps.insert(0, first_hash)
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = steps[0]
    for c in steps[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node(c, fr), node(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return fr == first_hash and sr == second_hash and sn == 0
