"""Steps that wait for approval of their own call: nothing runs without it, and nothing is asked twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.governance.errors import ApprovalDenied, ApprovalsMissing
from rexecop.governance.obligations import tighter
from rexecop.operations.errors import IllegalMove
from rexecop.operations.index import waiting_for
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.decision import ApprovalRule, StepTerms
from rexecop.proof.vocabulary import State, Verdict
from tests.engines.support import approve, ended, housed, live, of_kind, op_of, second_process
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, Crash, House, pack

ONE = (ApprovalRule(count=1, group="approvers"),)
TWO_OF_STEP = pack(
    '@id("two") @absent("permits") @approvals("2 of approvers")\n'
    "permit (principal, action, resource) when { context has step };\n"
)


async def paused(house: House) -> str:
    """Return an operation that read and then stopped before its change."""
    operation = await planned(house, read("look"), change("one", asks=ONE))
    await house.lifecycle.start(operation)
    assert op_of(house, operation).state is State.PAUSED
    return operation


def test_a_step_waits_until_its_call_is_approved_and_then_runs_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            op = op_of(house, operation)
            assert waiting_for(op) == "step one: 1 of approvers" and "one" in op.reason
            count = op.count
            for _ in range(2):
                with pytest.raises(ApprovalsMissing):
                    await house.lifecycle.start(operation)
                with pytest.raises(ApprovalsMissing):
                    await house.lifecycle.command(operation, Verb.RESUME, ALICE, "please")
            assert op_of(house, operation).count == count
            await approve(house, operation, "bob", step="one")
            assert waiting_for(op_of(house, operation)) == ""
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED
            assert len(house.reality.effects) == 1

    asyncio.run(story())


def test_what_was_said_of_the_operation_is_not_said_of_its_step(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            operation = await planned(house, change("one", asks=ONE))
            with pytest.raises(IllegalMove):
                await approve(house, operation, "bob", step="one")
            await approve(house, operation, "bob")
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.PAUSED and not of_kind(house, operation, Attempt)
            with pytest.raises(IllegalMove):
                await approve(house, operation, "bob", step="another")
            await approve(house, operation, "bob", step="one")
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, "go on")
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_policy_that_looks_at_the_step_asks_for_it_and_not_for_the_whole(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (TWO_OF_STEP,)
            operation = await planned(house, change("one"))
            terms = op_of(house, operation).terms
            two = (ApprovalRule(count=2, group="approvers"),)
            assert terms.verdict is Verdict.ALLOWED
            assert terms.steps == (StepTerms(step="one", approvals=two),)
            await house.lifecycle.start(operation)
            await approve(house, operation, "bob", step="one")
            with pytest.raises(ApprovalsMissing):
                await house.lifecycle.start(operation)
            await approve(house, operation, "carol", step="one")
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_no_holds_the_step_and_a_cancel_ends_the_operation_cleanly(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            await approve(house, operation, "carol", approves=False, step="one")
            await approve(house, operation, "bob", step="one")
            with pytest.raises(ApprovalDenied):
                await house.lifecycle.start(operation)
            await house.lifecycle.command(operation, Verb.CANCEL, ALICE, "carol is right")
            assert ended(house, operation).state is State.CANCELLED
            assert house.reality.effects == []

    asyncio.run(story())


@pytest.mark.parametrize("late", [timedelta(hours=24), timedelta(hours=24) - timedelta(seconds=5)])
def test_a_yes_that_runs_out_before_the_call_could_end_is_asked_for_again(
    tmp_path: Path, late: timedelta
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            await approve(house, operation, "bob", step="one")
            house.clock.move(late)
            with pytest.raises(ApprovalsMissing):
                await house.lifecycle.start(operation)
            assert house.reality.effects == []

    asyncio.run(story())


@pytest.mark.parametrize("fate", ["crash before", "crash after"])
def test_a_runner_that_dies_in_an_approved_call_needs_no_second_yes(tmp_path: Path, fate: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            await approve(house, operation, "bob", step="one")
            house.lane.fate = lambda step, phase, effect: fate
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            await house.lifecycle.start(operation)
            house.clock.move(timedelta(minutes=2))
            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, "settled")
            assert ended(house, operation).state is State.COMPLETED
            assert len(house.reality.effects) == 1

    asyncio.run(story())


def test_what_a_person_paused_before_a_step_goes_on_by_resume_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("first"), change("one", asks=ONE))
            live(house)

            async def meanwhile() -> None:
                house.lane.during = None
                await second_process(house).command(operation, Verb.PAUSE, ALICE, "lunch")

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)
            await approve(house, operation, "bob", step="one")
            await house.lifecycle.start(operation)
            assert op_of(house, operation).state is State.PAUSED and len(house.reality.effects) == 1
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, "back")
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_terms_that_ask_more_for_a_step_are_stricter(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            op = op_of(house, await planned(house, change("one", asks=ONE)))
            without = op_of(house, await planned(house, change("one")))
            assert tighter(without.terms, op.terms) == "step `one`: 1 of `approvers` must approve, it was 0"
            assert tighter(op.terms, without.terms) is None

    asyncio.run(story())
