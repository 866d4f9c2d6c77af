"""Windows are waited for and held to in mid-run; a halt stops the next permit, whoever runs it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from rexecop.app.own_chain import next_records
from rexecop.governance.errors import Halted
from rexecop.governance.pack import Pack
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.vocabulary import Ended, Gate, HaltScope, Phase, State
from tests.engines.support import approve, ended, housed, kinds, of_kind, op_of, second_process
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, ROOT, START, STARTER_FILES, Crash, House

MINUTE = timedelta(minutes=1)


def within(start: str, end: str, more: str = "", base: Pack | None = None) -> Pack:
    """Return a pack whose changes run between two times of the day."""
    text = f'maintenance_windows:\n  - {{timezone: UTC, start: "{start}", end: "{end}"{more}}}\n'
    files = {**STARTER_FILES, "windows.yaml": text.encode()}
    if base is NEEDS_ONE:
        files["requirements/approvals.cedar"] = (
            b'@id("one")\n@approvals("1 of approvers")\npermit (principal, action, resource);\n'
        )
    return Pack.parse(files)


async def halt(
    house: House, *, lifted: bool = False, scope: HaltScope = HaltScope.ALL, name: str = ""
) -> None:
    make = partial(Halt, scope=scope, name=name or None, lifted=lifted, reason="a drill")
    await house.store.append(next_records(house.store, house.clock, ROOT, [make]))


def test_a_closed_window_is_waited_for_and_the_ticket_keeps_to_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (within("12:00", "13:00"),)
            operation = await planned(house, change("one"))

            driven = await house.lifecycle.start(operation)
            assert driven.queued == "it may start from 2026-01-31T12:00:00.000Z on"
            assert kinds(house, operation) == ["intent", "plan", "decision"]
            house.clock.move(timedelta(hours=3))
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED
            ticket = of_kind(house, operation, Ticket)[0].record
            assert isinstance(ticket, Ticket)
            assert ticket.expires == START.replace(hour=13, minute=0)

    asyncio.run(story())


def test_who_missed_the_window_that_was_approved_asks_again_for_the_next_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (within("12:00", "13:00", base=NEEDS_ONE),)
            operation = await planned(house, change("one"))
            await approve(house, operation, "bob")
            house.clock.move(timedelta(hours=5))

            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
            assert op_of(house, operation).terms.not_before == START.replace(
                month=2, day=1, hour=12, minute=0
            )
            assert house.reality.calls == []

    asyncio.run(story())


def test_a_window_that_is_gone_by_now_does_not_leave_an_operation_without_a_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (within("09:00", "10:00"),)
            operation = await planned(house, change("one"))
            house.authority.packs = (Pack.parse(STARTER_FILES),)
            house.clock.move(timedelta(hours=1))

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


@pytest.mark.parametrize(("finish", "state"), [("", State.FAILED), (", let_finish: 30m", State.COMPLETED)])
def test_a_window_that_closes_in_mid_run_stops_the_next_change_unless_work_may_finish(
    tmp_path: Path, finish: str, state: State
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (within("09:00", "10:00", finish),)
            operation = await planned(house, change("one"), change("two"))

            async def later() -> None:
                if not house.reality.effects:
                    house.clock.move(40 * MINUTE)

            house.lane.during = later
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is state
            assert len(house.reality.effects) == (2 if finish else 1)
            if not finish:
                asked = of_kind(house, operation, Decision)[-1].record
                refused = of_kind(house, operation, Outcome)[-1].record
                assert isinstance(asked, Decision) and isinstance(refused, Outcome)
                assert asked.request.gate is Gate.CALL
                assert (refused.ended, refused.error_class) == (Ended.REFUSED, "policy_denied")

    asyncio.run(story())


def test_a_halt_between_two_steps_stops_the_second_and_a_person_resumes_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))

            async def elsewhere() -> None:
                if not house.reality.effects:
                    await halt(house)

            house.lane.during = elsewhere
            driven = await house.lifecycle.start(operation)

            assert driven.queued is not None and driven.queued.startswith("halted (all) by root")
            assert op_of(house, operation).state is State.PAUSED
            told = of_kind(house, operation, Command)[-1].record
            assert isinstance(told, Command) and told.reason == driven.queued
            with pytest.raises(Halted):
                await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            with pytest.raises(Halted):
                await second_process(house).command(operation, Verb.RESUME, ALICE, None)
            assert [step for _, step, _ in house.reality.effects] == ["one"]

            await halt(house, lifted=True)
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


def test_a_halt_while_a_retry_is_waited_for_stops_that_try_too(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, replace(read("one", tries=2), delay_ms=1))

            async def elsewhere() -> None:
                await halt(house)

            house.lane.fate = lambda step, phase, effect: "retryable"
            house.lane.during = elsewhere
            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.PAUSED
            assert len(house.reality.calls) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("scope", "name", "stopped"),
    [
        (HaltScope.TARGET, "web", True),
        (HaltScope.TARGET, "db", False),
        (HaltScope.INTENT, "sim", True),
        (HaltScope.INTENT, "sim/sim", True),
        (HaltScope.INTENT, "other/sim", False),
        (HaltScope.ENVIRONMENT, "here", True),
        (HaltScope.ENVIRONMENT, "there", False),
        (HaltScope.GROUP, "web", False),
        (HaltScope.REQUESTER, "alice", True),
        (HaltScope.REQUESTER, "bob", False),
    ],
)
def test_a_halt_stops_what_is_in_its_scope_and_nothing_else(
    tmp_path: Path, scope: HaltScope, name: str, stopped: bool
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", target="web"))
            await halt(house, scope=scope, name=name)

            driven = await house.lifecycle.start(operation)

            assert (driven.queued is not None) == stopped
            assert op_of(house, operation).state is (State.APPROVED if stopped else State.COMPLETED)

    asyncio.run(story())


def test_under_a_halt_a_probe_may_look_and_nothing_is_undone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", undo=True, probe=True))
            house.lane.fate = lambda step, phase, effect: "crash after" if phase is Phase.DO else "ok"
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            house.clock.move(10 * MINUTE)
            await halt(house)

            await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
            assert op_of(house, operation).state is State.PAUSED
            await house.lifecycle.command(operation, Verb.CANCEL, ALICE, "enough")
            with pytest.raises(Halted):
                await house.lifecycle.command(operation, Verb.UNDO, ALICE, "take it back")
            assert [phase for _, _, phase in house.reality.effects] == [Phase.DO]

            await halt(house, lifted=True)
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "take it back")
            assert ended(house, operation).state is State.UNDONE

    asyncio.run(story())


def test_a_halt_in_mid_undoing_leaves_it_to_be_gone_on_with(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", undo=True), change("two", undo=True))
            await house.lifecycle.start(operation)

            async def elsewhere() -> None:
                if len(house.reality.effects) == 2:
                    await halt(house)

            house.lane.during = elsewhere
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, None)
            assert op_of(house, operation).state is State.UNDOING
            assert len(house.reality.effects) == 3

            await halt(house, lifted=True)
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.UNDONE

    asyncio.run(story())


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_halt_that_comes_between_the_look_and_the_attempt_still_comes_first(
    tmp_path: Path, look: int
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"))
            seen, looks = house.authority.standing, count(1)

            def overtaken() -> tuple[Halt, ...]:
                found = seen()
                if next(looks) == look:
                    make = partial(Halt, scope=HaltScope.ALL, lifted=False, reason="a drill")
                    house.store.append_sync(next_records(house.store, house.clock, ROOT, [make]))
                return found

            house.authority.standing = overtaken
            driven = await house.lifecycle.start(operation)

            assert (driven.queued or "").startswith("halted (all)")
            assert next(looks) > look
            order = [type(sealed.record) for sealed in house.store.journal(operation).records]
            assert house.reality.calls == [] and Attempt not in order

    asyncio.run(story())
