"""Policy that comes to ask for more on the way: what is left waits, and runs by what was approved for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.describe import left_text, next_commands
from rexecop.engines import driver
from rexecop.governance.pack import Pack
from rexecop.operations.errors import IllegalMove
from rexecop.operations.index import waiting_for
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.vocabulary import Gate, Mode, Phase, State
from tests.engines.support import approve, ended, housed, live, of_kind, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, NEEDS_TWO, NO_CHANGES, STARTER, Crash, House, pack

LESS_OUTPUT = pack('@id("less")\n@obligations("output_bytes<=5")\npermit (principal, action, resource);\n')
OF_CALLS = pack(
    '@id("call") @absent("permits") @approvals("1 of approvers")\n'
    'permit (principal, action, resource) when { context.gate == "call" };\n'
)
HANG_SECONDS = 60
Story = Callable[[House], Awaitable[None]]


def lived(path: Path, story: Story) -> None:
    async def awaited() -> None:
        async with housed(path) as house:
            await story(house)

    asyncio.run(awaited())


async def half_done(house: House, packs: Pack = NEEDS_ONE, before: Pack = STARTER) -> str:
    """Return an operation whose policy became `packs` while its first change was made."""
    house.authority.packs = (before,)
    operation = await planned(house, change("one"), change("two"), change("three"))
    if before is not STARTER:
        await approve(house, operation, "bob")

    async def meanwhile() -> None:
        house.authority.packs = (packs,)

    house.lane.during = meanwhile
    await house.lifecycle.start(operation)
    house.lane.during = None
    return operation


def effects(house: House) -> list[tuple[str, Phase]]:
    return [(step, phase) for _, step, phase in house.reality.effects]


def test_what_is_left_waits_for_people_and_then_goes_on_under_a_ticket_of_its_own(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house)
        op = op_of(house, operation)
        assert op.state is State.WAITING_FOR_APPROVAL and not op.in_flight
        assert effects(house) == [("one", Phase.DO)]
        assert "before step `two`" in op.reason and "`starter/one`" in op.reason
        assert waiting_for(op) == "what is left: 1 of approvers"
        assert left_text(op).endswith("done: `one`; what is left: `two`, `three`")
        count = op.count
        await house.lifecycle.start(operation)
        assert op_of(house, operation).count == count

        await approve(house, operation, "bob")
        await house.lifecycle.start(operation)

        assert ended(house, operation).state is State.COMPLETED
        first, second = (sealed.record for sealed in of_kind(house, operation, Ticket))
        assert isinstance(first, Ticket) and isinstance(second, Ticket)
        assert first.approvals == () and len(second.approvals) == 1 and first.terms != second.terms
        under = [s.record.permit.ticket for s in of_kind(house, operation, Attempt)]  # type: ignore[attr-defined]
        tickets = [sealed.digest for sealed in of_kind(house, operation, Ticket)]
        assert under == [tickets[0], tickets[1], tickets[1]]

    lived(tmp_path, story)


def test_what_runs_beside_ends_before_people_are_asked_about_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(house: House) -> None:
        stopped = asyncio.Event()
        stop = driver._Drive._stop

        async def stopping(*args: object) -> None:
            await stop(*args)  # type: ignore[arg-type]
            stopped.set()

        async def until_stopped() -> None:
            if house.lane.beside == {"slow"}:
                house.authority.packs = (NEEDS_ONE,)
                await stopped.wait()

        monkeypatch.setattr(driver._Drive, "_stop", stopping)
        house.lane.during = until_stopped
        operation = await planned(
            house, change("slow"), read("look"), change("next", needs=("look",)), parallel=2
        )
        await asyncio.wait_for(house.lifecycle.start(operation), HANG_SECONDS)
        house.lane.during = None

        op = op_of(house, operation)
        assert op.state is State.WAITING_FOR_APPROVAL and not op.in_flight
        assert effects(house) == [("slow", Phase.DO)]
        assert left_text(op).endswith("what is left: `next`")
        last = of_kind(house, operation, Decision)[-1].record
        assert isinstance(last, Decision) and last.request.gate is Gate.TICKET
        assert last.n == op.count - 1  # All outcomes are before it.
        await approve(house, operation, "bob")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED
        assert len(of_kind(house, operation, Ticket)) == 2

    lived(tmp_path, story)


def test_a_yes_to_the_terms_before_is_no_yes_to_the_stricter_ones(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house, NEEDS_TWO, before=NEEDS_ONE)
        await approve(house, operation, "bob")
        assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
        await approve(house, operation, "carol")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED

    lived(tmp_path, story)


def test_a_yes_that_a_ticket_spent_is_not_counted_when_the_same_terms_come_back(tmp_path: Path) -> None:
    other = pack(
        '@id("one")\n@approvals("1 of approvers")\n@obligations("output_bytes<=9")\n'
        "permit (principal, action, resource);\n"
    )
    third = pack('@id("one")\n@approvals("2 of approvers")\npermit (principal, action, resource);\n')

    async def story(house: House) -> None:
        operation = await half_done(house, third, before=other)
        house.authority.packs = (other,)  # Stricter in one thing, wider in another: asked again when minted.
        for person in ("bob", "carol"):
            await approve(house, operation, person)
        await house.lifecycle.start(operation)
        op = op_of(house, operation)
        assert op.state is State.WAITING_FOR_APPROVAL
        assert effects(house) == [("one", Phase.DO)]
        await approve(house, operation, "dora")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED
        spent = [s.record.approvals for s in of_kind(house, operation, Ticket)]  # type: ignore[attr-defined]
        assert [len(one) for one in spent] == [1, 1] and spent[0] != spent[1]

    lived(tmp_path, story)


def test_where_policy_only_obliges_to_more_nobody_is_asked_and_the_rest_keeps_to_it(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house, LESS_OUTPUT)
        op = ended(house, operation)
        assert op.state is State.COMPLETED and op.obligations.output_bytes == 5
        assert len(of_kind(house, operation, Ticket)) == 2
        receipt = of_kind(house, operation, Receipt)[-1].record
        assert isinstance(receipt, Receipt)
        assert "output_bytes" in {one.name for one in receipt.obligations}

    lived(tmp_path, story)


def test_what_policy_denies_in_the_end_is_not_asked_for(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house)
        await approve(house, operation, "bob")
        house.authority.packs = (NO_CHANGES,)
        await house.lifecycle.start(operation)
        op = ended(house, operation)
        assert op.state is State.BLOCKED and effects(house) == [("one", Phase.DO)]
        assert "rexecop rollback 1" in next_commands(op, 1, op.state)

    lived(tmp_path, story)


def test_a_policy_that_asks_more_of_a_call_than_of_the_whole_declines_it(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house, OF_CALLS)
        op = ended(house, operation)
        assert op.state is State.FAILED and "policy now asks for more" in op.reason
        asked = of_kind(house, operation, Decision)[-1].record
        assert isinstance(asked, Decision) and asked.request.gate is Gate.CALL

    lived(tmp_path, story)


def test_a_no_on_the_way_blocks_until_it_is_taken_back_and_what_was_done_can_be_undone(
    tmp_path: Path,
) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house)
        session = house.session(operation)
        assert session.op.ticket is not None
        with pytest.raises(IllegalMove):
            await house.lifecycle.command(operation, Verb.UNDO, ALICE, "while it waits")
        await approve(house, operation, "bob", approves=False)
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.BLOCKED
        house.authority.packs = (STARTER,)
        await house.lifecycle.command(operation, Verb.UNDO, ALICE, "not half of it")
        assert ended(house, operation).state is State.UNDONE
        assert effects(house) == [("one", Phase.DO), ("one", Phase.UNDO)]

    lived(tmp_path, story)


def test_undoing_that_policy_came_to_ask_more_of_waits_and_goes_on_undoing(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        operation = await half_done(house)
        await house.lifecycle.command(operation, Verb.CANCEL, ALICE, "enough")
        assert ended(house, operation).state is State.CANCELLED
        await house.lifecycle.command(operation, Verb.UNDO, ALICE, "back")
        op = op_of(house, operation)
        assert op.state is State.WAITING_FOR_APPROVAL and left_text(op).endswith("left to undo: `one`")
        await approve(house, operation, "carol")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.UNDONE
        assert effects(house) == [("one", Phase.DO), ("one", Phase.UNDO)]
        receipts = [s.record.state for s in of_kind(house, operation, Receipt)]  # type: ignore[attr-defined]
        assert receipts == [State.CANCELLED, State.UNDONE]

    lived(tmp_path, story)


@pytest.mark.parametrize("fate", ["crash before", "crash after"])
@pytest.mark.parametrize("place", range(1, 8))
def test_a_crash_anywhere_between_makes_nothing_twice(tmp_path: Path, fate: str, place: int) -> None:
    async def story(house: House) -> None:
        operation = await planned(house, read("look"), change("one"), change("two"))

        async def meanwhile() -> None:
            house.authority.packs = (NEEDS_ONE,)

        house.lane.during = meanwhile
        until = house.store.appends + place
        house.store.fault = lambda: fate if house.store.appends == until else ""
        for _ in range(5):
            try:
                await house.lifecycle.start(operation)
                if op_of(house, operation).unknown:
                    house.clock.move(timedelta(minutes=2))
                    await house.lifecycle.reconcile(operation, ALICE, probe=True, happened=None, reason=None)
                if op_of(house, operation).state is State.PAUSED:
                    await house.lifecycle.command(operation, Verb.RESUME, ALICE, "go on")
                if op_of(house, operation).state is State.WAITING_FOR_APPROVAL:
                    await approve(house, operation, "bob")
            except Crash:
                house.life()
        assert ended(house, operation).state is State.COMPLETED
        assert sorted(effects(house)) == [("one", Phase.DO), ("two", Phase.DO)]
        said = [sealed.digest for sealed in of_kind(house, operation, Approval)]
        named = [d for s in of_kind(house, operation, Ticket) for d in s.record.approvals]  # type: ignore[attr-defined]
        assert len(named) == len(set(named)) and set(named) <= set(said)

    lived(tmp_path, story)


@pytest.mark.parametrize("mode", [Mode.APPLY, Mode.RECOVERY])
def test_a_paused_operation_is_asked_anew_when_it_is_resumed(tmp_path: Path, mode: Mode) -> None:
    async def story(house: House) -> None:
        live(house)
        operation = await planned(house, change("one"), change("two"), mode=mode)

        async def stop() -> None:
            await house.lifecycle.command(operation, Verb.PAUSE, ALICE, "wait")

        house.lane.during = stop
        await house.lifecycle.start(operation)
        house.lane.during = None
        house.authority.packs = (NEEDS_ONE,)
        await house.lifecycle.command(operation, Verb.RESUME, ALICE, "go on")
        assert op_of(house, operation).state is State.WAITING_FOR_APPROVAL
        await approve(house, operation, "bob")
        await house.lifecycle.start(operation)
        assert ended(house, operation).state is State.COMPLETED

    lived(tmp_path, story)
