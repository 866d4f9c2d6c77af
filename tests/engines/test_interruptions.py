"""People, other processes and clocks that come in between, and locks that keep operations apart."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from rexecop.engines.errors import ClockSteppedBack
from rexecop.operations.queue import Cause
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.vocabulary import Ended, Phase, State
from tests.engines.support import ended, housed, live, of_kind, op_of, second_process
from tests.sim.oracles import check_ended
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, Crash, House


def ends(house: House, operation: str) -> list[Ended]:
    return [s.record.ended for s in of_kind(house, operation, Outcome) if isinstance(s.record, Outcome)]


@pytest.mark.parametrize("fate", ["ok", "retryable"])
@pytest.mark.parametrize("delay_ms", [0, 20])
def test_a_cancel_during_a_call_keeps_what_was_observed_and_ends_there(
    tmp_path: Path, fate: str, delay_ms: int
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=3, delay_ms=delay_ms), change("two"))
            live(house)

            async def meanwhile() -> None:
                house.lane.during = None
                await second_process(house).command(operation, Verb.CANCEL, ALICE, "enough")

            house.lane.during, house.lane.fate = meanwhile, lambda step, phase, effect: fate
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.CANCELLED
            assert ends(house, operation) == [Ended.OK if fate == "ok" else Ended.FAILED]
            assert len(of_kind(house, operation, Receipt)) == 1
            assert len(house.reality.calls) == 1

    asyncio.run(story())


def test_a_cancel_while_waiting_for_another_try_is_obeyed_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=3, delay_ms=300))
            live(house)
            house.lane.fate = lambda step, phase, effect: "retryable"
            driving = asyncio.create_task(house.lifecycle.start(operation))
            while not of_kind(house, operation, Outcome):
                await asyncio.sleep(0.01)
            await second_process(house).command(operation, Verb.CANCEL, ALICE, "enough")
            await driving

            assert ended(house, operation).state is State.CANCELLED
            assert ends(house, operation) == [Ended.FAILED]

    asyncio.run(story())


def test_a_pause_during_a_call_stops_after_it_and_goes_on_once_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            live(house)

            async def meanwhile() -> None:
                house.lane.during = None
                await second_process(house).command(operation, Verb.PAUSE, ALICE, "lunch")

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.PAUSED
            assert [step for _, step, _ in house.reality.effects] == ["one"]

            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)

            assert ended(house, operation).state is State.COMPLETED
            assert [step for _, step, _ in house.reality.effects] == ["one", "two"]

    asyncio.run(story())


def test_a_pause_that_came_too_late_does_not_stop_a_later_try(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            live(house)

            async def meanwhile() -> None:
                house.lane.during = None
                await second_process(house).command(operation, Verb.PAUSE, ALICE, "lunch")

            house.lane.during, house.lane.fate = meanwhile, lambda step, phase, effect: "failed"
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.FAILED
            house.lane.fate = lambda step, phase, effect: "ok"

            await house.lifecycle.command(operation, Verb.RETRY, ALICE, None)

            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_command_that_the_state_does_not_allow_leaves_no_record(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("one"))
            await house.lifecycle.start(operation)
            before = house.store.records_of(operation)
            for verb in Verb:
                with pytest.raises(Exception) as refused:
                    await house.lifecycle.command(operation, verb, ALICE, "please")
                no = ("illegal-move", "nothing-to-undo", "nothing-to-review")
                assert getattr(refused.value, "code", "") in no
            assert house.store.records_of(operation) == before

    asyncio.run(story())


def test_an_operation_whose_validation_failed_has_nothing_to_retry(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), good=False)
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.FAILED
            with pytest.raises(Exception) as refused:
                await house.lifecycle.command(operation, Verb.RETRY, ALICE, "again")
            assert getattr(refused.value, "code", "") == "illegal-move"
            assert ended(house, operation).state is State.FAILED

    asyncio.run(story())


def test_a_receipt_that_was_not_written_yet_is_written_before_the_next_command(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            house.lane.fate = lambda step, phase, effect: "ok" if step == "one" else "failed"
            await house.lifecycle.start(operation)
            retry = house.session(operation)
            retry.add(Command, ALICE, verb=Verb.RETRY, reason=None)
            retry.add(Command, ALICE, verb=Verb.CANCEL, reason="by somebody whose process died")
            await retry.flush()
            assert op_of(house, operation).receipt_due

            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")

            assert ended(house, operation).state is State.UNDONE
            states = [
                s.record.state for s in of_kind(house, operation, Receipt) if isinstance(s.record, Receipt)
            ]
            assert states == [State.FAILED, State.CANCELLED, State.UNDONE]

    asyncio.run(story())


def test_a_locked_target_queues_the_operation_and_nothing_of_it_is_recorded(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            first = await planned(house, change("one"))
            second = await planned(house, change("one"))
            third = await planned(house, change("one", target="db"))
            house.lane.fate = lambda step, phase, effect: "crash before"
            with pytest.raises(Crash):
                await house.lifecycle.start(first)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"

            driven = await house.lifecycle.start(second)
            assert driven.queued is not None and "web" in driven.queued
            assert op_of(house, second).state is State.APPROVED
            assert house.store.records_of(second) == 3
            await house.lifecycle.start(third)
            assert ended(house, third).state is State.COMPLETED

            await house.lifecycle.start(first)
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.reconcile(first, ALICE, probe=True, happened=None, reason=None)
            await house.lifecycle.command(first, Verb.CANCEL, ALICE, "enough")
            await house.lifecycle.start(second)
            assert ended(house, second).state is State.COMPLETED

    asyncio.run(story())


@pytest.mark.parametrize("verb", [Verb.UNDO, Verb.RETRY])
def test_what_changes_a_target_again_waits_for_its_lock_too(tmp_path: Path, verb: Verb) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            first = await planned(house, change("one"), change("two"))
            second = await planned(house, change("one"))
            house.lane.fate = lambda step, phase, effect: "failed" if step == "two" else "ok"
            await house.lifecycle.start(first)
            house.lane.fate = lambda step, phase, effect: "crash before"
            with pytest.raises(Crash):
                await house.lifecycle.start(second)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            effects = list(house.reality.effects)

            driven = await house.lifecycle.command(first, verb, ALICE, "now")

            assert driven.queued == f"target `web` is held by operation `{second}`"
            assert house.reality.effects == effects
            assert op_of(house, first).state is (State.UNDOING if verb is Verb.UNDO else State.RETRYING)
            [verdict] = house.lifecycle.queue.judged()
            assert (verdict.waiting.operation, verdict.cause) == (first, Cause.LOCK)
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.take_over(second)
            during: list[str] = []

            async def look() -> None:
                during.extend(house.store.locked_by("web"))

            house.lane.during = look
            await house.lifecycle.start(first)
            assert ended(house, first).state is (State.UNDONE if verb is Verb.UNDO else State.COMPLETED)
            assert during == [first] and house.store.locks() == []

    asyncio.run(story())


def test_a_clock_that_was_set_back_stops_what_changes_and_a_small_step_does_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            house.clock.move(timedelta(seconds=-30))
            with pytest.raises(ClockSteppedBack):
                await house.lifecycle.start(operation)
            assert house.reality.calls == []
            house.clock.move(timedelta(seconds=27))
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_many_small_steps_back_do_not_add_up(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))

            async def meanwhile() -> None:
                house.clock.move(timedelta(seconds=-4))

            house.lane.during = meanwhile
            with pytest.raises(ClockSteppedBack):
                await house.lifecycle.start(operation)
            times = [sealed.record.at for sealed in house.store.journal(operation).records]
            assert times == sorted(times)

    asyncio.run(story())


def test_what_was_observed_is_kept_although_the_clock_was_set_back_meanwhile(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))

            async def meanwhile() -> None:
                house.clock.move(timedelta(minutes=-10))

            house.lane.during = meanwhile
            with pytest.raises(ClockSteppedBack):
                await house.lifecycle.start(operation)
            house.lane.during = None
            assert ends(house, operation) == [Ended.OK]
            house.clock.move(timedelta(minutes=11))
            house.life()
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_what_was_observed_is_kept_although_driving_was_cancelled_right_after(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=2, delay_ms=60_000))
            house.lane.fate = lambda step, phase, effect: "retryable"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(house.lifecycle.start(operation), 0.3)
            assert ends(house, operation) == [Ended.FAILED]
            assert not house.lifecycle.alive(operation)

    asyncio.run(story())


def test_whenever_a_process_stands_still_what_it_records_then_still_verifies(tmp_path: Path) -> None:
    """It stands still just before one look at the clock; what ran out meanwhile is not used any more."""

    async def story() -> None:
        async with housed(tmp_path) as house:
            looks, still, look = 0, 0, house.clock.now

            def looking() -> datetime:
                nonlocal looks
                looks += 1
                if looks == still:
                    house.clock.move(timedelta(minutes=2))
                return look()

            house.clock.now = looking  # type: ignore[method-assign]
            place, last = 1, 1
            while place <= last:
                looks, still = 0, place
                operation = await planned(house, read("look"), change("one"))
                await house.lifecycle.start(operation)
                if op_of(house, operation).state is State.COMPLETED:
                    await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
                last, place = looks, place + 1
                check_ended(house, operation)
            assert place > 30

    asyncio.run(story())
