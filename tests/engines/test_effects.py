"""Calls and what came of them: declined, tried again, undone, lost and settled by looking."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.errors import NothingToSettle, TooEarly
from rexecop.operations.errors import NothingToUndo
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Expectation
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.vocabulary import Effect, Ended, Mode, Phase, State
from tests.engines.support import ended, housed, of_kind, op_of
from tests.sim.oracles import check_ended
from tests.sim.plans import change, derive, planned, read
from tests.sim.world import ALICE, House


def outcomes(house: House, operation: str) -> list[Outcome]:
    return [s.record for s in of_kind(house, operation, Outcome) if isinstance(s.record, Outcome)]


class Fate:
    """The first calls end as told, the others well."""

    def __init__(self, times: int, fate: str, phase: Phase = Phase.DO) -> None:
        self.left, self._fate, self._phase = times, fate, phase

    def __call__(self, step: str, phase: Phase, effect: Effect) -> str:
        if phase is not self._phase or not self.left:
            return "ok"
        self.left -= 1
        return self._fate


async def lose(house: House, operation: str, fate: str, phase: Phase = Phase.DO) -> None:
    house.lane.fate = Fate(1, fate, phase)
    await house.lifecycle.start(operation)
    assert op_of(house, operation).state is State.INDETERMINATE


# --- declined ---


def test_a_precondition_that_does_not_hold_declines_the_step_and_sends_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            before = Expectation(step="look", fact="line", equals="something else")
            operation = await planned(house, read("look"), change("one", before=before))
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.FAILED and "precondition" in op.reason
            last = outcomes(house, operation)[-1]
            assert (last.ended, last.attempt) == (Ended.REFUSED, None)
            assert house.reality.effects == []

    asyncio.run(story())


def test_a_tolerated_refusal_lets_the_next_step_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            before = Expectation(step="look", fact="line", equals="something else")
            operation = await planned(
                house, read("look"), change("one", before=before, tolerated=True), change("two")
            )
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            assert [step for _, step, _ in house.reality.effects] == ["two"]

    asyncio.run(story())


def test_a_postcondition_that_does_not_hold_fails_the_step_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            after = Expectation(step="one", fact="line", equals="something else")
            operation = await planned(house, change("one", after=after, tries=3), change("two"))
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.FAILED and "postcondition" in op.reason
            assert [step for _, step, _ in house.reality.effects] == ["one"]

    asyncio.run(story())


def test_a_dry_run_touches_the_scripted_lane_only_and_says_simulated(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("look"), derive("sum"), mode=Mode.DRY_RUN)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            assert [outcome.ended for outcome in outcomes(house, operation)] == [Ended.SIMULATED, Ended.OK]

    asyncio.run(story())


# --- tried again ---


@pytest.mark.parametrize(("tries", "failing", "state"), [(3, 2, State.COMPLETED), (3, 3, State.FAILED)])
def test_a_retryable_failure_gets_the_tries_its_rule_gives(
    tmp_path: Path, tries: int, failing: int, state: State
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=tries, delay_ms=2))
            house.lane.fate = Fate(failing, "retryable")
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is state
            assert len(house.reality.calls) == min(tries, failing + 1)
            tried = [s.record for s in of_kind(house, operation, Attempt) if isinstance(s.record, Attempt)]
            assert [attempt.permit.attempt for attempt in tried] == list(range(1, len(tried) + 1))

    asyncio.run(story())


@pytest.mark.parametrize(("fate", "on"), [("failed", ()), ("retryable", ("timeout",))])
def test_a_failure_outside_the_rule_is_not_tried_again(
    tmp_path: Path, fate: str, on: tuple[str, ...]
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=3, on=on))
            house.lane.fate = Fate(1, fate)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.FAILED
            assert len(house.reality.calls) == 1

    asyncio.run(story())


def test_an_unknown_end_is_never_tried_again_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", tries=5))
            await lose(house, operation, "lost before")
            await house.lifecycle.start(operation)
            await house.lifecycle.start(operation)
            assert len(house.reality.calls) == 1

    asyncio.run(story())


def test_retry_by_a_person_goes_on_with_the_step_that_failed(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            house.lane.fate = lambda step, phase, effect: "failed" if step == "two" else "ok"
            await house.lifecycle.start(operation)
            house.lane.fate = lambda step, phase, effect: "ok"
            await house.lifecycle.command(operation, Verb.RETRY, ALICE, "it was the network")

            op = ended(house, operation)
            assert op.state is State.COMPLETED
            assert [step for _, step, _ in house.reality.effects] == ["one", "two"]
            assert "ended failed" not in op.reason

    asyncio.run(story())


# --- undone ---


def test_undoing_goes_backwards_over_what_took_effect_and_can_be_undone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(
                house, change("one"), change("two", undo=False), change("three", target="db"), read("four")
            )
            await house.lifecycle.start(operation)
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")

            assert ended(house, operation).state is State.UNDONE
            assert [step for _, step, phase in house.reality.effects if phase is Phase.UNDO] == [
                "three",
                "one",
            ]
            with pytest.raises(Exception) as refused:
                await house.lifecycle.command(operation, Verb.UNDO, ALICE, "once more")
            assert getattr(refused.value, "code", "") in ("nothing-to-undo", "illegal-move")

    asyncio.run(story())


def test_undoing_that_fails_can_be_tried_again_and_does_not_repeat_what_was_undone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"), change("three"))
            await house.lifecycle.start(operation)
            house.lane.fate = lambda step, phase, effect: "failed" if step == "two" else "ok"
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
            assert ended(house, operation).state is State.FAILED
            with pytest.raises(Exception) as refused:
                await house.lifecycle.command(operation, Verb.RETRY, ALICE, "forwards again")
            assert getattr(refused.value, "code", "") == "illegal-move"
            house.lane.fate = lambda step, phase, effect: "ok"
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")

            assert ended(house, operation).state is State.UNDONE
            undone = [step for _, step, phase in house.reality.effects if phase is Phase.UNDO]
            assert undone == ["three", "two", "one"]

    asyncio.run(story())


@pytest.mark.parametrize("fate", ["lost before", "lost after"])
def test_a_lost_undoing_is_settled_and_goes_on(tmp_path: Path, fate: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            await house.lifecycle.start(operation)
            house.lane.fate = Fate(1, fate, Phase.UNDO)
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
            assert op_of(house, operation).state is State.INDETERMINATE
            house.clock.move(timedelta(minutes=2))
            undone = (operation, "two") not in house.reality.stands
            await house.lifecycle.reconcile(operation, ALICE, probe=False, happened=undone, reason="looked")
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.UNDONE
            assert house.reality.times(operation, "two", Phase.UNDO) == 1

    asyncio.run(story())


@pytest.mark.parametrize("fate", ["lost before", "lost after"])
def test_the_probe_of_a_lost_undoing_says_whether_the_undoing_happened(tmp_path: Path, fate: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            await house.lifecycle.start(operation)
            house.lane.fate = Fate(1, fate, Phase.UNDO)
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.UNDONE
            assert house.reality.times(operation, "two", Phase.UNDO) == 1

    asyncio.run(story())


def test_nothing_is_undone_that_never_happened(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            for operation in (
                await planned(house, read("one")),
                await planned(house, change("one", undo=False)),
            ):
                await house.lifecycle.start(operation)
                with pytest.raises(NothingToUndo):
                    await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
                check_ended(house, operation)

    asyncio.run(story())


# --- lost and settled ---


@pytest.mark.parametrize("fate", ["lost before", "lost after"])
def test_a_probe_settles_what_was_lost_and_the_effect_happens_once(tmp_path: Path, fate: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            await lose(house, operation, fate)
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            op = op_of(house, operation)
            assert op.state is State.PAUSED
            settled = of_kind(house, operation, Reconciliation)[0].record
            assert isinstance(settled, Reconciliation)
            assert settled.happened == (fate == "lost after")
            assert settled.probe is not None
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)

            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_what_may_still_be_running_is_not_settled_yet(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            await lose(house, operation, "lost after")
            for probe, happened in ((True, None), (False, False)):
                with pytest.raises(TooEarly):
                    await house.lifecycle.reconcile(
                        operation, ALICE, probe=probe, happened=happened, reason="now"
                    )
            # The permit lives 30 s, the call 1.1 s, the margin is 2 s.
            house.clock.move(timedelta(seconds=32))
            with pytest.raises(TooEarly):
                await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            house.clock.move(timedelta(seconds=2))
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            assert op_of(house, operation).state is State.PAUSED

    asyncio.run(story())


def test_without_a_probe_or_a_word_nothing_is_settled(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", probe=False))
            with pytest.raises(NothingToSettle):
                await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            await lose(house, operation, "lost after")
            house.clock.move(timedelta(minutes=2))
            for probe in (True, False):
                with pytest.raises(NothingToSettle):
                    await house.lifecycle.reconcile(operation, ALICE, probe=probe, happened=None, reason=None)
            await house.lifecycle.reconcile(operation, ALICE, probe=False, happened=True, reason="I looked")
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_probe_that_does_not_answer_settles_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            await lose(house, operation, "lost after")
            house.clock.move(timedelta(minutes=2))
            house.lane.fate = Fate(1, "failed", Phase.PROBE)
            with pytest.raises(NothingToSettle):
                await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            assert op_of(house, operation).state is State.INDETERMINATE
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())
