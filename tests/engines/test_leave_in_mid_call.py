"""Lanes that need leave in mid-call: a planned call gets a permit of its own, everything else a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.caller import LEAVE_REFUSED
from rexecop.governance.pack import Pack
from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Asks, Clearance, LaneEvent, LaneResult, Made
from rexecop.lanes.simulated import SIMULATED
from rexecop.proof.call import Call, Limits, ScriptedRequest
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.instance import Note
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect, Ended, Isolation, Phase, State
from tests.engines.support import approve, ended, housed, of_kind, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, NO_CHANGES, Crash, House, ScriptLane, scripted

Story = Callable[["House", "AskingLane"], Awaitable[None]]


class AskingLane(ScriptLane):
    """Wants `wants[step]` in the course of the call of `step`, which ends as `inner` says."""

    wants: dict[str, Call]
    inner: Ended = Ended.OK
    dies: bool = False
    times: int = 1

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        assert isinstance(call.request, ScriptedRequest)
        wanted = self.wants.get(str(call.request.arguments["step"]))
        for _ in range(self.times if wanted is not None else 0):
            assert wanted is not None and isinstance(wanted.request, ScriptedRequest)
            asks = Asks(wanted)
            yield asks
            try:
                asks.clear()
            except ClearanceRefused:
                continue
            told = wanted.request.arguments
            if self.inner is Ended.OK and wanted.effect is not Effect.READ:
                self._reality.happen(str(told["operation"]), str(told["step"]), Phase.DO, wanted, 1)
            if self.dies:
                self._reality.store.die()
            failure = None if self.inner is Ended.OK else Failure.UNKNOWN_OUTCOME
            result = LaneResult(ended=self.inner, duration_ms=1, measured=SIMULATED, failure=failure)
            yield Made(asks=asks, result=result)
        async for event in super().open(call, limits, isolation, attempt, clearance):
            yield event


def lived(path: Path, story: Story) -> None:
    async def awaited() -> None:
        async with housed(path) as house:
            house.lane = lane = AskingLane(house.reality)
            lane.wants = {}
            house.life()
            await story(house, lane)

    asyncio.run(awaited())


def call_of(house: House, operation: str, step: str) -> Call:
    found = next(one for one in op_of(house, operation).the_plan.steps if one.id == step)
    assert isinstance(found, CallStep)
    return found.call


async def asking(house: House, lane: AskingLane, **more: object) -> str:
    """Return an operation whose first step asks for the call of its second."""
    operation = await planned(house, change("one"), change("two", **more))
    lane.wants = {"one": call_of(house, operation, "two")}
    return operation


def done(house: House) -> list[str]:
    return [step for _, step, _ in house.reality.effects]


def notes(house: House, operation: str) -> list[str]:
    found = [one.record for one in of_kind(house, operation, Note)]
    return [one.text for one in found if isinstance(one, Note) and one.topic == LEAVE_REFUSED]


def test_a_planned_call_is_made_in_mid_call_under_a_permit_of_its_own_and_not_again(tmp_path: Path) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        operation = await asking(house, lane)
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED
        assert done(house) == ["two", "one"] and notes(house, operation) == []
        attempts = [one.record for one in of_kind(house, operation, Attempt)]
        permits = [one.permit for one in attempts if isinstance(one, Attempt)]
        assert [one.step for one in permits] == ["one", "two"]
        assert permits[0].call != permits[1].call and permits[0].ticket == permits[1].ticket

    lived(tmp_path, story)


def test_a_call_outside_the_plan_is_refused_and_the_refusal_is_recorded(tmp_path: Path) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        operation = await asking(house, lane)
        for wanted in (
            scripted(operation, "three", Phase.DO, "web", Effect.CHANGE),
            replace(lane.wants["one"], effect=Effect.DESTROY),
            replace(lane.wants["one"], target="db"),
            call_of(house, operation, "one"),
        ):
            lane.wants = {"one": wanted}
            operation = await planned(house, change("one"), change("two"))
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED
            assert len(notes(house, operation)) == 1
            assert "step one asked for script." in notes(house, operation)[0]
            assert notes(house, operation)[0].endswith("[permit-outside-scope]")
        assert done(house) == ["one", "two"] * 4

    lived(tmp_path, story)


def test_what_was_made_once_is_not_given_leave_again(tmp_path: Path) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        lane.times = 3
        operation = await asking(house, lane)
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED
        assert done(house) == ["two", "one"] and len(notes(house, operation)) == 2

    lived(tmp_path, story)


def test_nothing_is_given_leave_for_in_the_course_of_undoing(tmp_path: Path) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        operation = await planned(house, change("one"), read("look"))
        await house.lifecycle.start(operation)
        lane.wants = {"one": call_of(house, operation, "look")}
        await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
        assert ended(house, operation).state is State.UNDONE
        assert len(notes(house, operation)) == 1

    lived(tmp_path, story)


@pytest.mark.parametrize("packs", [NO_CHANGES, NEEDS_ONE])
def test_policy_is_asked_about_it_and_the_step_is_stopped_in_its_own_turn(
    tmp_path: Path, packs: Pack
) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        operation = await planned(house, read("zero"), change("one"), change("two"))
        lane.wants = {"one": call_of(house, operation, "two")}
        policy = house.authority.policy

        def changing(*about: object) -> object:
            if len(of_kind(house, operation, Attempt)) == 2:  # The first change is under way.
                house.authority.packs = (packs,)
            return policy()

        house.authority.policy = changing  # type: ignore[method-assign, assignment]
        await house.lifecycle.start(operation)
        assert done(house) == ["one"]
        assert "[terms-stricter]" in notes(house, operation)[0]
        wanted = State.FAILED if packs is NO_CHANGES else State.WAITING_FOR_APPROVAL
        assert op_of(house, operation).state is wanted

    lived(tmp_path, story)


def test_a_step_that_asks_for_approval_is_refused_in_mid_call_and_waits_in_its_own_turn(
    tmp_path: Path,
) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        operation = await asking(house, lane, asks=(ApprovalRule(count=1, group="approvers"),))
        await house.lifecycle.start(operation)
        assert op_of(house, operation).state is State.PAUSED and done(house) == ["one"]
        assert "[approvals-missing]" in notes(house, operation)[0]
        await approve(house, operation, "bob", step="two")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED

    lived(tmp_path, story)


@pytest.mark.parametrize("outer", ["ok", "failed"])
@pytest.mark.parametrize("inner", [Ended.FAILED, Ended.UNKNOWN])
def test_how_it_ended_counts_once_the_call_around_it_has_ended(
    tmp_path: Path, inner: Ended, outer: str
) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        lane.inner = inner
        lane.fate = lambda step, phase, effect: outer
        operation = await asking(house, lane)
        await house.lifecycle.start(operation)
        op = op_of(house, operation)
        assert op.state is (State.INDETERMINATE if inner is Ended.UNKNOWN else State.FAILED)
        assert "step `two`" in op.reason and not op.in_flight
        if inner is Ended.FAILED:
            assert ended(house, operation).ends == [Ended.FAILED, Ended(outer)]

    lived(tmp_path, story)


def test_a_runner_that_dies_in_between_leaves_both_to_be_settled(tmp_path: Path) -> None:
    async def story(house: House, lane: AskingLane) -> None:
        lane.dies = True
        operation = await asking(house, lane)
        with pytest.raises(Crash):
            await house.lifecycle.start(operation)
        house.life()
        lane.dies = False
        await house.lifecycle.start(operation)
        op = op_of(house, operation)
        assert op.state is State.INDETERMINATE and len(op.unknown) == 2
        house.clock.move(timedelta(minutes=2))
        await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
        await house.lifecycle.command(operation, Verb.RESUME, ALICE, "go on")
        assert ended(house, operation).state is State.COMPLETED
        assert sorted(done(house)) == ["one", "two"]

    lived(tmp_path, story)
