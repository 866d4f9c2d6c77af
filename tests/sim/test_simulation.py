"""Seeded worlds where runners die, disks lie and answers are lost. A failing seed is named; rerun it alone."""

import asyncio
import os
from pathlib import Path

import pytest

from rexecop.operations.fold import fold
from rexecop.proof.vocabulary import State
from tests.sim.oracles import check, check_ended
from tests.sim.plans import change, derive, planned, read
from tests.sim.scenario import Scenario
from tests.sim.world import ALICE, MARGIN, Crash, House

SCENARIOS = 300
SCENARIOS_SOAK = 20_000
PER_HOUSE = 100


async def live(path: Path, seeds: range) -> None:
    house = House(path)
    try:
        await house.enrol()
        for seed in seeds:
            scenario = Scenario(house, seed)
            try:
                await scenario.run()
            except BaseException as error:
                raise AssertionError(
                    f"seed {seed} (REXECOP_SIM_SEED={seed}), told {scenario.told}: {error!r}"
                ) from error
            house.store.fault = lambda: ""
        report = house.store.verify_log()
        assert report.bad is None
    finally:
        house.close()


def run(tmp_path: Path, first: int, count: int) -> None:
    for start in range(first, first + count, PER_HOUSE):
        end = min(start + PER_HOUSE, first + count)
        asyncio.run(live(tmp_path / f"{start}.sqlite", range(start, end)))


def test_whatever_fails_no_effect_goes_unrecorded_and_none_happens_twice(tmp_path: Path) -> None:
    seed = os.environ.get("REXECOP_SIM_SEED")
    if seed is not None:
        run(tmp_path, int(seed), 1)
    else:
        run(tmp_path, 0, SCENARIOS)


@pytest.mark.soak
def test_whatever_fails_over_many_worlds_everything_still_holds(tmp_path: Path) -> None:
    run(tmp_path, 1_000_000, SCENARIOS_SOAK)
