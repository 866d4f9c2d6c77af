"""A ledger of 100,000 operations: what `list`, `status`, `ops`, `metrics` and `recover` take.

All operations are two-step reads of ten records; one in 500 was begun and nobody drives it any more. Each
command is a process of its own: its CPU time counts, as the machine may be shared, and the most memory it had
resident. `python bench/bench_large.py OPERATIONS` measures another size.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from rexecop.app.build import init_root, open_instance
from rexecop.app.settings import Settings, load_settings
from rexecop.store.ledger import LedgerStore
from tests.store.samples import two_step

OPERATIONS: Final = 100_000
LEFT: Final = 500  # One in so many was begun and is not over.
ABREAST: Final = 64
COMMANDS: Final = (("list",), ("status", "@"), ("ops",), ("metrics",), ("recover",), ("recover", "--full"))


async def _fill(store: LedgerStore, count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            for batch in islice(two_step(number), 4 if number % LEFT else 2):
                await store.append(batch)

    await asyncio.gather(*(work() for _ in range(ABREAST)))


def make(folder: Path, count: int) -> Settings:
    """Make a root in `folder` whose ledger holds `count` operations."""
    settings = replace(load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder), quiet=True)

    async def story() -> None:
        await init_root(settings)
        with open_instance(settings, {}) as instance:
            await _fill(instance.parts.ledger, count)

    asyncio.run(story())
    return settings


def measured(words: tuple[str, ...]) -> tuple[float, float, float]:
    """Return the seconds of CPU and of the clock that a process takes, and its memory in MB."""
    begun = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`{' '.join(words)}` ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, time.perf_counter() - begun, used.ru_maxrss / 1024


def main(count: int = OPERATIONS) -> None:
    """Print one line for each command."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("REXECOP_BENCH_DIR")) as name:
        begun = time.perf_counter()
        settings = make(Path(name), count)
        size = sum(file.stat().st_size for file in settings.root.iterdir() if file.is_file()) / 1e6
        took = time.perf_counter() - begun
        print(f"{count:,} operations of two steps, {size:,.0f} MB, written in {took:.0f} s", flush=True)
        show(settings)


def show(settings: Settings) -> None:
    """Print what each command takes in that root."""
    python = sys.executable
    floor, clock, memory = measured((python, "-c", "pass"))
    print(f"  floor: bare interpreter  {floor:7.2f} s of CPU  {clock:7.2f} s  {memory:5.0f} MB")
    for words in COMMANDS:
        taken, clock, memory = measured((python, "-m", "rexecop", "--root", str(settings.root), *words))
        ratio = f"{taken / floor:6.0f}x"
        line = f"  {' '.join(words):<24} {taken:7.2f} s of CPU  {clock:7.2f} s  {memory:5.0f} MB {ratio}"
        print(line, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
