"""Checkpoints: over what was read back, soon, without a flush, and never over a log that is wrong."""

import threading
from pathlib import Path

import apsw
import pytest

from rexecop.operations.errors import StoreError, StoreUnavailable
from rexecop.proof.base64text import encode_base64
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import ProofError
from rexecop.store.log import checkpoint_in
from rexecop.store.sqlite import SqliteStore
from tests.store.faulty import Disk
from tests.store.samples import batch, notes, operation_id, two_step


class Key:
    """Signs with a line nobody checks here, and remembers what it signed."""

    def __init__(self) -> None:
        self.signed: list[tuple[int, bytes]] = []
        self.reached = threading.Condition()

    def __call__(self, size: int, root: bytes) -> bytes:
        with self.reached:
            self.signed.append((size, root))
            self.reached.notify_all()
        text = Checkpoint(origin="rexecop/test/1", size=size, root=root).text()
        return f"{text}\n— rexecop/test/1 {encode_base64(b'id' * 40)}\n".encode()

    def wait_for(self, size: int) -> bool:
        with self.reached:
            return self.reached.wait_for(lambda: any(done[0] >= size for done in self.signed), timeout=30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def raw(path: Path, sql: str) -> None:
    connection = apsw.Connection(str(path))
    connection.execute(sql)
    connection.close()


def test_what_is_committed_is_covered_soon_and_again_at_the_end(path: Path) -> None:
    key = Key()
    with SqliteStore.create(path, "instance", checkpointer=key) as store:
        store.append_sync(batch(notes(operation_id(1), 3)))
        assert key.wait_for(3)
        for each in two_step(2):
            store.append_sync(each)
        roots = {size: store.root(size) for size, _ in key.signed}
        assert dict(key.signed) == roots

    with SqliteStore.open(path, read_only=True) as reader:
        kept = reader.kept_checkpoint()
        assert kept is not None
        assert kept.size == 13
        assert checkpoint_in(kept.size, kept.note).root == reader.root(13)
        assert reader.kept_checkpoint(at_least=14) is None
        assert reader.verify_log().bad is None


def test_a_checkpoint_is_signed_on_demand_and_not_twice(path: Path) -> None:
    key = Key()
    with SqliteStore.create(path, "instance") as store:
        assert store.checkpoint(key) is None
        store.append_sync(batch(notes(operation_id(1), 600)))

        first, second = store.checkpoint(key), store.checkpoint(key)

        assert first == second
        assert key.signed == [(600, store.root(600))]
        with pytest.raises(StoreUnavailable):
            store.checkpoint()


def test_a_checkpoint_costs_no_flush_of_its_own(path: Path) -> None:
    SqliteStore.create(path, "instance").close()
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        store.append_sync(batch(notes(operation_id(1), 2)))
        disk.reset()
        store.checkpoint(Key())
        assert disk.writes > 0
        assert disk.flushes == 0
        store.append_sync(batch(notes(operation_id(2), 2)))
        assert disk.flushes == 1


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE records SET body=x'7b7d' WHERE leaf=4",
        "UPDATE records SET nodes=zeroblob(32) WHERE leaf=4",
        "DELETE FROM records WHERE leaf=4",
        "DELETE FROM records WHERE leaf>=2",
        "UPDATE records SET nodes=zeroblob(64) WHERE leaf=1",
    ],
)
def test_nothing_is_signed_or_written_over_a_log_that_is_not_what_it_was(path: Path, damage: str) -> None:
    with SqliteStore.create(path, "instance", checkpointer=Key()) as store:
        store.append_sync(batch(notes(operation_id(1), 3)))
    with SqliteStore.open(path) as store:
        store.append_sync(batch(notes(operation_id(2), 3)))
    raw(path, damage)
    key = Key()

    with SqliteStore.open(path) as store:
        with pytest.raises((StoreError, ProofError)):
            store.checkpoint(key)
        with pytest.raises(StoreError):
            store.append_sync(batch(notes(operation_id(3), 1)))
        assert store.failure is not None
        store.rows()

    assert key.signed == []


def test_a_log_cut_short_of_a_checkpoint_is_found(path: Path) -> None:
    with SqliteStore.create(path, "instance", checkpointer=Key()) as store:
        store.append_sync(batch(notes(operation_id(1), 3)))
    raw(path, "DELETE FROM records WHERE leaf=2")

    with SqliteStore.open(path, read_only=True) as store:
        report = store.verify_log()
        assert (report.size, report.bad is not None) == (2, True)


def test_a_key_that_fails_stops_no_work(path: Path) -> None:
    def fails(size: int, root: bytes) -> bytes:
        raise StoreUnavailable("the key is away")

    with SqliteStore.create(path, "instance", checkpointer=fails) as store:
        for each in two_step(1):
            store.append_sync(each)
        with pytest.raises(StoreUnavailable):
            store.checkpoint()
        assert store.size() == 10


def test_of_many_checkpoints_one_for_each_block_of_leaves_is_kept(path: Path) -> None:
    key = Key()
    with SqliteStore.create(path, "instance") as store:
        for number in range(5):
            store.append_sync(batch(notes(operation_id(number), 500)))
            store.checkpoint(key)
        assert [size for size, _ in key.signed] == [500, 1000, 1500, 2000, 2500]
        kept = [store.kept_checkpoint(at_least) for at_least in (1, 1001, 2001)]
        assert [each.size for each in kept if each is not None] == [1000, 2000, 2500]
        assert store.verify_log().bad is None
