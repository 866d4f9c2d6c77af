"""A precondition is read again just before the change, by an ordinary attempt; drift stops the change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.rereading import differences
from rexecop.proof.canonical import Json
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Expectation
from rexecop.proof.vocabulary import Ended, Mode, Phase, State
from tests.engines.support import ended, housed, of_kind, op_of
from tests.sim.plans import Wanted, change, derive, planned, read
from tests.sim.world import ALICE, NO_CHANGES, House

HOLDS = Expectation(step="look", fact="line", equals="look")
CONCLUDED = Expectation(step="sum", fact="line", equals="look")


def later(house: House, says: str = "look") -> Callable[[], Awaitable[None]]:
    """Return what makes ten seconds pass during the first change, after which `look` reads `says`."""

    async def meanwhile() -> None:
        if house.reality.calls[-1][1] == "one":
            house.clock.move(timedelta(seconds=10))
            house.lane.says["look"] = says

    return meanwhile


def looked(house: House, operation: str) -> list[Phase]:
    attempts = [sealed.record for sealed in of_kind(house, operation, Attempt)]
    return [item.phase for item in attempts if isinstance(item, Attempt) and item.permit.step == "look"]


@pytest.mark.parametrize("derived", [False, True])
def test_a_precondition_that_still_holds_is_read_again_and_the_change_is_made(
    tmp_path: Path, derived: bool
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.during = later(house)
            between = (derive("sum"),) if derived else ()
            rests = CONCLUDED if derived else HOLDS
            operation = await planned(
                house, read("look"), *between, change("one"), change("two", before=rests)
            )
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            assert looked(house, operation) == [Phase.DO, Phase.PROBE]

    asyncio.run(story())


@pytest.mark.parametrize("derived", [False, True])
def test_a_precondition_that_drifted_stops_the_change_with_what_was_found(
    tmp_path: Path, derived: bool
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.during = later(house, says="other")
            between = (derive("sum"),) if derived else ()
            rests = CONCLUDED if derived else HOLDS
            last = change("two", before=rests, tolerated=True)
            operation = await planned(house, read("look"), *between, change("one"), last)
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.FAILED
            assert {step for _, step, _ in house.reality.effects} == {"one"}
            refused = of_kind(house, operation, Outcome)[-1].record
            assert isinstance(refused, Outcome)
            assert (refused.ended, refused.error_class) == (Ended.REFUSED, "drifted")
            assert '"other", not "look" any more' in op.reason
            assert refused.facts is not None

            house.lane.says.clear()
            await house.lifecycle.command(operation, Verb.RETRY, ALICE, "it is as it was")
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_precondition_that_cannot_be_read_again_stops_the_change(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.during = later(house)
            seen: list[str] = []

            def fate(step: str, phase: Phase, effect: object) -> str:
                seen.append(step)
                return "failed" if seen.count("look") == 2 else "ok"

            house.lane.fate = fate
            operation = await planned(house, read("look"), change("one"), change("two", before=HOLDS))
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.FAILED
            assert house.reality.times(operation, "two", Phase.DO) == 0

    asyncio.run(story())


def test_a_dry_run_reads_nothing_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.during = later(house, says="other")
            operation = await planned(
                house, read("look"), change("one"), change("two", before=HOLDS), mode=Mode.DRY_RUN
            )
            await house.lifecycle.start(operation)
            assert Phase.PROBE not in looked(house, operation)

    asyncio.run(story())


def test_policy_is_asked_after_the_wait_before_another_try(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            tries: list[str] = []

            def fate(step: str, phase: Phase, effect: object) -> str:
                tries.append(step)
                return "retryable" if len(tries) == 1 else "ok"

            house.lane.fate = fate
            wanted: Wanted = change("one", tries=2, on=("transient_connector_error",), delay_ms=60)
            operation = await planned(house, wanted)
            running = asyncio.ensure_future(house.lifecycle.start(operation))
            while not any(op_of(house, operation).ends):
                await asyncio.sleep(0.005)
            house.authority.packs = (NO_CHANGES,)
            await running

            assert ended(house, operation).state is State.FAILED
            assert house.reality.effects == []
            assert "forbidden by" in op_of(house, operation).reason

    asyncio.run(story())


def test_differences_name_every_fact_that_is_not_the_same() -> None:
    before: Json = {"web": {"version": "1", "up": True}, "same": 1}
    after: Json = {"web": {"version": "2"}, "same": 1, "new": [1]}
    assert differences(before, after) == (
        "`new` is [1], was nothing",
        "`web.up` is nothing, was true",
        '`web.version` is "2", was "1"',
    )
    assert differences(before, before) == ()
