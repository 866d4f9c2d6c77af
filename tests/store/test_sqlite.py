"""The SQLite ledger: the contract, its file, its log, and what a damaged one still answers."""

import asyncio
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.errors import AppendConflict, OperationUnknown, StoreUnavailable
from rexecop.operations.ports import Batch, Journal, Row
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import RexecopError
from rexecop.proof.merkle import inclusion_proof, leaf_hash, verify_inclusion
from rexecop.store import schema
from rexecop.store.errors import StoreReadOnly
from rexecop.store.rows import rows_in
from rexecop.store.sqlite import SQLITE_FIXED, SqliteStore
from tests.store.contract import A, B, LoggedStore, StoreContract, begin, blob, more, put
from tests.store.faulty import Disk
from tests.store.samples import batch, notes, operation_id, row, two_step


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class TestSqlite(StoreContract):
    @pytest.fixture
    def store(self, path: Path) -> Iterator[LoggedStore]:
        with SqliteStore.create(path, "instance") as store:
            yield store


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962's definition, word for word."""
    if not leaves:
        return sha256(b"")
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0])
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return sha256(b"\1" + naive_root(leaves[:half]) + naive_root(leaves[half:]))


def raw(path: Path, sql: str) -> None:
    """Change the file behind the store's back."""
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


# --- the file ---


def test_the_ledger_is_its_owners_alone(path: Path) -> None:
    before = os.umask(0)
    try:
        with SqliteStore.create(path, "instance") as store:
            begin(store, A)
            files = sorted(path.parent.iterdir())
            assert {file.name for file in files} == {"ledger.db", "ledger.db-wal", "ledger.db-shm"}
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_a_ledger_knows_its_instance_and_epoch(path: Path) -> None:
    SqliteStore.create(path, "inst_1").close()

    with SqliteStore.open(path, read_only=True) as store:
        assert (store.instance_id, store.epoch) == ("inst_1", 1)


def test_an_existing_file_is_never_overwritten(path: Path) -> None:
    path.write_bytes(b"mine")

    with pytest.raises(StoreUnavailable) as refused:
        SqliteStore.create(path, "instance")

    assert refused.value.code == "store-exists"
    assert path.read_bytes() == b"mine"
    assert list(path.parent.iterdir()) == [path]


def test_a_ledger_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for where in (tmp_path / "file" / "ledger.db", tmp_path / "none" / "ledger.db"):
        with pytest.raises(StoreUnavailable):
            SqliteStore.create(where, "instance")

    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def _foreign(path: Path) -> None:
    raw(path, "CREATE TABLE t(a)")


def _newer(path: Path) -> None:
    SqliteStore.create(path, "instance").close()
    raw(path, f"PRAGMA user_version={schema.VERSION + 1}")


def _text(path: Path) -> None:
    path.write_bytes(b"not a database, but long enough to have a header of its own" * 20)


REFUSED = {
    "store-missing": lambda path: None,
    "store-foreign": _foreign,
    "store-newer": _newer,
}


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize("code", REFUSED)
def test_a_file_that_is_not_ours_to_use_is_refused_by_name(path: Path, code: str, read_only: bool) -> None:
    REFUSED[code](path)

    with pytest.raises(StoreUnavailable) as refused:
        SqliteStore.open(path, read_only=read_only)

    assert refused.value.code == code


@pytest.mark.parametrize("make", [_text, Path.touch])
def test_a_file_that_is_no_database_is_foreign(path: Path, make: object) -> None:
    assert callable(make)
    make(path)

    with pytest.raises(StoreUnavailable) as refused:
        SqliteStore.open(path)

    assert refused.value.code == "store-foreign"


def test_a_store_opened_for_reading_refuses_to_write_and_reads(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store, SqliteStore.open(path, read_only=True) as reader:
        begin(store, A)

        assert len(reader.journal(A).records) == 1
        with pytest.raises(StoreReadOnly):
            begin(reader, B)


def test_a_closed_store_refuses_everything(path: Path) -> None:
    store = SqliteStore.create(path, "instance")
    store.close()
    store.close()

    with pytest.raises(StoreUnavailable):
        begin(store, A)
    with pytest.raises(StoreUnavailable):
        store.rows()


def test_the_sqlite_in_use_has_the_wal_repair(path: Path) -> None:
    assert tuple(int(part) for part in SqliteStore.sqlite_version().split(".")) >= SQLITE_FIXED


# --- the log ---


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), max_size=12), st.booleans())
def test_the_root_is_that_of_all_bodies_in_order(
    tmp_path_factory: pytest.TempPathFactory, shape: list[list[int]], reopen: bool
) -> None:
    path = tmp_path_factory.mktemp("log") / "ledger.db"
    store = SqliteStore.create(path, "instance")
    tails: dict[int, Batch] = {}
    bodies: list[bytes] = []
    for group in shape:
        for which in group:
            last = tails[which].records[-1] if which in tails else None
            records = notes(operation_id(which), which + 1, after=last, text="long " * 200 * which)
            tails[which] = Batch(operation=operation_id(which), expected=records[0].record.n, records=records)
            store.append_sync(tails[which])
            bodies.extend(sealed.body for sealed in records)
        if reopen:
            store.close()
            store = SqliteStore.open(path)
    with store:
        assert store.size() == len(bodies)
        assert [leaf.body for leaf in store.leaves(0, len(bodies))] == bodies
        for size in range(len(bodies) + 1):
            assert store.root(size) == naive_root(bodies[:size])
        report = store.verify_log()
        assert (report.bad, report.root) == (None, naive_root(bodies))
        for leaf, body in enumerate(bodies):
            proof = store.with_nodes(partial(inclusion_proof, leaf, len(bodies)))
            verify_inclusion(leaf_hash(body), leaf, len(bodies), proof, store.root(len(bodies)))


def test_one_at_a_time_and_all_together_make_the_same_operations(tmp_path: Path) -> None:
    chains = [two_step(number) for number in range(20)]
    one, all_ = (SqliteStore.create(tmp_path / name, "instance") for name in ("one.db", "all.db"))

    async def drive(chain: tuple[Batch, ...]) -> None:
        for each in chain:
            await all_.append(each)

    async def together() -> None:
        await asyncio.gather(*(drive(chain) for chain in chains))

    with one, all_:
        for chain in chains:
            for each in chain:
                one.append_sync(each)
        asyncio.run(together())

        for chain in chains:
            assert one.journal(chain[0].operation) == all_.journal(chain[0].operation)
        assert (one.verify_log().bad, all_.verify_log().bad) == (None, None)
        assert one.size() == all_.size() == 200


def test_threads_and_loops_share_one_writer(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:

        async def drive(base: int) -> None:
            await asyncio.gather(*(store.append(batch(notes(operation_id(base + i), 2))) for i in range(20)))
            # A loop may also wait in the plain way, while its own work is on its way.
            waiting = asyncio.ensure_future(store.append(batch(notes(operation_id(base + 20), 2))))
            await asyncio.sleep(0)
            store.append_sync(batch(notes(operation_id(base + 21), 2)))
            await waiting

        def plain(base: int) -> None:
            for i in range(20):
                store.append_sync(batch(notes(operation_id(base + i), 2)))

        threads = [threading.Thread(target=lambda b=b: asyncio.run(drive(b))) for b in (1000, 2000)]
        threads += [threading.Thread(target=plain, args=(b,)) for b in (3000, 4000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert store.size() == 2 * (22 + 22 + 20 + 20)
        assert store.verify_log().bad is None


@pytest.mark.parametrize("waiting_in", ["a thread", "another loop"])
def test_work_of_a_loop_that_went_away_holds_nobody_up(path: Path, waiting_in: str) -> None:
    with SqliteStore.create(path, "instance") as store:
        loop = asyncio.new_event_loop()
        task = loop.create_task(store.append(batch(notes(A, 1))))
        loop.call_soon(loop.stop)
        loop.run_forever()
        if waiting_in == "a thread":
            store.append_sync(batch(notes(B, 1)))
        else:
            put(store, batch(notes(B, 1)))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        loop.close()

        assert store.size() == 2


def test_a_reader_that_knows_of_no_newer_commit_does_not_read_a_page_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(*asked: Any, **more: Any) -> Any:  # noqa: ANN401 - as `rows_in`
        read.append(more["limit"])
        return rows_in(*asked, **more)

    monkeypatch.setattr("rexecop.store.reading.rows_in", counted)
    with SqliteStore.create(path, "instance") as store, SqliteStore.open(path) as other:
        begin(store, A)
        pages = [store.rows(limit=2), store.rows(limit=2), store.rows(limit=3)]
        begin(other, B)
        pages += [store.rows(limit=2), store.rows(limit=1000), store.rows(limit=1000)]

        assert [len(page) for page in pages] == [1, 1, 1, 2, 2, 2]
        assert read == [2, 3, 2, 1000, 1000]


def test_a_single_append_costs_one_flush_and_a_crowd_shares_one(path: Path) -> None:
    SqliteStore.create(path, "instance").close()
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        begin(store, A)
        disk.reset()
        for each in two_step(7):
            put(store, each)
        assert disk.flushes == 4

        disk.reset()

        async def crowd() -> None:
            await asyncio.gather(*(store.append(batch(notes(operation_id(i), 2))) for i in range(100, 132)))

        asyncio.run(crowd())
        assert disk.flushes <= 2


def test_taking_and_giving_back_a_lease_costs_no_flush_of_its_own(path: Path) -> None:
    SqliteStore.create(path, "instance").close()
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        first = begin(store, A)
        disk.reset()
        lease = store.acquire(A, "one", first.record.at + timedelta(60), first.record.at)
        assert lease is not None
        store.release(lease)
        assert (disk.flushes, disk.writes > 0) == (0, True)
        put(store, more(first))
        assert disk.flushes == 1


def test_a_two_step_operation_takes_less_than_ten_kilobytes(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        for number in range(100):
            for each in two_step(number):
                store.append_sync(each)

    assert path.stat().st_size < 100 * 10_000


# --- damage ---


@pytest.fixture
def whole(path: Path) -> Path:
    with SqliteStore.create(path, "instance") as store:
        put(store, batch(notes(A, 3, text="aaaa")), batch(notes(B, 4)))
    return path


@pytest.fixture
def damaged(whole: Path) -> Path:
    raw(
        whole,
        "UPDATE records SET body=CAST(replace(CAST(body AS TEXT), 'aaaa', 'aaab') AS BLOB) WHERE leaf=1",
    )
    return whole


def test_a_damaged_record_is_named_and_the_others_are_read(damaged: Path) -> None:
    with SqliteStore.open(damaged) as store:
        journal = store.journal(A)

        assert [sealed.record.n for sealed in journal.records] == [0, 2]
        assert [(each.operation, each.n) for each in journal.damaged] == [(A, 1)]
        assert store.journal(B).damaged == ()
        begin(store, operation_id(3))


def test_the_first_bad_record_is_named(damaged: Path) -> None:
    with SqliteStore.open(damaged, read_only=True) as store:
        bad = store.verify_log().bad

        assert bad is not None
        assert (bad.leaf, bad.operation_id, bad.n) == (1, A, 1)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM records WHERE leaf=1",
        "UPDATE records SET body=x'4801' WHERE leaf=1",
        "UPDATE records SET body=x'' WHERE leaf=1",
        "UPDATE records SET nodes=zeroblob(64) WHERE leaf=1",
        "UPDATE records SET n=7 WHERE leaf=1",
        "UPDATE records SET op=2, n=9 WHERE leaf=1",
    ],
)
def test_every_damage_to_a_record_is_found(whole: Path, damage: str) -> None:
    raw(whole, damage)

    with SqliteStore.open(whole, read_only=True) as store:
        bad = store.verify_log().bad
        assert bad is not None
        assert bad.leaf == 1
        assert [each.n for each in store.journal(A).damaged]


def test_a_tree_node_that_is_not_that_of_its_log_is_found(whole: Path) -> None:
    raw(whole, "UPDATE records SET nodes=CAST(substr(nodes, 1, 32) || zeroblob(32) AS BLOB) WHERE leaf=1")

    with SqliteStore.open(whole, read_only=True) as store:
        bad = store.verify_log().bad
        assert bad is not None
        assert (bad.leaf, bad.operation_id, bad.n) == (1, A, 1)


def test_the_first_record_on_a_page_that_cannot_be_read_is_named(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        put(store, batch(notes(A, 200)))
    content = bytearray(path.read_bytes())
    page = content.index(b'"n":150,') // schema.PAGE_BYTES * schema.PAGE_BYTES
    content[page : page + schema.PAGE_BYTES] = b"\xff" * schema.PAGE_BYTES
    path.write_bytes(content)

    with SqliteStore.open(path, read_only=True) as store:
        bad = store.verify_log().bad
        assert bad is not None
        assert bad.leaf in range(1, 151)
        assert (bad.operation_id, bad.n) == (A, bad.leaf)


def test_nothing_follows_a_last_record_that_cannot_be_read(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        first = begin(store, A)
    raw(path, "UPDATE records SET body=x'00'")

    with SqliteStore.open(path) as store:
        with pytest.raises(StoreUnavailable) as refused:
            put(store, more(first))
        assert refused.value.code == "store-damaged"
        begin(store, B)


def test_any_flipped_byte_gives_an_error_with_a_code_or_a_right_answer(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        put(store, *two_step(1), *two_step(2))
        put(store, more(store.journal(operation_id(2)).records[-1], blobs=(blob(b"o" * 9000),)))
        whole = {operation_id(i): store.journal(operation_id(i)).records for i in (1, 2)}
    bytes_ = path.read_bytes()
    for place in range(0, len(bytes_), 997):
        broken = path.with_name("broken.db")
        broken.write_bytes(bytes_[:place] + bytes([bytes_[place] ^ 0x41]) + bytes_[place + 1 :])
        try:
            with SqliteStore.open(broken, read_only=True) as store:
                store.integrity()
                for operation, records in whole.items():
                    journal = store.journal(operation)
                    assert {each.digest for each in journal.records} <= {each.digest for each in records}
                    assert journal.damaged or journal.records == records
        except RexecopError as error:
            assert error.code != RexecopError.code


# --- the index ---


def fold(journal: Journal) -> Row:
    states = {3: "approved", 10: "completed"}
    return row(journal.records, states.get(len(journal.records), "running"))


def test_the_index_is_what_the_fold_of_the_records_says(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        for number in range(3):
            for each in two_step(number):
                store.append_sync(each)
                assert store.compare_index(fold) == ()


def test_a_lost_or_wrong_index_is_rebuilt_from_the_records(path: Path) -> None:
    with SqliteStore.create(path, "instance") as store:
        for number in range(5):
            put(store, *two_step(number))
        before = store.rows()
    raw(path, "UPDATE operations SET state=NULL, head=NULL WHERE number=2")
    raw(path, "UPDATE operations SET state='running', records=4 WHERE number=3")
    raw(path, "UPDATE operations SET head=x'00' WHERE number=4")

    with SqliteStore.open(path) as store:
        found = store.rebuild_index(fold)

        assert {(each.operation, each.field) for each in found} == {
            (operation_id(1), "row"),
            (operation_id(2), "state"),
            (operation_id(2), "records"),
            (operation_id(3), "row"),
        }
        assert store.rows() == before
        assert store.compare_index(fold) == ()


def test_what_cannot_be_folded_is_named_and_left_alone(damaged: Path) -> None:
    with SqliteStore.open(damaged) as store:
        before = store.rows()

        found = store.rebuild_index(fold)

        assert [(each.operation, each.field) for each in found] == [(A, "records")]
        assert store.rows() == before


def test_an_index_row_that_lies_about_its_batch_is_refused(path: Path) -> None:
    records = notes(A, 2)
    lies = (replace(row(records), records=3), replace(row(records), head=records[0].digest))

    with SqliteStore.create(path, "instance") as store:
        for lie in lies:
            with pytest.raises(RexecopError):
                put(store, replace(batch(records), row=lie))
        with pytest.raises(OperationUnknown):
            store.journal(A)


def test_a_chain_that_another_store_continued_is_continued_from_there(path: Path) -> None:
    with SqliteStore.create(path, "instance") as one, SqliteStore.open(path) as two:
        first = begin(one, A)
        put(two, more(first))
        with pytest.raises(AppendConflict):
            put(one, more(first))
        put(one, more(two.journal(A).records[-1]))
        put(two, more(one.journal(A).records[-1]))

        assert one.verify_log().bad is None
        assert one.size() == 4
