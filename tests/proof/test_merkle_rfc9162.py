"""Our tree and proofs are those of RFC 9162, as another implementation of its text says."""

from __future__ import annotations

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import merkle
from rexecop.proof.errors import LogError
from rexecop.proof.merkle import Frontier, node_reader
from tests.spec import merkle as rfc

SIZES: Final = st.integers(1, 200)


def data_of(size: int) -> list[bytes]:
    return [b"record %d" % number for number in range(size)]


def reader_of(data: list[bytes]) -> merkle.NodeReader:
    frontier, rows = Frontier.empty(), []
    for item in data:
        frontier, completed = frontier.append(merkle.leaf_hash(item))
        rows.append(b"".join(completed))
    return node_reader(rows.__getitem__)


@given(SIZES)
def test_roots_are_the_same(size: int) -> None:
    data = data_of(size)

    assert merkle.root_of([merkle.leaf_hash(item) for item in data]) == rfc.tree_head(data)


@given(st.data(), SIZES)
def test_inclusion_proofs_are_the_same_and_each_side_believes_the_other(
    data: st.DataObject, size: int
) -> None:
    entries = data_of(size)
    index = data.draw(st.integers(0, size - 1))
    root, ours = rfc.tree_head(entries), merkle.inclusion_proof(index, size, reader_of(entries))

    assert list(ours) == rfc.path(index, entries)
    assert rfc.root_from_inclusion(rfc.leaf(entries[index]), index, size, ours) == root
    merkle.verify_inclusion(rfc.leaf(entries[index]), index, size, rfc.path(index, entries), root)


@given(st.data(), st.integers(2, 200))
def test_consistency_proofs_are_the_same_and_each_side_believes_the_other(
    data: st.DataObject, size: int
) -> None:
    entries = data_of(size)
    old = data.draw(st.integers(1, size - 1))
    ours = merkle.consistency_proof(old, size, reader_of(entries))
    roots = rfc.tree_head(entries[:old]), rfc.tree_head(entries)

    assert list(ours) == rfc.proof(old, entries)
    assert rfc.is_consistent(old, size, *roots, ours)
    merkle.verify_consistency(old, size, *roots, rfc.proof(old, entries))


@given(st.data(), st.integers(2, 60))
def test_both_refuse_the_same_changed_proofs(data: st.DataObject, size: int) -> None:
    """What is changed may be the place, the size or the path; the verdicts must agree."""
    entries = data_of(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size - 1))
    claimed, claimed_size = data.draw(st.integers(0, size)), data.draw(st.integers(1, size + 2))
    proof = list(data.draw(st.permutations(rfc.path(index, entries)))) + data.draw(
        st.sampled_from([[], [bytes(32)]])
    )
    root, hashed = rfc.tree_head(entries), rfc.leaf(entries[index])
    steps = list(data.draw(st.permutations(rfc.proof(old, entries))))

    believed = rfc.root_from_inclusion(hashed, claimed, claimed_size, proof) == root
    assert believed == agrees(lambda: merkle.verify_inclusion(hashed, claimed, claimed_size, proof, root))
    joined = rfc.is_consistent(old, size, rfc.tree_head(entries[:old]), root, steps)
    ours = agrees(lambda: merkle.verify_consistency(old, size, rfc.tree_head(entries[:old]), root, steps))
    assert joined == ours


def agrees(check: object) -> bool:
    assert callable(check)
    try:
        check()
    except LogError:
        return False
    return True


def test_the_reference_can_refuse() -> None:
    assert rfc.root_from_inclusion(bytes(32), 3, 3, []) is None
    assert not rfc.is_consistent(2, 5, bytes(32), bytes(32), [])
    assert agrees(lambda: None)
    with pytest.raises(AssertionError):
        agrees(None)
