"""Checkpoints: over what was read back, soon, without a flush, and never over a log that is wrong."""

import threading
from pathlib import Path

import apsw
import pytest

from conformance.memory_signer import MemorySigner
from rexecop.operations.errors import StoreError, StoreUnavailable
from rexecop.proof import note
from rexecop.proof.base64text import encode_base64
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.merkle import Frontier, leaf_hash
from rexecop.proof.note import NoteSignature
from rexecop.store.checkpoints import keep
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
            return self.reached.wait_for(lambda: any(done[0] >= size for done in self.signed), timeout=60)


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


# --- witnesses ---


def lines(store: SqliteStore, size: int, seed: int, name: str = "w1") -> tuple[NoteSignature, ...]:
    """What the witness `name` with the key `seed` answers about the checkpoint of `size`."""
    kept = next(each for each in store.given_checkpoints() if each.size == size)
    text = note.parse(kept.note).text
    return (note.cosign(text, name, MemorySigner(seed), at_seconds=7),)


def test_what_a_witness_was_given_stays_and_carries_every_answer(path: Path) -> None:
    key = Key()
    with SqliteStore.create(path, "instance") as store:
        given = []
        for number in range(4):
            store.append_sync(batch(notes(operation_id(number), 5)))
            stored = store.checkpoint(key)
            assert stored is not None
            if number % 2 == 0:
                store.give_checkpoint(stored)
                given.append(stored.size)
        assert [each.size for each in store.given_checkpoints()] == given[::-1] == [15, 5]

        first = next(each for each in store.given_checkpoints() if each.size == 5)
        store.give_checkpoint(first, lines(store, 5, seed=1))
        store.give_checkpoint(first, lines(store, 5, seed=2, name="w2"))
        store.give_checkpoint(first, lines(store, 5, seed=1))

        kept = store.kept_checkpoint(at_least=5)
        assert kept is not None and kept.size == 5
        assert [line.name for line in note.parse(kept.note).signatures] == ["rexecop/test/1", "w1", "w2"]
        assert store.verify_log().bad is None


def test_a_checkpoint_signed_again_keeps_the_lines_of_its_witnesses(path: Path) -> None:
    key = Key()
    with SqliteStore.create(path, "instance") as store:
        store.append_sync(batch(notes(operation_id(1), 5)))
        stored = store.checkpoint(key)
        assert stored is not None
        store.give_checkpoint(stored)
        store.give_checkpoint(stored, lines(store, 5, seed=1))

        store._writing.run(lambda applier: keep(applier, stored))

        (kept,) = store.given_checkpoints()
        assert len(note.parse(kept.note).signatures) == 2


# --- attacks on the file, each by its name ---

FORGED = "rexecop/test/1\n{}\n{}\n\n— rexecop/test/1 " + encode_base64(b"id" * 40) + "\n"


def code_of(path: Path, *, held: tuple[Checkpoint, ...] = ()) -> str | None:
    with SqliteStore.open(path, read_only=True) as store:
        try:
            bad = store.verify_log(held=held).bad
        except RexecopError as error:
            return error.code
    return None if bad is None else bad.code


@pytest.fixture
def logged(path: Path) -> Path:
    """A log of twelve records with one checkpoint."""
    with SqliteStore.create(path, "instance", checkpointer=Key()) as store:
        for number in range(4):
            store.append_sync(batch(notes(operation_id(number), 3)))
    return path


def checkpoint_of(path: Path, size: int, origin: str = "rexecop/test/1") -> Checkpoint:
    with SqliteStore.open(path, read_only=True) as store:
        return Checkpoint(origin=origin, size=size, root=store.root(size))


@pytest.mark.parametrize(
    ("attack", "code"),
    [
        ("UPDATE records SET body=x'7b7d' WHERE leaf=4", "log-record-altered"),
        ("UPDATE records SET nodes=zeroblob(32) WHERE leaf=4", "log-record-altered"),
        (
            "UPDATE records SET nodes=CAST(substr(nodes, 1, 32) || zeroblob(32) AS BLOB) WHERE leaf=5",
            "log-node-wrong",
        ),
        ("UPDATE records SET nodes=CAST(nodes || zeroblob(1) AS BLOB) WHERE leaf=5", "log-node-wrong"),
        ("UPDATE records SET nodes=substr(nodes, 1, 32) WHERE leaf=5", "log-node-wrong"),
        ("DELETE FROM records WHERE leaf=4", "log-leaf-unreadable"),
        ("DELETE FROM records WHERE leaf>=11", "log-truncated"),
        ("UPDATE records SET op=3, n=9 WHERE leaf=4", "chain-broken"),
        ("UPDATE checkpoints SET size=11", "checkpoint-forged"),
        ("UPDATE checkpoints SET note=x'00'", "store-damaged"),
        (f"UPDATE checkpoints SET note='{FORGED.format(12, encode_base64(bytes(32)))}'", "checkpoint-forged"),
        (f"UPDATE checkpoints SET note='{FORGED.format(11, encode_base64(bytes(32)))}'", "checkpoint-forged"),
    ],
)
def test_an_attack_on_the_file_is_refused_by_its_name(logged: Path, attack: str, code: str) -> None:
    assert code_of(logged) is None
    raw(logged, attack.replace("note='", "note=CAST('").replace("\n'", "\n' AS BLOB)"))

    assert code_of(logged) == code


def test_two_rows_that_claim_one_place_are_refused_by_name(logged: Path) -> None:
    with SqliteStore.open(logged, read_only=True) as store:
        frontier = store.with_nodes(lambda nodes: Frontier.load(12, nodes))
        body = store.body_at(4)
    _, completed = frontier.append(leaf_hash(body))
    connection = apsw.Connection(str(logged))
    connection.execute("DROP INDEX places")
    connection.execute(
        "INSERT INTO records(leaf, op, n, body, nodes) VALUES(12, 2, 1, ?, ?)", (body, b"".join(completed))
    )
    connection.close()

    assert code_of(logged) == "chain-place-repeated"


def test_a_checkpoint_held_tells_a_short_a_rewound_a_forked_and_a_foreign_log_apart(
    logged: Path, tmp_path: Path
) -> None:
    held = checkpoint_of(logged, 12)
    assert code_of(logged, held=(held, checkpoint_of(logged, 5))) is None
    assert code_of(logged, held=(checkpoint_of(logged, 12, "rexecop/attic/1"),)) == "checkpoint-foreign"
    assert code_of(logged, held=(checkpoint_of(logged, 12, "rexecop/test/2"),)) is None

    for records, code in ((2, "log-truncated"), (3, "log-forked"), (4, "log-rewound")):
        again = tmp_path / f"{records}.db"
        with SqliteStore.create(again, "instance", checkpointer=Key()) as store:
            for number in range(4):
                store.append_sync(batch(notes(operation_id(number), records, text="otherwise")))
        assert code_of(again, held=(held,)) == code
