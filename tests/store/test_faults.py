"""Disks that fill up or fail at any write or flush: nothing half stored, and the next start works."""

import shutil
from pathlib import Path

import apsw
import pytest

from rexecop.operations.errors import StoreError, StoreUncertain
from rexecop.operations.ports import Batch, Blob, Journal
from rexecop.proof.canonical import commit
from rexecop.proof.records.outcome import BlobRef
from rexecop.store.sqlite import SqliteStore
from tests.store.faulty import Disk, answer_lost, fail_at
from tests.store.samples import batch, notes, operation_id, two_step

BATCHES = (*two_step(1), batch(notes(operation_id(2), 3)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    SqliteStore.create(path, "instance").close()
    return path


def drive(path: Path, disk: Disk) -> tuple[list[Batch], list[Batch]]:
    """Append all batches; return those that are stored, and those that may be."""
    kept: list[Batch] = []
    doubtful: list[Batch] = []
    try:
        store = SqliteStore.open(path, vfs=disk.name)
    except StoreError:
        return kept, doubtful
    for each in BATCHES:
        try:
            store.append_sync(each)
            kept.append(each)
        except StoreUncertain:
            doubtful.append(each)
        except StoreError:
            continue
    disk.fault = lambda what, count, after: None
    crashed(path).unlink(missing_ok=True)
    for suffix in ("", "-wal"):
        if Path(f"{path}{suffix}").exists():
            shutil.copyfile(f"{path}{suffix}", f"{crashed(path)}{suffix}")
    store.close()
    return kept, doubtful


def crashed(path: Path) -> Path:
    """Return the ledger as it would be had the process died instead of closing."""
    return path.with_name(f"crashed-{path.name}")


def count(batches: list[Batch]) -> int:
    return sum(len(each.records) for each in batches)


def stored(store: SqliteStore, operation: str) -> Journal:
    journal = store.journal(operation)
    assert journal.damaged == ()
    return journal


def check_whole(path: Path, kept: list[Batch], doubtful: list[Batch]) -> None:
    """What was acknowledged is there whole, what was refused is not, and work goes on."""
    with SqliteStore.open(path) as store:
        report = store.verify_log()
        assert report.bad is None
        assert store.integrity() == ()
        sizes = {count(kept) + count(doubtful[:n]) for n in range(len(doubtful) + 1)}
        assert report.size in sizes
        for each in kept:
            assert set(_digests(each)) <= {sealed.digest for sealed in stored(store, each.operation).records}
        store.append_sync(batch(notes(operation_id(9), 2)))
        assert store.verify_log().bad is None


def _digests(each: Batch) -> list[str]:
    return [sealed.digest for sealed in each.records]


def calls_of_a_good_run(path: Path) -> int:
    disk = Disk()
    kept, _ = drive(path, disk)
    assert len(kept) == len(BATCHES)
    return disk.calls


@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize(
    "result",
    [
        apsw.SQLITE_FULL,
        pytest.param(apsw.SQLITE_IOERR_WRITE, marks=pytest.mark.soak),  # Met where a full disk is.
        apsw.SQLITE_IOERR_FSYNC,
    ],
)
def test_whichever_write_or_flush_fails_no_batch_is_half_stored(
    tmp_path: Path, result: int, for_ever: bool
) -> None:
    first = tmp_path / "first.db"
    SqliteStore.create(first, "instance").close()
    # Every place is met by one of the kinds: a full disk at the odd ones, what flushes at the even.
    for place in range(1 if result == apsw.SQLITE_FULL else 2, calls_of_a_good_run(first) + 1, 2):
        path = tmp_path / f"{place}.db"
        SqliteStore.create(path, "instance").close()
        disk = Disk()
        disk.fault = fail_at(place, result, for_ever=for_ever)

        kept, doubtful = drive(path, disk)

        check_whole(path, kept, doubtful)
        if crashed(path).exists():
            check_whole(crashed(path), kept, doubtful)


def test_a_full_disk_refuses_what_it_cannot_take_and_goes_on_when_there_is_room(path: Path) -> None:
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        disk.fault = fail_at(0, apsw.SQLITE_FULL, for_ever=True)
        with pytest.raises(StoreError) as refused:
            store.append_sync(BATCHES[0])
        assert refused.value.code == "store-unavailable"
        assert "disk is full" in str(refused.value)

        disk.fault = lambda what, count, after: None
        store.append_sync(BATCHES[0])
        assert store.size() == 3


def test_after_a_failed_flush_the_process_writes_no_more_and_reads_on(path: Path) -> None:
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        store.append_sync(BATCHES[0])
        disk.fault = lambda what, count, after: _fail_flush(what, after)
        for _ in range(2):
            with pytest.raises(StoreUncertain):
                store.append_sync(BATCHES[1])
            disk.fault = lambda what, count, after: None
        assert store.failure is not None
        assert len(store.journal(operation_id(1)).records) == 3


def _fail_flush(what: str, after: bool) -> None:
    if what == "flush" and not after:
        raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)


def test_an_answer_lost_after_the_flush_leaves_the_batch_whole_or_absent(tmp_path: Path) -> None:
    first = tmp_path / "first.db"
    SqliteStore.create(first, "instance").close()
    for place in range(1, calls_of_a_good_run(first) + 1):
        path = tmp_path / f"{place}.db"
        SqliteStore.create(path, "instance").close()
        disk = Disk()
        disk.fault = answer_lost(place, apsw.SQLITE_IOERR_FSYNC)

        kept, doubtful = drive(path, disk)

        check_whole(path, kept, doubtful)
        if crashed(path).exists():
            check_whole(crashed(path), kept, doubtful)


def test_output_that_does_not_fit_on_the_disk_is_kept_not_at_all(path: Path) -> None:
    data, key = b"x" * 600_000, b"k" * 32
    ref = BlobRef(commitment=commit(key, data), raw_bytes=len(data), kept_bytes=len(data))
    records = notes(operation_id(1), 1)
    large = Batch(
        operation=operation_id(1), expected=0, records=records, blobs=(Blob(ref=ref, key=key, data=data),)
    )
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        disk.fault = fail_at(60, apsw.SQLITE_FULL, for_ever=True)
        with pytest.raises(StoreError):
            store.append_sync(large)
        assert store.blob(ref.commitment) is None
        assert store.size() == 0
