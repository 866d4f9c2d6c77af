"""Who drives: one runner at a time, the dead replaced at once, the living never, the overtaken silenced."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines import driver
from rexecop.engines.errors import RunnerBusy
from rexecop.engines.runner import boot_id, is_alive, runner_id
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.instance import Note
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.vocabulary import Ended, Phase, State
from tests.engines.support import ended, housed, live, of_kind, op_of, second_process
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, Crash, dead_runner


def test_a_process_knows_the_living_from_the_dead_and_from_a_reused_pid(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            assert is_alive(runner_id(), house.store)
            assert not is_alive(dead_runner(1), house.store)
            boot, pid, started = runner_id().split(":", 2)
            assert not is_alive(f"{boot}:{pid}:{int(started) - 1}", house.store)
            assert is_alive(f"another-machine:{pid}:{started}", house.store)
            assert boot == boot_id()

    asyncio.run(story())


def test_a_dead_runner_is_taken_over_before_its_lease_ran_out(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("one"), change("two"))
            house.lane.fate = lambda step, phase, effect: "crash before" if step == "one" else "ok"
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            house.lane.fate = lambda step, phase, effect: "ok"
            lease = house.store.lease(operation)
            assert lease is not None and lease.expires > house.clock.now()
            house.life()

            await house.lifecycle.start(operation)
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)

            assert ended(house, operation).state is State.COMPLETED
            fences = [
                s.record.permit.fence
                for s in of_kind(house, operation, Attempt)
                if isinstance(s.record, Attempt)
            ]
            assert fences == sorted(fences) and fences[-1] > fences[0]

    asyncio.run(story())


def test_a_living_runner_is_not_taken_over_while_its_lease_holds(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            live(house)
            busy: list[str] = []

            async def meanwhile() -> None:
                with pytest.raises(RunnerBusy):
                    await second_process(house).start(operation)
                busy.append("yes")

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            assert busy == ["yes"]
            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_many_short_calls_keep_the_lease_as_one_long_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "RENEW_SECONDS", 0.05)

    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, *(read(f"r{n}") for n in range(15)))
            left: list[timedelta] = []

            async def during() -> None:
                house.clock.move(timedelta(seconds=4))
                await asyncio.sleep(0.02)
                lease = house.store.lease(operation)
                assert lease is not None
                left.append(lease.expires - house.clock.now())

            house.lane.during = during
            await house.lifecycle.start(operation)

            assert len(left) == 15 and min(left) > timedelta(0)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_two_starts_in_one_process_drive_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            live(house)
            refused: list[str] = []

            async def meanwhile() -> None:
                for _ in range(2):
                    with pytest.raises(RunnerBusy) as busy:
                        await house.lifecycle.start(operation)
                    refused.append(busy.value.code)

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            assert refused == ["runner-busy", "runner-busy"]
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_call_whose_lease_was_lost_before_it_is_refused_by_its_fence(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))

            async def overtaken() -> None:
                house.clock.move(timedelta(seconds=31))
                now = house.clock.now()
                house.clock.move(timedelta(seconds=-20))
                assert house.store.acquire(operation, "elsewhere:1:1", now + timedelta(minutes=1), now)

            house.lane.before = overtaken
            with pytest.raises(RunnerBusy):
                await house.lifecycle.start(operation)

            assert house.reality.effects == []
            assert op_of(house, operation).in_flight

    asyncio.run(story())


def test_a_runner_that_was_overtaken_during_a_call_stops_and_writes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))

            async def overtaken() -> None:
                house.lane.during = None
                house.clock.move(timedelta(seconds=40))
                now = house.clock.now()
                assert house.store.acquire(operation, dead_runner(99), now + timedelta(minutes=1), now)

            house.lane.during = overtaken
            with pytest.raises(RunnerBusy):
                await asyncio.wait_for(house.lifecycle.start(operation), 5)

            assert of_kind(house, operation, Outcome) == []
            house.life()
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.INDETERMINATE
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_a_record_that_comes_between_loading_and_driving_costs_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            session = house.session(operation)
            other = house.session(operation)
            other.add(Note, ALICE, topic="hello", text="I was here first")
            await other.flush()

            await house.lifecycle._driver.drive(session)

            op = ended(house, operation)
            assert op.state is State.COMPLETED, op.reason
            outcomes = [
                s.record.ended for s in of_kind(house, operation, Outcome) if isinstance(s.record, Outcome)
            ]
            assert outcomes == [Ended.OK]

    asyncio.run(story())


def test_every_drive_gives_its_lease_back(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("one"))
            await house.lifecycle.start(operation)
            await house.lifecycle.start(operation)
            assert not house.lifecycle.alive(operation)
            lease = house.store.lease(operation)
            assert lease is not None and lease.expires < house.clock.now()

    asyncio.run(story())
