"""What the tree still determines is put right, what it does not is named, and nothing sound is touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rexecop.operations.errors import StoreError
from rexecop.proof.chain import seal
from rexecop.proof.merkle import HASH_BYTES, inclusion_proof, leaf_hash, verify_inclusion
from rexecop.proof.records.instance import Note
from rexecop.store.packing import pack_body
from rexecop.store.repair import Examination
from rexecop.store.sqlite import SqliteStore
from tests.store.samples import batch, notes, operation_id
from tests.store.test_checkpoints import Key

SIZES = (1, 2, 3, 7, 8, 13, 32)


class Ledger:
    """A ledger of `size` leaves of three interleaved chains, and the rows as they were."""

    def __init__(self, path: Path, size: int, *, covered: bool) -> None:
        self.path = path
        last: dict[int, int] = {}
        with SqliteStore.create(path, "instance") as store:
            chains = {i: notes(operation_id(i), size) for i in range(3)}
            for leaf in range(size):
                i = leaf % 3
                n = last.get(i, 0)
                store.append_sync(batch((chains[i][n],)))
                last[i] = n + 1
            if covered:
                store.checkpoint(Key())
            self.root = store.root(size)
        self.rows = rows(path)

    def damage(self, sql: str, values: tuple[object, ...] = ()) -> None:
        connection = apsw.Connection(str(self.path))
        connection.execute(sql, values)
        connection.close()

    def examine(self) -> Examination:
        with SqliteStore.open(self.path, read_only=True) as store:
            return store.examine()


def rows(path: Path) -> dict[int, tuple[bytes, bytes]]:
    connection = apsw.Connection(str(path))
    found = {
        leaf: (body, nodes)
        for leaf, body, nodes in connection.execute("SELECT leaf, body, nodes FROM records")
    }
    connection.close()
    return found


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Ledger]:
    kept: dict[tuple[int, bool], Ledger] = {}

    def make(size: int, *, covered: bool = True) -> Ledger:
        """Give a fresh copy; making one costs a flush for each leaf."""
        original = kept.get((size, covered))
        if original is None:
            original = kept[size, covered] = Ledger(tmp_path / f"{size}-{covered}", size, covered=covered)
        copy = object.__new__(Ledger)
        copy.path, copy.root, copy.rows = tmp_path / "copy", original.root, original.rows
        shutil.copyfile(original.path, copy.path)
        return copy

    return make


@pytest.mark.parametrize("covered", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_sound_ledger_has_nothing_wrong(made: Callable[..., Ledger], size: int, covered: bool) -> None:
    ledger = made(size, covered=covered)

    found = ledger.examine()

    assert (found.size, found.root) == (size, ledger.root)
    assert (found.damaged, found.nodes, found.notes, found.unfit) == ((), (), (), ())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(SIZES), st.booleans(), st.data())
def test_a_damaged_record_is_named_and_the_tree_is_left_alone(
    made: Callable[..., Ledger], size: int, covered: bool, data: st.DataObject
) -> None:
    ledger = made(size, covered=covered)
    leaf = data.draw(st.integers(0, size - 1))
    body = ledger.rows[leaf][0]
    broken = data.draw(
        st.one_of(
            st.integers(0, len(body) - 1).map(lambda at: flipped(body, at)),
            st.just(bytes(len(body))),
            st.just(body[:-1]),
            st.just(b""),
        )
    )
    ledger.damage("UPDATE records SET body=? WHERE leaf=?", (broken, leaf))

    found = ledger.examine()

    named = [(item.leaf, item.operation, item.n, item.hash) for item in found.damaged]
    assert named == [(leaf, operation_id(leaf % 3), leaf // 3, ledger.rows[leaf][1][:HASH_BYTES])]
    assert (found.nodes, found.unfit, found.root) == ((), (), ledger.root)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.sampled_from(SIZES), st.booleans(), st.data())
def test_damaged_tree_nodes_are_computed_again_and_no_record_is_blamed(
    made: Callable[..., Ledger], size: int, covered: bool, data: st.DataObject
) -> None:
    ledger = made(size, covered=covered)
    leaf = data.draw(st.integers(0, size - 1))
    nodes = ledger.rows[leaf][1]
    at = data.draw(st.integers(0, len(nodes) - 1))
    broken = data.draw(st.sampled_from([flipped(nodes, at), nodes[:at], bytes(len(nodes))]))
    ledger.damage("UPDATE records SET nodes=? WHERE leaf=?", (broken, leaf))

    with SqliteStore.open(ledger.path, read_only=True) as store:
        found = store.examine()
        assert (found.damaged, found.unfit, found.root) == ((), (), ledger.root)
        store.mend(found)
        assert store.verify_log().bad is None

    assert rows(ledger.path) == ledger.rows


@pytest.mark.parametrize("leaf", range(13))
def test_a_record_that_is_gone_is_named_by_the_gap_it_leaves(made: Callable[..., Ledger], leaf: int) -> None:
    ledger = made(13)
    ledger.damage("DELETE FROM records WHERE leaf=?", (leaf,))

    found = ledger.examine()

    if leaf < 12:
        assert [(d.leaf, d.operation, d.n) for d in found.damaged] == [
            (leaf, operation_id(leaf % 3), leaf // 3)
        ]
        assert found.unfit == ()
    else:
        assert any("covers more" in item.reason for item in found.unfit)
    assert found.nodes == ()


def test_a_well_formed_forgery_is_damage_and_the_tree_is_not_made_to_fit_it(
    made: Callable[..., Ledger],
) -> None:
    for size, covered, leaf in ((13, True, 12), (13, True, 5), (13, False, 5), (8, False, 7), (7, True, 6)):
        ledger = made(size, covered=covered)
        with SqliteStore.open(ledger.path, read_only=True) as store:
            record = store.journal(operation_id(leaf % 3)).records[leaf // 3].record
        assert isinstance(record, Note)
        forged = seal(replace(record, text="another story")).body
        ledger.damage("UPDATE records SET body=? WHERE leaf=?", (pack_body(forged), leaf))

        found = ledger.examine()

        assert [item.leaf for item in found.damaged] == [leaf], (size, covered, leaf)
        assert found.nodes == ()


def test_a_zeroed_stretch_is_named_and_what_stands_around_it_is_checked(made: Callable[..., Ledger]) -> None:
    ledger = made(32)
    ledger.damage("UPDATE records SET body=zeroblob(20), nodes=zeroblob(32) WHERE leaf BETWEEN 4 AND 9")
    ledger.damage("UPDATE records SET body=zeroblob(20) WHERE leaf=20")

    found = ledger.examine()

    assert [item.leaf for item in found.damaged] == [4, 5, 6, 7, 8, 9, 20]
    assert found.root == ledger.root
    assert found.unfit == ()


def test_pages_of_the_file_that_cannot_be_read_lose_their_records_only(made: Callable[..., Ledger]) -> None:
    ledger = made(32)
    connection = apsw.Connection(str(ledger.path))
    pages = list(
        connection.execute(
            "SELECT pageno FROM dbstat WHERE name='records' AND pagetype='leaf' ORDER BY pageno"
        )
    )
    size = connection.pragma("page_size")
    connection.close()
    with ledger.path.open("r+b") as file:
        file.seek((pages[1][0] - 1) * size)
        file.write(b"\xff" * 100)

    found = ledger.examine()

    assert 0 < len(found.damaged) < 32
    assert [item.leaf for item in found.damaged] == list(
        range(found.damaged[0].leaf, found.damaged[-1].leaf + 1)
    )
    assert all(item.operation == operation_id(item.leaf % 3) for item in found.damaged)


def test_around_what_is_quarantined_the_log_goes_on_and_the_rest_is_checked(
    made: Callable[..., Ledger],
) -> None:
    ledger = made(13, covered=False)
    ledger.damage("UPDATE records SET body=zeroblob(9) WHERE leaf=12")
    with SqliteStore.open(ledger.path) as store, pytest.raises(StoreError):
        store.checkpoint(Key())
    with SqliteStore.open(ledger.path) as store:
        store.quarantine(store.examine().damaged, "root", "2026-01-01T00:00:00.000Z")
        assert store.quarantined() == {12}
        store.append_sync(batch(notes(operation_id(7), 4)))
        key = Key()
        checkpoint = store.checkpoint(key)
        assert checkpoint is not None and checkpoint.size == 17
        root = key.signed[-1][1]
        for leaf in (0, 12, 16):
            path = store.with_nodes(lambda node, leaf=leaf: inclusion_proof(leaf, 17, node))  # type: ignore[misc]
            lost = ledger.rows.get(leaf, (b"", b""))[1][:HASH_BYTES]
            verify_inclusion(lost or leaf_hash(store.body_at(leaf)), leaf, 17, path, root)

        report = store.verify_log()
        assert report.bad is None
        assert [(item.leaf, item.operation_id, item.n) for item in report.quarantined] == [
            (12, operation_id(0), 4)
        ]

    ledger.damage("UPDATE records SET body=zeroblob(9) WHERE leaf=3")
    with SqliteStore.open(ledger.path, read_only=True) as store:
        report = store.verify_log()
        assert report.bad is not None and report.bad.leaf == 3
        assert [item.leaf for item in report.quarantined] == [12]


def test_the_rest_around_the_quarantined_includes_chains_and_checkpoints(made: Callable[..., Ledger]) -> None:
    ledger = made(13)
    ledger.damage("UPDATE records SET body=zeroblob(9) WHERE leaf=2")
    with SqliteStore.open(ledger.path) as store:
        store.quarantine(store.examine().damaged, "root", "2026-01-01T00:00:00.000Z")
    ledger.damage("UPDATE records SET n=n+20 WHERE leaf=7")

    with SqliteStore.open(ledger.path, read_only=True) as store:
        bad = store.verify_log().bad

    assert bad is not None and bad.leaf == 7


def test_a_checkpoint_nobody_can_read_is_dropped_and_holds_nothing_up(made: Callable[..., Ledger]) -> None:
    ledger = made(8)
    ledger.damage("UPDATE checkpoints SET note=x'00'")
    with SqliteStore.open(ledger.path) as store, pytest.raises(StoreError):
        store.checkpoint(Key())
    with SqliteStore.open(ledger.path) as store:
        found = store.examine()
        assert found.notes == (8,)
        store.mend(found)
        assert store.checkpoint(Key()) is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.sampled_from([7, 13, 32]),
    st.sets(st.integers(0, 31), min_size=1, max_size=6),
    st.sampled_from(["body", "row", "gone"]),
)
def test_a_copy_gives_back_exactly_what_was_lost(
    made: Callable[..., Ledger], size: int, leaves: set[int], how: str
) -> None:
    ledger = made(size)
    copy = ledger.path.with_name("backup")
    shutil.copyfile(ledger.path, copy)
    lost = {leaf % size for leaf in leaves}
    for leaf in lost:
        ledger.damage(
            {
                "body": "UPDATE records SET body=x'7b7d' WHERE leaf=?",
                "row": "UPDATE records SET body=zeroblob(9), nodes=zeroblob(32) WHERE leaf=?",
                "gone": "DELETE FROM records WHERE leaf=?",
            }[how],
            (leaf,),
        )

    with (
        SqliteStore.open(ledger.path, read_only=True) as store,
        SqliteStore.open(copy, read_only=True) as backup,
    ):
        shared = store.agrees_with(backup)
        assert shared == size or (how == "gone" and size - 1 in lost)
        damaged = [leaf for leaf in backup.leaves(0, size) if leaf.leaf in lost]
        store.put_back(damaged)
        store.mend(store.examine())

    assert rows(ledger.path) == ledger.rows


def test_a_copy_of_another_log_agrees_with_nothing(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    Ledger(one, 8, covered=True)
    with SqliteStore.create(other, "instance") as store:
        store.append_sync(batch(notes(operation_id(9), 9)))
    with SqliteStore.open(one, read_only=True) as ours, SqliteStore.open(other, read_only=True) as theirs:
        assert ours.agrees_with(theirs) == 0
