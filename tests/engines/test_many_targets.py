"""Operations over more targets than one screen, one record or one question holds."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.outputs import OUTPUTS_MAX, Outputs
from rexecop.operations.step_output import StepOutput
from rexecop.proof.bundle import from_members
from rexecop.proof.codec import RECORD_BYTES_MAX
from rexecop.proof.container import unpack
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.plan import Rollout
from rexecop.proof.vocabulary import Ended, Gate, Phase, State
from tests.engines.support import approve, ended, housed, of_kind, op_of
from tests.sim.plans import Wanted, change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, Crash, House, pack

MANY = 1_000
SOME = 140
NOT_ON_H7 = pack(
    rules='@id("not-h7")\nforbid (principal, action, resource == Target::"h0007") '
    'when { context.gate == "call" };\n'
)


def on_each(count: int, name: str = "set", **more: object) -> list[Wanted]:
    return [change(f"{name}@h{n:04}", target=f"h{n:04}", **more) for n in range(count)]


def at_once(count: int, stop_after: int = 1) -> Rollout:
    return Rollout(waves=(1, count - 1), targets_max=16, stop_after=stop_after)


def effects(house: House, phase: Phase) -> int:
    return sum(done is phase for _, _, done in house.reality.effects)


def test_what_is_to_be_done_on_many_targets_is_approved_done_and_verified(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            wanted = [read(f"look@h{n:04}", target=f"h{n:04}") for n in range(MANY)]
            operation = await planned(house, *wanted, rollout=at_once(MANY))
            await approve(house, operation, "bob")
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.COMPLETED and len(house.reality.calls) == MANY
            assert len(op.sealed_plan.body) > RECORD_BYTES_MAX
            contents, _ = from_members(unpack(house.evidence.bundle(operation)).members)
            assert op.sealed_plan.digest not in contents.envelopes
            assert {sealed.digest for sealed in of_kind(house, operation, Approval)} < set(contents.envelopes)

    asyncio.run(story())


def test_work_on_many_targets_that_a_crash_cut_short_goes_on_where_it_was_and_is_undone(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            steps = on_each(SOME, probe=False)
            operation = await planned(house, *steps, rollout=at_once(SOME))
            house.lane.fate = lambda step, phase, effect: "crash before" if step == "set@h0070" else "ok"
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            done = effects(house, Phase.DO)
            assert 0 < done < SOME

            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            await house.lifecycle.start(operation)
            house.clock.move(timedelta(minutes=2))
            for attempt in list(op_of(house, operation).unknown):
                step = op_of(house, operation).unknown[attempt].step.id
                await house.lifecycle.reconcile(
                    operation,
                    ALICE,
                    probe=False,
                    happened=(operation, step) in house.reality.stands,
                    reason="seen",
                    step=step,
                )
            if op_of(house, operation).state is State.PAUSED:
                await house.lifecycle.command(operation, Verb.RESUME, ALICE, "on")
            assert ended(house, operation).state is State.COMPLETED
            assert effects(house, Phase.DO) == SOME

            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
            assert ended(house, operation).state is State.UNDONE and effects(house, Phase.UNDO) == SOME
            undone = [s.record for s in of_kind(house, operation, Attempt)][-SOME:]
            assert [one.target for one in undone] == [f"h{n:04}" for n in reversed(range(SOME))]  # type: ignore[attr-defined]

    asyncio.run(story())


def test_just_before_a_call_policy_is_asked_about_its_target_and_told_how_many_there_are(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, *on_each(9), rollout=at_once(9, stop_after=9))

            async def meanwhile() -> None:
                house.authority.packs = (NOT_ON_H7,)

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            asked = [s.record.request for s in of_kind(house, operation, Decision)]  # type: ignore[attr-defined]
            assert [one.gate for one in asked] == [Gate.PLAN, Gate.CALL]
            assert len(asked[0].targets) == 9 and asked[0].targets_planned is None
            assert [one.id for one in asked[1].targets] == ["h0007"] and asked[1].targets_planned == 9
            # Nobody else is kept from what policy forbids of one.
            assert effects(house, Phase.DO) == 8 and list(op.course.failed) == ["h0007"]

            house.lane.during, house.authority.packs = None, (pack(),)
            await house.lifecycle.command(operation, Verb.RETRY, ALICE, "again")
            assert ended(house, operation).state is State.COMPLETED and effects(house, Phase.DO) == 9

    asyncio.run(story())


def test_what_was_put_out_long_ago_is_no_longer_held() -> None:
    outputs = Outputs()
    for number in range(OUTPUTS_MAX + 10):
        outputs[f"step{number}"] = StepOutput(ended=Ended.OK)
        outputs["step9"] = StepOutput(ended=Ended.OK, stdout="newer")

    assert len(outputs) == OUTPUTS_MAX
    assert "step0" not in outputs and outputs["step9"].stdout == "newer"
