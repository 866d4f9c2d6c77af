"""Appends to the ledger per second, flushes and bytes, beside bare SQLite writing the same bytes.

The floor does no chain check, no tree, no index and no claim: it inserts the same bodies
with one commit per batch (one at a time), or one per 32 batches (abreast).
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import apsw

sys.path.insert(0, str(Path(__file__).parents[1]))

from rexecop.operations.ports import Batch
from rexecop.proof.checkpoint import Checkpoint
from rexecop.store.checkpoints import Sign
from rexecop.store.sqlite import SqliteStore
from tests.store.faulty import Disk
from tests.store.samples import two_step

OPERATIONS = 1000
ABREAST = 32
RECORDS = 10

Operations = Sequence[tuple[Batch, ...]]


def bare(path: Path, operations: Operations, batches_per_commit: int) -> float:
    """Return the seconds bare SQLite takes to store the bodies."""
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE records(leaf INTEGER PRIMARY KEY, body BLOB)")
    batches = [each for operation in operations for each in operation]
    begin = time.perf_counter()
    for start in range(0, len(batches), batches_per_commit):
        connection.execute("BEGIN IMMEDIATE")
        for each in batches[start : start + batches_per_commit]:
            rows = [(sealed.body,) for sealed in each.records]
            connection.executemany("INSERT INTO records(body) VALUES(?)", rows)
        connection.execute("COMMIT")
    taken = time.perf_counter() - begin
    connection.close()
    return taken


async def drive(store: SqliteStore, operations: Operations, abreast: int) -> None:
    """Append every operation's batches in turn, `abreast` operations at a time."""
    waiting = iter(operations)

    async def work() -> None:
        for operation in waiting:
            for each in operation:
                await store.append(each)

    await asyncio.gather(*(work() for _ in range(abreast)))


def unsigned(size: int, root: bytes) -> bytes:
    """Return a note over (size, root): the signature's cost is measured elsewhere."""
    text = Checkpoint(origin="rexecop/bench/1", size=size, root=root).text()
    return f"{text}\n— rexecop/bench/1 {'A' * 92}\n".encode()


def timed(run: Callable[[], object]) -> float:
    """Return the seconds `run` takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def flushes(path: Path, operations: Operations, abreast: int) -> float:
    """Return the flushes per operation."""
    SqliteStore.create(path, "bench").close()
    disk = Disk()
    with SqliteStore.open(path, vfs=disk.name) as store:
        disk.reset()
        asyncio.run(drive(store, operations, abreast))
        return disk.flushes / len(operations)


WAYS: Sequence[tuple[str, int, Sign | None]] = (
    ("one at a time", 1, None),
    ("32 abreast", ABREAST, None),
    ("  checkpointed", ABREAST, unsigned),
)


def main() -> None:
    """Print one line per way of appending, and what an operation leaves on the disk."""
    operations = [two_step(number) for number in range(OPERATIONS)]
    records = RECORDS * OPERATIONS
    print("appending         records/s  bare SQLite  ratio  flushes/operation")
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as folder:
        here = Path(folder)
        for words, abreast, sign in WAYS:
            path = here / f"{words.strip().replace(' ', '-')}.db"
            with SqliteStore.create(path, "bench", checkpointer=sign) as store:
                ours = timed(partial(asyncio.run, drive(store, operations, abreast)))
            floor = bare(path.with_suffix(".bare"), operations, abreast)
            per_operation = flushes(path.with_suffix(".count"), operations[:200], abreast)
            figures = f"{records / ours:10,.0f} {records / floor:12,.0f} {floor / ours:6.2f}"
            print(f"{words:16} {figures} {per_operation:18.2f}")
        size = max(each.stat().st_size for each in here.glob("*.db"))
        print(f"bytes per two-step operation: {size / OPERATIONS:,.0f}")


if __name__ == "__main__":
    main()
