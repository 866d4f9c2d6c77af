"""Calls side by side, guards, and the waves of a plan for several targets."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.errors import NothingToSettle
from rexecop.engines.runner import runner_id
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import Guard, Rollout
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.vocabulary import Effect, Ended, HaltScope, Phase, State
from tests.engines.support import approve, ended, housed, of_kind, op_of, second_process
from tests.sim.plans import Wanted, change, planned, read
from tests.sim.world import ALICE, INSTANCE, House, pack

HANG_SECONDS = 60
HOSTS = ("a", "b", "c", "d", "e")


def on_hosts(*names: str, hosts: tuple[str, ...] = HOSTS) -> list[Wanted]:
    """Return these steps of each host: changes, but for the one called `check`."""
    return [
        (read if name == "check" else change)(f"{name}@{host}", target=host)
        for host in hosts
        for name in names
    ]


def failing(*steps: str) -> Callable[[str, Phase, Effect], str]:
    return lambda step, phase, effect: "failed" if step in steps and phase is Phase.DO else "ok"


def effects(house: House) -> list[tuple[str, Phase]]:
    return [(step, phase) for _, step, phase in house.reality.effects]


def most_under_way(house: House, operation: str) -> int:
    """Return on how many targets calls were under way at one time, as the records say."""
    most, calling = 0, dict[str, str]()
    for sealed in house.store.journal(operation).records:
        if isinstance(sealed.record, Attempt):
            calling[sealed.digest] = sealed.record.target
        elif isinstance(sealed.record, Outcome) and sealed.record.attempt is not None:
            calling.pop(sealed.record.attempt)
        most = max(most, len(set(calling.values())))
    return most


def test_steps_that_need_the_same_are_made_side_by_side_and_what_needs_them_waits(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            both = asyncio.Barrier(2)

            async def together() -> None:
                if house.lane.beside in ({"left"}, {"left", "right"}, {"right"}):
                    await both.wait()  # Neither goes on before the other is there.

            house.lane.during = together
            operation = await planned(
                house,
                read("look"),
                change("left", needs=("look",)),
                change("right", needs=("look",)),
                change("last", needs=("left", "right")),
                parallel=2,
            )
            await asyncio.wait_for(house.lifecycle.start(operation), HANG_SECONDS)

            assert ended(house, operation).state is State.COMPLETED
            assert effects(house)[-1] == ("last", Phase.DO) and len(effects(house)) == 3

    asyncio.run(story())


def test_a_failure_lets_what_runs_beside_it_end_and_begins_nothing_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            late = asyncio.Event()

            async def holding() -> None:
                if "slow" in house.lane.beside:
                    await late.wait()

            def fate(step: str, phase: Phase, effect: Effect) -> str:
                if step != "bad":
                    return "ok"
                asyncio.get_running_loop().call_soon(late.set)
                return "failed"

            house.lane.during, house.lane.fate = holding, fate
            operation = await planned(
                house, change("slow"), change("bad"), change("never", needs=("slow",)), parallel=2
            )
            await asyncio.wait_for(house.lifecycle.start(operation), HANG_SECONDS)

            op = ended(house, operation)
            assert op.state is State.FAILED and "`bad`" in op.reason
            assert effects(house) == [("slow", Phase.DO)]

    asyncio.run(story())


def test_a_pause_asked_for_elsewhere_waits_for_every_call_that_runs(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.life(runner_id())
            asked = False

            async def pausing() -> None:
                nonlocal asked
                if not asked:
                    asked = True
                    await second_process(house).command(operation, Verb.PAUSE, ALICE, "wait")

            house.lane.during = pausing
            operation = await planned(
                house, change("one"), change("two"), change("three", needs=("one", "two")), parallel=2
            )
            await asyncio.wait_for(house.lifecycle.start(operation), HANG_SECONDS)

            op = op_of(house, operation)
            assert op.state is State.PAUSED and not op.in_flight
            assert set(effects(house)) <= {("one", Phase.DO), ("two", Phase.DO)}
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_each_call_that_a_dead_runner_left_open_is_settled_by_itself(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.fate = lambda step, phase, effect: "lost after" if step == "one" else "lost before"
            wanted = [change(name, probe=False) for name in ("one", "two")]
            operation = await planned(house, *wanted, parallel=2)
            await house.lifecycle.start(operation)
            house.lane.fate = failing()

            assert {item.step.id for item in op_of(house, operation).unknown.values()} == {"one", "two"}
            house.clock.move(timedelta(minutes=2))
            with pytest.raises(NothingToSettle, match="`one`, `two`"):
                await house.lifecycle.reconcile(
                    operation, ALICE, probe=False, happened=True, reason="I looked"
                )
            for step, happened in (("one", True), ("two", False)):
                await house.lifecycle.reconcile(
                    operation, ALICE, probe=False, happened=happened, reason="I looked", step=step
                )
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)

            assert ended(house, operation).state is State.COMPLETED
            assert sorted(effects(house)) == [("one", Phase.DO), ("two", Phase.DO)]

    asyncio.run(story())


def test_a_step_is_left_out_by_its_guard_and_with_it_what_needs_it_unless_it_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.says = {"look": "fine"}
            guard = Guard(step="look", fact="line", among=("broken", "bent"))
            operation = await planned(
                house,
                read("look"),
                change("mend", needs=("look",), when=(guard,)),
                change("polish", needs=("mend",)),
                change("report", needs=("mend",), goes_on=True),
            )
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            assert effects(house) == [("report", Phase.DO)]
            said = [s.record for s in of_kind(house, operation, Outcome)]
            skipped = {one.step for one in said if isinstance(one, Outcome) and one.ended is Ended.SKIPPED}
            assert skipped == {"mend", "polish"}

    asyncio.run(story())


def test_a_wave_begins_when_the_checks_of_the_one_before_have_passed(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            rollout = Rollout(waves=(1, 2, 2), targets_max=2, stop_after=1, check="check")
            operation = await planned(house, *on_hosts("set", "check"), rollout=rollout)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            made = [
                s.record.permit.step
                for s in of_kind(house, operation, Attempt)
                if isinstance(s.record, Attempt)
            ]
            waves = [made[:2], made[2:6], made[6:]]
            assert [sorted(wave) for wave in waves] == [
                ["check@a", "set@a"],
                ["check@b", "check@c", "set@b", "set@c"],
                ["check@d", "check@e", "set@d", "set@e"],
            ]
            assert all(name.startswith("set") for wave in waves[1:] for name in wave[:2])

    asyncio.run(story())


@pytest.mark.parametrize(
    ("rollout", "bad", "done"),
    [
        (Rollout(waves=(2, 3), targets_max=1, stop_after=2), ("set@a", "set@c"), "bc"),
        (Rollout(waves=(2, 3), targets_max=1, stop_after=3, canary=True), ("set@b",), "a"),
        (Rollout(waves=(2, 3), targets_max=1, stop_after=5, check="check"), ("check@a",), "ab"),
        (Rollout(waves=(5,), targets_max=1, stop_after=5), ("set@a", "set@e"), "bcd"),
    ],
    ids=["so many failed", "the canary failed", "a check failed", "fewer failed"],
)
def test_it_stops_where_the_plan_says_and_never_says_that_it_completed(
    tmp_path: Path, rollout: Rollout, bad: tuple[str, ...], done: str
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.fate = failing(*bad)
            steps = ("set", "check") if rollout.check else ("set",)
            operation = await planned(house, *on_hosts(*steps), rollout=rollout)
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.FAILED and f"{len(bad)} of 5 targets failed" in op.reason
            made = {step for step, _ in effects(house)}
            if bad == ("set@a", "set@c"):
                assert made == {"set@b"}  # It stopped at the second that failed, before d and e.
            else:
                assert made == {f"set@{host}" for host in done}

    asyncio.run(story())


def test_what_the_wave_that_stopped_did_is_undone_and_nothing_before_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.fate = failing("two@d")
            rollout = Rollout(waves=(2, 3), targets_max=3, stop_after=1, undo=True)
            operation = await planned(house, *on_hosts("one", "two"), rollout=rollout)
            await house.lifecycle.start(operation)

            op = ended(house, operation)
            assert op.state is State.FAILED and "wave 2 was undone" in op.reason
            assert {step[-1] for step in house.reality.stands_of(operation)} == {"a", "b"}
            undone = [step for step, phase in effects(house) if phase is Phase.UNDO]
            assert undone == sorted(undone, key=lambda step: (step[-1], step), reverse=True)
            orders = [s.record for s in of_kind(house, operation, Command)]
            assert [one.verb for one in orders if isinstance(one, Command)] == [Verb.UNDO]

    asyncio.run(story())


def test_a_wave_with_fewer_failures_than_stop_it_is_not_undone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.fate = failing("set@a")
            rollout = Rollout(waves=(2, 3), targets_max=2, stop_after=2, undo=True)
            operation = await planned(house, *on_hosts("set"), rollout=rollout)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.FAILED
            assert sorted(effects(house)) == [(f"set@{host}", Phase.DO) for host in "bcde"]

    asyncio.run(story())


def test_targets_that_failed_are_tried_again_and_the_others_are_not(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.lane.fate = failing("set@b")
            rollout = Rollout(waves=(5,), targets_max=2, stop_after=2)
            operation = await planned(house, *on_hosts("set"), rollout=rollout)
            await house.lifecycle.start(operation)
            house.lane.fate = failing()
            await house.lifecycle.command(operation, Verb.RETRY, ALICE, "again")

            assert ended(house, operation).state is State.COMPLETED
            assert Counter(step for step, _ in effects(house)) == {f"set@{host}": 1 for host in HOSTS}

    asyncio.run(story())


def test_terms_bound_how_many_targets_are_under_way_whatever_the_plan_says(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            bound = '@id("narrow")\n@obligations("wave<=2, receipt")\npermit (principal, action, resource);\n'
            house.authority.packs = (pack(bound),)
            house.lane.during = asyncio.Barrier(2).wait  # type: ignore[assignment]
            rollout = Rollout(waves=(4,), targets_max=4, stop_after=1)
            operation = await planned(house, *on_hosts("set", hosts=HOSTS[:4]), rollout=rollout)
            await asyncio.wait_for(house.lifecycle.start(operation), HANG_SECONDS)

            assert ended(house, operation).state is State.COMPLETED
            assert most_under_way(house, operation) == 2
            receipt = of_kind(house, operation, Receipt)[-1].record
            assert isinstance(receipt, Receipt)
            assert {one.how for one in receipt.obligations if one.name == "wave"} == {
                "at most 2 targets at a time"
            }

    asyncio.run(story())


def test_what_people_must_approve_waits_until_everything_else_is_done(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            asks = (ApprovalRule(count=1, group="approvers"),)
            wanted = [change("risky", asks=asks), change("one"), change("two"), change("too", asks=asks)]
            operation = await planned(house, *wanted, parallel=4)
            for step, done in (("risky", {"one", "two"}), ("too", {"one", "two", "risky"})):
                await house.lifecycle.start(operation)
                op = op_of(house, operation)
                assert op.state is State.PAUSED and op.awaited is not None and op.awaited.id == step
                assert {name for name, _ in effects(house)} == done
                await approve(house, operation, "bob", step=step)
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_halt_begins_nothing_more_and_lets_what_runs_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            head = {"operation": INSTANCE, "n": 0, "prev": None, "at": house.clock.now(), "by": ALICE}
            halt = Halt(**head, lifted=False, scope=HaltScope.ALL, reason="stop")  # type: ignore[arg-type]

            async def halting() -> None:
                house.authority.standing = lambda: (halt,)

            house.lane.during = halting
            rollout = Rollout(waves=(5,), targets_max=2, stop_after=1)
            operation = await planned(house, *on_hosts("set"), rollout=rollout)
            driven = await house.lifecycle.start(operation)

            op = op_of(house, operation)
            assert op.state is State.PAUSED and not op.in_flight and driven.queued is not None
            assert {step for step, _ in effects(house)} <= {"set@a", "set@b"} and effects(house)
            house.authority.standing = tuple
            house.lane.during = None
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_drive_that_is_cancelled_tells_every_lane_and_leaves_each_call_unknown(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            both, told = asyncio.Barrier(3), list[str]()

            async def staying() -> None:
                name = house.lane.calling[-1][1]
                await both.wait()
                try:
                    await asyncio.Event().wait()
                finally:
                    told.append(name)

            house.lane.during = staying
            operation = await planned(house, change("one"), change("two"), parallel=2)
            drive = asyncio.create_task(house.lifecycle.start(operation))
            await asyncio.wait_for(both.wait(), HANG_SECONDS)
            drive.cancel()
            with pytest.raises(asyncio.CancelledError):
                await drive
            assert len(told) == 2 and len(op_of(house, operation).in_flight) == 2

            house.life()
            house.lane.during = None
            await house.lifecycle.start(operation)
            op = op_of(house, operation)
            assert op.state is State.INDETERMINATE and len(op.unknown) == 2

    asyncio.run(story())
