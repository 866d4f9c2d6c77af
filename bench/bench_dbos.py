"""Operations through the distributed engine: two workers, the ledger and the queue in one PostgreSQL.

All share the machine. The floor is the library alone, in the same server and run: workflows that do nothing,
handed to one process. A start is from the row in the queue until the ticket is durable, as its record says.
"""

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

OPERATIONS = 100
STARTS = 20
WORKERS = 2


def floor(url: str) -> float:
    """Return how many workflows that do nothing end in a second."""
    from rexecop.engines.dbos import Dispatcher, Job
    from tests.sim.world import START
    from tests.store import servers

    async def run() -> float:
        ended = 0
        everything = asyncio.Event()

        async def drive(operation: str) -> None:
            nonlocal ended
            ended += 1
            if ended == OPERATIONS + 1:
                everything.set()

        dispatcher = Dispatcher(servers.server(url), "bench:1:1", None)
        await asyncio.to_thread(dispatcher.open, drive, asyncio.get_running_loop())
        warm = [Job(operation="warm", records=0, turn=START)]
        await asyncio.to_thread(dispatcher.hand_over, warm, lambda _: False, START)
        while not ended:
            await asyncio.sleep(0.01)
        jobs = [Job(operation=f"op{n}", records=0, turn=START) for n in range(OPERATIONS)]
        start = time.perf_counter()
        await asyncio.to_thread(dispatcher.hand_over, jobs, lambda _: False, START)
        await everything.wait()
        took = time.perf_counter() - start
        await asyncio.to_thread(dispatcher.close)
        return OPERATIONS / took

    return asyncio.run(run())


def main() -> None:
    """Print the rate, and the time until a start, beside the floor."""
    from tests.app.test_workers import enter, housed, until, workers
    from tests.sim.plans import planned, read
    from tests.store import servers

    names = [f"w{n}" for n in range(WORKERS)]
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as folder:
        with (
            servers.schema() as url,
            workers(Path(folder), "dbos", url, *names),
            housed(Path(folder), url) as house,
        ):
            plan = [
                asyncio.run(planned(house, read("one", target=f"t{n}")))
                for n in range(OPERATIONS + STARTS + 1)
            ]
            for name in names:
                (Path(folder) / name).touch()

            def ended(operation: str) -> bool:
                return house.store.row(operation)[1].state == "completed"

            enter(house, plan[-1])
            until(lambda: ended(plan[-1]))
            waits = []
            for operation in plan[:STARTS]:
                entered = house.clock.now()
                enter(house, operation)
                until(lambda operation=operation: ended(operation))
                ticket = next(
                    s.record
                    for s in house.store.journal(operation).records
                    if s.record.kind.startswith("ticket/")
                )
                waits.append((ticket.at - entered).total_seconds() * 1000)
            many = plan[STARTS:-1]
            enter(house, *many)
            start = house.clock.now()
            until(lambda: all(map(ended, many)))
            first = house.clock.now()
            rate = OPERATIONS / (first - start).total_seconds()
        with servers.schema() as url:
            bare = floor(url)
    servers.stop()
    print(f"{WORKERS} workers, reads of one step, capacity 10, a look every 0.1 s")
    print(f"queue row to ticket, ms: p50 {statistics.median(waits):.0f}, worst {max(waits):.0f}")
    print(f"operations/s {rate:.0f}, bare workflows/s {bare:.0f} (ratio {rate / bare:.2f})")


if __name__ == "__main__":
    main()
