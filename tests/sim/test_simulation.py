"""Seeded worlds where runners die, disks lie and answers are lost. A failing seed is named."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.operations.errors import StoreUnavailable, StoreUncertain
from rexecop.operations.fold import fold
from rexecop.proof.records.command import Verb
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Phase, State
from tests.sim.oracles import check, check_complete, check_ended
from tests.sim.plans import change, derive, planned, read
from tests.sim.scenario import Scenario, Wide
from tests.sim.world import ALICE, Crash, House

SCENARIOS = 60
SLICE = 20  # Of one test, so that several processes share them.
SCENARIOS_SOAK = 20_000
WIDE = 12  # Each has several times as many steps.
PER_HOUSE = 100


async def live(path: Path, seeds: range, kind: type[Scenario] = Scenario) -> None:
    house = House(path)
    try:
        await house.enrol()
        for seed in seeds:
            scenario = kind(house, seed)
            try:
                await scenario.run()
            except BaseException as error:
                raise AssertionError(
                    f"seed {seed} (REXECOP_SIM_SEED={seed}), told {scenario.told}: {error!r}"
                ) from error
            house.store.fault = lambda: ""
        report = house.store.verify_log()
        assert report.bad is None
        await check_complete(house, path.with_suffix(".rxb"))
    finally:
        house.close()


def run(tmp_path: Path, first: int, count: int, kind: type[Scenario] = Scenario) -> None:
    for start in range(first, first + count, PER_HOUSE):
        end = min(start + PER_HOUSE, first + count)
        asyncio.run(live(tmp_path / f"{start}.sqlite", range(start, end), kind))


@pytest.mark.parametrize("first", range(0, SCENARIOS, SLICE))
def test_whatever_fails_no_effect_goes_unrecorded_and_none_happens_twice(tmp_path: Path, first: int) -> None:
    seed = os.environ.get("REXECOP_SIM_SEED")
    if seed is not None:
        run(tmp_path, int(seed), 1)
    else:
        run(tmp_path, first, SLICE)


def test_whatever_fails_beside_other_calls_no_effect_goes_unrecorded_and_none_happens_twice(
    tmp_path: Path,
) -> None:
    seed = os.environ.get("REXECOP_SIM_SEED")
    run(tmp_path, int(seed or 0), 1 if seed is not None else WIDE, Wide)


@pytest.mark.soak
def test_whatever_fails_side_by_side_over_many_worlds_everything_still_holds(tmp_path: Path) -> None:
    run(tmp_path, 1_000_000, SCENARIOS_SOAK, Wide)


@pytest.mark.soak
def test_whatever_fails_over_many_worlds_everything_still_holds(tmp_path: Path) -> None:
    run(tmp_path, 1_000_000, SCENARIOS_SOAK)


STEPS = (read("look"), change("first"), derive("sum"), change("second", target="db"), read("again"))
BOUNDARIES = 8  # More than the plan takes by itself: recovery appends too.
CALLS = 4


async def crash_once(house: House, arm: str, place: int, fate: str) -> None:
    """Run the plan; the runner dies once, at one place; people and a new runner bring it to its end."""
    seen = {"appends": 0, "calls": 0}

    def falls(kind: str) -> str:
        seen[kind] += 1
        return fate if kind == arm and seen[kind] == place else ""

    house.clock.move(timedelta(minutes=1))
    operation = await planned(house, *STEPS)
    house.store.fault = lambda: falls("appends")
    house.lane.fate = lambda step, phase, effect: falls("calls") or "ok"
    for _ in range(12):
        op = fold(house.store.journal(operation).records)
        check(house, operation)
        if op.state is State.COMPLETED and not op.receipt_due:
            break
        try:
            if op.state is State.INDETERMINATE and not op.in_flight:
                house.clock.move(timedelta(minutes=2))
                step = next(iter(op.unknown.values())).step
                probe = isinstance(step, CallStep) and step.probe is not None
                await house.lifecycle.reconcile(
                    operation, ALICE, probe=probe, happened=False, reason=None if probe else "it only read"
                )
            elif op.state is State.PAUSED:
                await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            else:
                await house.lifecycle.start(operation)
        except (Crash, StoreUncertain):
            house.life()
        except StoreUnavailable:
            continue
    house.store.fault = lambda: ""
    check_ended(house, operation)
    op = fold(house.store.journal(operation).records)
    assert op.state is State.COMPLETED, (arm, place, fate, op.state, op.reason)
    assert [house.reality.times(operation, name, Phase.DO) for name in ("first", "second")] == [1, 1]


@pytest.mark.parametrize("fate", ["crash before", "crash after", "not persisted", "persisted anyway"])
def test_a_runner_that_dies_at_any_record_boundary_costs_nothing(tmp_path: Path, fate: str) -> None:
    asyncio.run(each(tmp_path, "appends", fate, BOUNDARIES))


@pytest.mark.parametrize("fate", ["crash before", "crash after", "lost before", "lost after"])
def test_a_runner_that_dies_during_any_call_costs_nothing(tmp_path: Path, fate: str) -> None:
    asyncio.run(each(tmp_path, "calls", fate, CALLS))


async def each(path: Path, arm: str, fate: str, places: int) -> None:
    house = House(path / "ledger.sqlite")
    try:
        await house.enrol()
        for place in range(1, places + 1):
            await crash_once(house, arm, place, fate)
    finally:
        house.close()


def test_the_plan_of_the_boundary_tests_has_as_many_boundaries_as_they_walk(tmp_path: Path) -> None:
    async def count() -> tuple[int, int]:
        house = House(tmp_path / "ledger.sqlite")
        try:
            await house.enrol()
            operation = await planned(house, *STEPS)
            before = house.store.appends
            await house.lifecycle.start(operation)
            return house.store.appends - before, len(house.reality.calls)
        finally:
            house.close()

    appends, calls = asyncio.run(count())

    assert (appends, calls) == (5, CALLS)
    assert appends <= BOUNDARIES
