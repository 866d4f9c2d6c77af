"""Several processes on one ledger, and processes that are killed."""

import asyncio
import itertools
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from rexecop.app.collecting import Collector, Retaining
from rexecop.app.doctor import fold_row
from rexecop.store.sqlite import SqliteStore
from tests.app.support import made, opened, scratch
from tests.house.source import ROOT
from tests.store.samples import batch, notes, operation_id, two_step

AT_WORK = 4  # Processes that plan, start and read on one root.
EACH = 1  # Operations that each of them drives.
PAUSE_SECONDS = 0.2  # Between two collections beside them.
PROCESSES = 3
OPERATIONS = 25
FAR = 1_000_000  # Between the names that each process uses: nobody comes as far as the next one's.


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    SqliteStore.create(path, "instance").close()
    return path


def start(path: Path | str, base: int, operations: int, abreast: int = 4) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.store.appender", str(path), str(base), str(operations), str(abreast)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=ROOT)


def test_processes_that_append_together_lose_and_double_nothing(path: Path) -> None:
    started = [start(path, FAR * (i + 1), OPERATIONS) for i in range(PROCESSES)]
    with SqliteStore.open(path) as store:
        mine = 0
        while any(each.poll() is None for each in started):
            mine += 1
            store.append_sync(batch(notes(operation_id(mine), 2)))
            store.rows(limit=5)
        for each in started:
            each.communicate()
        assert [each.returncode for each in started] == [0] * PROCESSES

        report = store.verify_log()
        assert report.bad is None
        assert report.size == 2 * mine + 10 * PROCESSES * OPERATIONS
        for number in (*range(FAR, FAR + OPERATIONS), *range(2 * FAR, 2 * FAR + OPERATIONS)):
            written = [sealed.digest for each in two_step(number) for sealed in each.records]
            assert [sealed.digest for sealed in store.journal(operation_id(number)).records] == written


WORK = """
import asyncio, sys
from pathlib import Path
from tests.app.support import asked, opened

async def work(folder, count):
    with opened(folder) as instance:
        for _ in range(count):
            name = (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id
            print((await instance.start(name)).state)
            assert name in {line.operation_id for line in instance.list()}
            instance.enqueue((await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id)

asyncio.run(work(Path(sys.argv[1]), int(sys.argv[2])))
"""


def test_processes_that_work_on_one_root_never_hear_of_a_lock() -> None:
    with scratch() as folder:
        asyncio.run(made(folder))
        argv = [sys.executable, "-c", WORK, str(folder), str(EACH)]
        started = [
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
            for _ in range(AT_WORK)
        ]
        retaining = Retaining(older_than=timedelta(0), rule="r", reason="space is given back meanwhile")
        with opened(folder) as instance:
            while any(each.poll() is None for each in started):
                Collector(instance, lambda done, total: None).apply(retaining)
                time.sleep(PAUSE_SECONDS)
            ended = [each.communicate() for each in started]
            assert [each.returncode for each in started] == [0] * AT_WORK, ended
            assert ended == [("completed\n" * EACH, "")] * AT_WORK
            assert len(instance.list(limit=100)) == 2 * AT_WORK * EACH
            assert instance.parts.ledger.compare_index(fold_row) == ()
            assert instance.log_verify()["verdict"] == "consistent"


@pytest.mark.parametrize("acknowledged", [1, 17, 60])
def test_a_killed_process_leaves_whole_batches_and_all_it_acknowledged(path: Path, acknowledged: int) -> None:
    process = start(path, 1000, 10_000, abreast=8)
    assert process.stdout is not None
    lines = list(itertools.islice(process.stdout, acknowledged))
    process.kill()
    lines += process.stdout.readlines()
    process.wait()

    with SqliteStore.open(path) as store:
        assert store.verify_log().bad is None
        for line in (each for each in lines if each.endswith("\n")):
            operation, records = line.split()
            assert store.records_of(operation) >= int(records)
        for _, row in store.rows(limit=1000):
            # Batches of a two-step operation end after 3, 5, 7 and 10 records.
            assert store.records_of(row.operation) == row.records
            assert row.records in (3, 5, 7, 10)
        store.append_sync(batch(notes(operation_id(1), 2)))
        assert store.verify_log().bad is None


def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")
    try:
        with SqliteStore.open(path, read_only=True) as store:
            assert not store.rows()
            assert store.size() == 0
    finally:
        holder.execute("ROLLBACK")
        holder.close()


def test_a_folder_that_may_not_be_written_is_read_and_not_written(path: Path) -> None:
    with SqliteStore.open(path) as store:
        store.append_sync(batch(notes(operation_id(1), 2)))
    path.parent.chmod(0o555)
    path.chmod(0o444)
    script = """
import os, sys
from pathlib import Path
from rexecop.operations.errors import StoreError
from rexecop.store.sqlite import SqliteStore
os.chdir("/")
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
path = Path(sys.argv[1])
with SqliteStore.open(path, read_only=True) as store:
    print(store.size())
for attempt in (lambda: SqliteStore.open(path), lambda: SqliteStore.create(path.with_name("n"), "i")):
    try:
        attempt()
    except StoreError as error:
        print(error.code)
"""
    for folder in path.parents:
        if folder.stat().st_uid == os.geteuid() and folder != path.parent and folder.name:
            folder.chmod(folder.stat().st_mode | 0o055)
        if folder.name.startswith("pytest-of"):
            break
    try:
        ran = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, cwd=ROOT, check=False
        )
    finally:
        path.parent.chmod(0o755)
    assert ran.stderr == ""
    assert ran.stdout.split() == ["2", "store-read-only", "store-unavailable"]
