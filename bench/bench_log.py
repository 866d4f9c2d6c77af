"""The log under load: records covered by signed checkpoints, and proofs read back.

Records are appended with group commit while the instance's kind of key signs. A record is
covered when a checkpoint over it is kept; the delay counts from the return of its append.
The floor of a proof is one row read by its key, of an append bare SQLite (`bench_store`).
"""

import asyncio
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench_store import ABREAST, bare

from conformance.memory_signer import MemorySigner
from rexecop.operations.ports import Batch
from rexecop.proof.checkpoint import Checkpoint, sign
from rexecop.proof.merkle import consistency_proof, inclusion_proof
from rexecop.store.sqlite import SqliteStore
from tests.store.samples import operation_id, two_step

OPERATIONS = 3000
PROOFS = 3000
KEY = MemorySigner(1)


def signed(size: int, root: bytes) -> bytes:
    """Return a checkpoint as an instance signs it."""
    return sign(Checkpoint(origin="rexecop/bench/1", size=size, root=root), KEY)


def watch(store: SqliteStore) -> list[tuple[int, float]]:
    """Return where (size, time) of every checkpoint will be noted, once it is kept."""
    kept: list[tuple[int, float]] = []
    checkpointer = store._checkpointer
    assert checkpointer is not None
    cover = checkpointer.cover

    def noting() -> object:
        found = cover()
        if found is not None:
            kept.append((found.size, time.perf_counter()))
        return found

    checkpointer.cover = noting  # type: ignore[method-assign, assignment]
    return kept


async def drive(store: SqliteStore, operations: Sequence[Sequence[Batch]]) -> list[tuple[int, float]]:
    """Append everything, `ABREAST` operations at a time; return (size, time) of every commit."""
    waiting, committed = iter(operations), []

    async def work() -> None:
        for operation in waiting:
            for each in operation:
                appended = await store.append(each)
                committed.append((appended.first_leaf + len(each.records), time.perf_counter()))

    await asyncio.gather(*(work() for _ in range(ABREAST)))
    return committed


def delays(committed: Sequence[tuple[int, float]], kept: Sequence[tuple[int, float]]) -> list[float]:
    """Return for every commit how long after it the first checkpoint over it was kept, in ms."""
    found, covering = [], iter(kept)
    size, at = next(covering)
    for end, done in sorted(committed):
        while size < end:
            size, at = next(covering)
        found.append(max(0.0, (at - done) * 1000))
    return sorted(found)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of `values`, which are sorted, do not exceed."""
    return values[min(len(values) - 1, int(len(values) * share))]


def each(work: Callable[[int], object], leaves: Sequence[int]) -> list[float]:
    """Return the microseconds `work` takes for each leaf, sorted."""
    taken = []
    for leaf in leaves:
        begin = time.perf_counter()
        work(leaf)
        taken.append((time.perf_counter() - begin) * 1e6)
    return sorted(taken)


def covering(path: Path) -> None:
    """Print how fast records are appended and how soon they are covered."""
    operations = [two_step(number) for number in range(OPERATIONS)]
    records = sum(len(batch.records) for operation in operations for batch in operation)
    with SqliteStore.create(path, "bench", checkpointer=signed) as store:
        kept = watch(store)
        begin = time.perf_counter()
        committed = asyncio.run(drive(store, operations))
        taken = time.perf_counter() - begin
    late = delays(committed, kept)
    floor = bare(path.with_suffix(".bare"), operations, ABREAST)
    print("appended and signed   records/s  bare SQLite  ratio  covered after ms: p50  p99  max  checkpoints")
    print(
        f"{ABREAST} abreast, Ed25519 {records / taken:10,.0f} {records / floor:12,.0f} {taken / floor:6.2f}"
        f"{quantile(late, 0.5):22.0f} {quantile(late, 0.99):4.0f} {late[-1]:4.0f} {len(kept):12}"
    )


def proving(path: Path) -> None:
    """Print what it takes to read one proof from the store."""
    chance = random.Random(1)
    with SqliteStore.open(path, read_only=True) as store:
        size = store.size()
        leaves = [chance.randrange(1, size) for _ in range(PROOFS)]
        with store._readers.borrow() as connection:
            row = "SELECT nodes FROM records WHERE leaf=?"
            floor = each(lambda leaf: connection.execute(row, (leaf,)).fetchone(), leaves)
        ways: Sequence[tuple[str, Callable[[int], object]]] = (
            ("inclusion proof", lambda leaf: store.with_nodes(partial(inclusion_proof, leaf, size))),
            ("consistency proof", lambda leaf: store.with_nodes(partial(consistency_proof, leaf, size))),
            ("leaf of a record", lambda leaf: store.leaf_of(operation_id(leaf // 10), leaf % 10)),
        )
        print(f"read from a log of {size:,}     µs p50   p99  one row p50  ratio")
        for words, work in ways:
            taken = each(work, leaves)
            half, one = quantile(taken, 0.5), quantile(floor, 0.5)
            print(f"{words:22} {half:13.0f} {quantile(taken, 0.99):5.0f} {one:12.1f} {half / one:6.1f}")


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as folder:
        path = Path(folder) / "ledger.db"
        covering(path)
        proving(path)


if __name__ == "__main__":
    main()
