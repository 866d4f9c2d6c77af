"""The Merkle tree, against published vectors and a tree computed the slow way."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.proof import merkle
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import (
    ConsistencyProofWrong,
    InclusionProofWrong,
    LogError,
    LogProofMalformed,
    NodeMissing,
)
from rexecop.proof.merkle import Frontier

# The test data of Certificate Transparency's own Merkle tree: eight leaves, the root at each size.
DATA = [
    bytes.fromhex(text)
    for text in (
        *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    bytes.fromhex(text)
    for text in (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
]
INCLUSION_OF_5_IN_8 = (
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)
CONSISTENCY_OF_6_WITH_8 = (
    "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
)
CONSISTENCY_OF_2_WITH_5 = (
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
)

sizes = st.integers(min_value=1, max_value=130)


def leaves(count: int) -> list[bytes]:
    """Distinct leaf hashes."""
    return [merkle.leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word for word."""
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(naive_root(hashes[:split]), naive_root(hashes[split:]))


def naive_path(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(hashes) == 1:
        return []
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    if index < split:
        return [*naive_path(index, hashes[:split]), naive_root(hashes[split:])]
    return [*naive_path(index - split, hashes[split:]), naive_root(hashes[:split])]


def naive_subproof(old: int, hashes: Sequence[bytes], complete: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if old == len(hashes):
        return [] if complete else [naive_root(hashes)]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    if old <= split:
        return [*naive_subproof(old, hashes[:split], complete), naive_root(hashes[split:])]
    return [*naive_subproof(old - split, hashes[split:], False), naive_root(hashes[:split])]


def rows_of(hashes: Sequence[bytes]) -> list[bytes]:
    """What a store keeps: for each leaf the nodes it completed, joined."""
    frontier, rows = Frontier.empty(), []
    for value in hashes:
        frontier, completed = frontier.append(value)
        rows.append(b"".join(completed))
    return rows


def unhex(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(text) for text in texts)


def test_the_published_roots_come_out() -> None:
    hashes = [merkle.leaf_hash(data) for data in DATA]

    assert [merkle.root_of(hashes[: size + 1]) for size in range(8)] == ROOTS
    assert merkle.root_of([]) == sha256(b"") == Frontier.empty().root()


def test_the_published_proofs_come_out_and_verify() -> None:
    hashes = [merkle.leaf_hash(data) for data in DATA]
    node = merkle.node_reader(rows_of(hashes).__getitem__)

    assert merkle.inclusion_proof(5, 8, node) == unhex(INCLUSION_OF_5_IN_8)
    assert merkle.consistency_proof(6, 8, node) == unhex(CONSISTENCY_OF_6_WITH_8)
    assert merkle.consistency_proof(2, 5, node) == unhex(CONSISTENCY_OF_2_WITH_5)
    merkle.verify_inclusion(hashes[5], 5, 8, unhex(INCLUSION_OF_5_IN_8), ROOTS[7])
    merkle.verify_consistency(6, 8, ROOTS[5], ROOTS[7], unhex(CONSISTENCY_OF_6_WITH_8))
    merkle.verify_consistency(2, 5, ROOTS[1], ROOTS[4], unhex(CONSISTENCY_OF_2_WITH_5))


@given(sizes)
def test_a_frontier_has_the_root_of_the_tree_and_can_be_loaded_from_its_nodes(size: int) -> None:
    hashes = leaves(size)
    frontier = Frontier.empty()
    for value in hashes:
        frontier, _ = frontier.append(value)

    assert frontier.root() == naive_root(hashes)
    assert Frontier.load(size, merkle.node_reader(rows_of(hashes).__getitem__)) == frontier


@given(sizes)
def test_every_full_node_is_in_the_row_of_the_leaf_that_completes_it(size: int) -> None:
    hashes = leaves(size)
    rows = rows_of(hashes)
    node = merkle.node_reader(rows.__getitem__)

    completed = [((leaf + 1) & -(leaf + 1)).bit_length() for leaf in range(size)]
    assert [len(row) // 32 for row in rows] == completed
    for level in range(size.bit_length()):
        for index in range(size >> level):
            assert node([(level, index)]) == [naive_root(hashes[index << level : (index + 1) << level])]


def test_every_inclusion_proof_is_the_naive_one_and_verifies() -> None:
    hashes = leaves(40)
    node = merkle.node_reader(rows_of(hashes).__getitem__)
    for size in range(1, 41):
        root = naive_root(hashes[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, node)
            assert list(proof) == naive_path(index, hashes[:size])
            merkle.verify_inclusion(hashes[index], index, size, proof, root)


def test_every_consistency_proof_is_the_naive_one_and_verifies() -> None:
    hashes = leaves(40)
    node = merkle.node_reader(rows_of(hashes).__getitem__)
    roots = [naive_root(hashes[:size]) for size in range(41)]
    for new in range(41):
        assert merkle.consistency_proof(0, new, node) == ()
        merkle.verify_consistency(0, new, roots[0], roots[new], ())
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(old, new, node)
            assert list(proof) == naive_subproof(old, hashes[:new])
            merkle.verify_consistency(old, new, roots[old], roots[new], proof)


@given(st.data(), sizes)
def test_an_inclusion_proof_with_anything_changed_refuses(data: st.DataObject, size: int) -> None:
    hashes = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, merkle.node_reader(rows_of(hashes).__getitem__))
    root = naive_root(hashes)
    parts = [hashes[index], root, *proof]
    part = data.draw(st.integers(0, len(parts) - 1))
    parts[part] = flipped(parts[part], data)

    with pytest.raises(InclusionProofWrong):
        merkle.verify_inclusion(parts[0], index, size, parts[2:], parts[1])
    for wrong in set(range(size)) - {index}:
        with pytest.raises(LogError):
            merkle.verify_inclusion(hashes[index], wrong, size, proof, root)
    for mangled in (proof[:-1], (*proof, root), proof[1:]):
        if mangled != proof:
            with pytest.raises(LogProofMalformed):
                merkle.verify_inclusion(hashes[index], index, size, mangled, root)


@given(st.data(), st.integers(min_value=2, max_value=130))
def test_a_consistency_proof_with_anything_changed_refuses(data: st.DataObject, new: int) -> None:
    hashes = leaves(new)
    old = data.draw(st.integers(1, new - 1))
    proof = merkle.consistency_proof(old, new, merkle.node_reader(rows_of(hashes).__getitem__))
    old_root, new_root = naive_root(hashes[:old]), naive_root(hashes)
    parts = [old_root, new_root, *proof]
    part = data.draw(st.integers(0, len(parts) - 1))
    parts[part] = flipped(parts[part], data)

    with pytest.raises(ConsistencyProofWrong):
        merkle.verify_consistency(old, new, parts[0], parts[1], parts[2:])
    for mangled in (proof[:-1], (*proof, new_root)):
        with pytest.raises(LogProofMalformed):
            merkle.verify_consistency(old, new, old_root, new_root, mangled)


@given(st.data(), st.integers(min_value=2, max_value=130))
def test_a_log_that_rewrote_an_older_leaf_is_never_consistent(data: st.DataObject, new: int) -> None:
    hashes = leaves(new)
    old = data.draw(st.integers(1, new - 1))
    rewritten = list(hashes)
    rewritten[data.draw(st.integers(0, old - 1))] = merkle.leaf_hash(b"another")
    proof = merkle.consistency_proof(old, new, merkle.node_reader(rows_of(rewritten).__getitem__))

    with pytest.raises(ConsistencyProofWrong):
        merkle.verify_consistency(old, new, naive_root(hashes[:old]), naive_root(rewritten), proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 4), (0, -1), (0, merkle.LEAVES_MAX + 1)])
def test_a_place_outside_the_tree_is_malformed(index: int, size: int) -> None:
    with pytest.raises(LogProofMalformed):
        merkle.verify_inclusion(ROOTS[0], index, size, (), ROOTS[0])
    with pytest.raises(LogProofMalformed):
        merkle.inclusion_proof(index, size, lambda places: [ROOTS[0]])


def test_sizes_out_of_order_and_hashes_of_another_length_are_malformed() -> None:
    with pytest.raises(LogProofMalformed):
        merkle.verify_consistency(5, 4, ROOTS[4], ROOTS[3], ())
    with pytest.raises(LogProofMalformed):
        merkle.verify_consistency(4, 5, ROOTS[3], ROOTS[4], ())
    with pytest.raises(LogProofMalformed):
        merkle.verify_inclusion(ROOTS[0][:31], 0, 1, (), ROOTS[0])
    with pytest.raises(LogProofMalformed):
        merkle.consistency_proof(5, 4, lambda places: [ROOTS[0]])


def test_one_size_with_two_roots_is_a_fork() -> None:
    with pytest.raises(ConsistencyProofWrong):
        merkle.verify_consistency(3, 3, ROOTS[2], ROOTS[3], ())
    with pytest.raises(ConsistencyProofWrong):
        merkle.verify_consistency(0, 3, ROOTS[0], ROOTS[2], ())
    merkle.verify_consistency(3, 3, ROOTS[2], ROOTS[2], ())


def test_a_row_cut_short_is_named_and_not_hashed_over() -> None:
    rows = rows_of(leaves(8))
    rows[7] = rows[7][:-1]

    with pytest.raises(NodeMissing) as caught:
        Frontier.load(8, merkle.node_reader(rows.__getitem__))
    assert caught.value.facts == {"leaf": 7, "level": 3}


def test_a_frontier_with_too_few_subtrees_cannot_be_made() -> None:
    with pytest.raises(LogProofMalformed):
        Frontier(size=3, peaks=(ROOTS[0],))


def flipped(value: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value, "big") ^ 1 << at).to_bytes(len(value), "big")
