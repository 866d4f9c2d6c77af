"""Lives of operations as records, made by the real engine in the simulated world, once per process."""

from __future__ import annotations

import asyncio
import tempfile
from functools import cache
from pathlib import Path

from rexecop.proof.chain import Sealed
from tests.sim.scenario import Scenario
from tests.sim.world import House

SEEDS = range(40, 70)


@cache
def lives() -> tuple[tuple[Sealed, ...], ...]:
    """Return the records of operations that were lost, paused, retried, undone, blocked and completed."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_lives(Path(folder)))


async def _lives(folder: Path) -> tuple[tuple[Sealed, ...], ...]:
    house = House(folder / "ledger.sqlite")
    try:
        await house.enrol()
        found = []
        for seed in SEEDS:
            found.append(house.store.journal(await Scenario(house, seed).run()).records)
            house.store.fault = lambda: ""
        return tuple(found)
    finally:
        house.close()
