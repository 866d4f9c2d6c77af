"""A thousand workers that die, each before one of its appends: `python -m tests.soak.kills`.

Their operations are those of `tests.sim`, whose calls add lines to a file, so that a death costs little.
Every change has a probe; whoever comes next looks, and no person is asked.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from rexecop.proof.vocabulary import State
from tests.app.test_workers import enter, housed
from tests.app.worker_process import work
from tests.engines.support import op_of
from tests.sim.oracles import check
from tests.sim.plans import change, planned, read
from tests.sim.world import House
from tests.soak.process import fork
from tests.soak.round import fresh_folder, status_of
from tests.store import servers

OPERATIONS: Final = 24
STEPS: Final = 4
ABREAST: Final = 3
APPENDS_MAX: Final = 40  # Who dies at its first few had no time to make a call.
WAIT_SECONDS_MAX: Final = 300


def ordered(folder: Path, storage: str, batch: int) -> int:
    """Plan operations, each on a target of its own, and let them wait for workers."""

    async def plan(house: House) -> None:
        for number in range(OPERATIONS):
            target = f"t{number}"
            steps = [change(f"b{batch}s{step}", target=target) for step in range(STEPS)]
            name = await planned(house, read("look", target=target), *steps)
            (folder / "operations").open("a").write(f"{name}\n")
            enter(house, name)

    with housed(folder, storage) as house:
        house.ids._count = batch * 100_000  # Each process would count its operations from one.
        asyncio.run(plan(house))
    return 0


def left(folder: Path, storage: str) -> int:
    """Return how many operations have not ended, at most 60."""
    with housed(folder, storage) as house:
        return min(60, len(house.store.posted("queue")) + len(house.store.under_way()))


def hold(folder: Path, storage: str, batches: int) -> int:
    """Print what does not hold; return how much that is."""
    with housed(folder, storage) as house:
        for one in named(folder):
            check(house, one)
        # A machine that is slow lets permits run out; what was refused so has ended, and is not done.
        whole = {one for one in named(folder) if op_of(house, one).state is State.COMPLETED}
        report = house.store.verify_log()
    happened = Counter((folder / "effects").read_text().splitlines())
    names = named(folder)
    wanted = {
        f"{name} b{batch}s{step}"
        for batch in range(batches)
        for name in names[batch * OPERATIONS : (batch + 1) * OPERATIONS]
        for step in range(STEPS)
        if name in whole
    }
    wrong = [f"{what}: {count} times" for what, count in happened.items() if count != 1]
    wrong += [f"{what}: never" for what in wanted - happened.keys()]
    wrong += [str(report)] if report.bad is not None else []
    print("\n".join(wrong))
    return min(60, len(wrong))


def named(folder: Path) -> Sequence[str]:
    return (folder / "operations").read_text().splitlines()


class Kills:
    """Workers of one ledger, until so many died."""

    def __init__(self, folder: Path, storage: str, seed: int) -> None:
        self.folder, self.storage, self.random = folder, storage, random.Random(seed)
        self.workers: set[int] = set()
        self.born = self.killed = self.batches = 0

    def run(self, kills: int) -> int:
        """Return how much does not hold in the end."""
        looked = 0.0
        while self.killed < kills:
            if time.monotonic() > looked + 2:
                looked = time.monotonic()
                if not self.batches or self._did(lambda: left(self.folder, self.storage)) < OPERATIONS // 3:
                    self._did(lambda: ordered(self.folder, self.storage, self.batches))
                    self.batches += 1
            while len(self.workers) < ABREAST:
                self._employ(str(self.random.randint(1, APPENDS_MAX)))
            for process in [*self.workers]:
                if (status := status_of(process)) is not None:
                    self.workers.discard(process)
                    self.killed += status == -signal.SIGKILL
            time.sleep(0.02)
        self._employ("")
        end = time.monotonic() + WAIT_SECONDS_MAX
        while (open_ := self._did(lambda: left(self.folder, self.storage))) and time.monotonic() < end:
            time.sleep(0.5)
        return open_ + self._did(lambda: hold(self.folder, self.storage, self.batches))

    def _employ(self, told: str) -> None:
        self.born += 1
        name = f"w{self.born}"
        (self.folder / name).write_text(told)

        def worker() -> int:
            work(self.folder, "embedded", self.storage, name)
            return 0

        self.workers.add(fork(worker, self.folder / "told.out"))

    def _did(self, what: Callable[[], int]) -> int:
        process = fork(what, self.folder / "told.out")
        while (status := status_of(process)) is None:
            time.sleep(0.01)
        if status < 0 or status == 70:
            raise AssertionError((self.folder / "told.out").read_text()[-4000:])
        return status


def main(words: list[str]) -> int:
    """Play; return how much does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kills")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="sqlite")
    told = parser.parse_args(words)
    folder, began = fresh_folder(), time.monotonic()
    with servers.schema() if told.storage == "postgres" else nullcontext("sqlite") as storage:
        kills = Kills(folder, storage, told.seed)
        wrong = kills.run(told.kills)
    servers.stop()
    operations = kills.batches * OPERATIONS
    print(
        f"seed {told.seed} {told.storage}: {kills.killed} kills, {operations} operations with "
        f"{operations * STEPS} changes in {time.monotonic() - began:.0f} s; {wrong} wrong"
    )
    if wrong:
        print(f"{(folder / 'told.out').read_text()[-4000:]}\nkept in {folder}")
    else:
        shutil.rmtree(folder)
    return min(wrong, 60)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
