"""What policy obliges to is kept, said in the receipt, counted where it is a budget, or refused by name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.engines.budgets import in_words
from rexecop.engines.telling import Delivery, Notice
from rexecop.governance.pack import Pack
from rexecop.operations.fold import fold
from rexecop.operations.ports import REVIEW_BY
from rexecop.proof.records.decision import Decision
from rexecop.proof.records.instance import Note
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.vocabulary import Gate, Phase, State
from tests.engines.support import ended, housed, of_kind, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import Crash, House, pack


def obliged(text: str) -> Pack:
    return pack(f'@id("o")\n@obligations("{text}")\npermit (principal, action, resource);\n')


class Told:
    """A sender that takes every notice of what is in the ledger; `also` happens while it does."""

    def __init__(self, house: House, failed: str | None = None) -> None:
        self.notices: list[Notice] = []
        self.also: list[Callable[[], Awaitable[object]]] = []
        self._house = house
        self._failed = failed

    def tells(self, group: str) -> bool:
        return True

    async def tell(self, notice: Notice) -> tuple[Delivery, ...]:
        assert notice.operation is not None
        assert str(fold(self._house.store.journal(notice.operation).records).state) == notice.state
        self.notices.append(notice)
        while self.also:
            await self.also.pop()()
        return (Delivery(notice=notice, sender="pager", failed=self._failed),)


async def run(house: House, *, expect: State = State.COMPLETED) -> str:
    operation = await planned(house, read("look"), change("one"))
    await house.lifecycle.start(operation)
    assert op_of(house, operation).state is expect
    return operation


def test_every_further_obligation_is_named_in_the_receipt_with_how_it_was_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            text = "receipt, output_digest, egress=db.example, redaction=secrets, wave<=1, notify=approvers"
            house.authority.packs = (obliged(f"{text}, review<=2h, budget(intent)<=9/1h"),)
            house.notices = Told(house)
            house.life()
            operation = await run(house)

            op = ended(house, operation)
            receipt = op.receipts[-1].record
            assert isinstance(receipt, Receipt)
            met = {item.name: item.how for item in receipt.obligations if item.met}
            assert set(met) == {
                *("receipt", "output_digest", "egress", "redaction", "wave", "notify", "review", "budget")
            }
            assert met["output_digest"] == "2 outputs named, 0 of them cut"
            assert met["budget"] == "intent sim/sim: use 1"
            assert met["notify"] == "approvers by pager: accepted"
            note = of_kind(house, operation, Note)[0].record
            assert isinstance(note, Note) and note.text.startswith("operation-ended to approvers by pager: ")
            assert op.review_by == receipt.at + timedelta(hours=2)
            ((_, row),) = house.store.rows(waiting=REVIEW_BY)
            assert row.operation == operation

    asyncio.run(story())


def test_who_is_told_of_an_end_is_told_again_of_it_under_the_same_id_only(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("notify=approvers"),)
            house.notices = told = Told(house)
            house.life()
            operation = await planned(house, change("one"))

            async def interferes() -> None:
                other = house.session(operation)
                other.add(Note, topic="remark", text="somebody else writes")
                await other.flush()

            told.also.append(interferes)
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED
            assert len(told.notices) == 2 and len({notice.id for notice in told.notices}) == 1

    asyncio.run(story())


@pytest.mark.parametrize("sends", [True, False])
def test_who_could_not_be_told_of_the_end_changes_nothing_but_the_receipt(
    tmp_path: Path, *, sends: bool
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("notify=approvers"),)
            house.notices = Told(house, failed="out of paper") if sends else None
            house.life()
            operation = await run(house)
            receipt = op_of(house, operation).receipts[-1].record
            assert isinstance(receipt, Receipt)
            (found,) = (item for item in receipt.obligations if item.name == "notify")
            why = "approvers by pager: not sent: out of paper" if sends else "no sender is named"
            assert (found.met, found.how) == (False, f"not told: approvers; {why}")

    asyncio.run(story())


def test_a_redaction_nobody_makes_refuses_the_operation_with_its_name(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("redaction=patients"),)
            # The plan of this world is decided before what it cannot keep is looked at.
            operation = await run(house, expect=State.BLOCKED)
            assert "redaction `patients` is not active here" in op_of(house, operation).reason
            assert house.reality.calls == []

    asyncio.run(story())


@pytest.mark.parametrize("scope", ["intent", "principal"])
def test_a_budget_lets_no_stretch_of_its_length_hold_more_than_its_count(tmp_path: Path, scope: str) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged(f"budget({scope})<=2/1h"),)
            await run(house)
            house.clock.move(timedelta(minutes=40))
            second = await run(house)

            third = await planned(house, change("one"))
            driven = await house.lifecycle.start(third)
            assert driven.queued is not None and f"budget({scope})<=2/1h" in driven.queued
            assert op_of(house, third).state is State.APPROVED
            assert (
                "2 of 2 used" in in_words(house.store, house.clock, op_of(house, third), house.clock.now())[0]
            )

            house.clock.move(timedelta(minutes=21))  # The first is an hour old, the second is not.
            await house.lifecycle.start(third)
            assert ended(house, third).state is State.COMPLETED
            fourth = await planned(house, change("one"))
            assert (await house.lifecycle.start(fourth)).queued is not None
            uses = [of_kind(house, op, Ticket)[0].record for op in (second, third)]
            assert [use.n for record in uses if isinstance(record, Ticket) for use in record.uses] == [2, 3]

    asyncio.run(story())


def test_a_budget_for_agents_counts_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("budget(agent)<=1/1h"),)
            for _ in range(2):
                ended(house, await run(house))

    asyncio.run(story())


def test_two_that_come_at_once_share_a_budget_of_one(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("budget(intent)<=1/1h"),)
            both = [await planned(house, change("one")) for _ in range(2)]
            driven = await asyncio.gather(*(house.lifecycle.start(operation) for operation in both))

            assert len(house.reality.effects) == 1
            assert sum(one.queued is not None for one in driven) == 1

    asyncio.run(story())


def test_two_that_come_at_once_each_take_their_own_use(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("budget(intent)<=2/1h"),)
            both = [await planned(house, change("one", target=name)) for name in ("web", "db")]
            await asyncio.gather(*(house.lifecycle.start(operation) for operation in both))
            uses = [of_kind(house, operation, Ticket)[0].record for operation in both]
            numbers = [use.n for record in uses if isinstance(record, Ticket) for use in record.uses]
            assert sorted(numbers) == [1, 2]

    asyncio.run(story())


def test_a_ticket_that_never_became_durable_took_nothing_of_its_budget(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (obliged("budget(intent)<=1/1h"),)
            operation = await planned(house, change("one"))
            house.store.fault = lambda: "crash before"
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)
            house.store.fault = lambda: ""
            house.life()
            await house.lifecycle.start(operation)
            assert ended(house, operation).state is State.COMPLETED

    asyncio.run(story())


TWICE = """
@id("twice-an-hour")
@reason("it was done twice within the hour")
forbid (principal, action == Action::"change", resource)
when { context.recent.same_hour >= 2 };
"""


def test_policy_sees_how_often_it_was_done_before_and_every_gate_counts_alike(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (pack(rules=TWICE),)
            for _ in range(2):
                ended(house, await run(house))
            elsewhere = await planned(house, change("one", target="db"))
            await house.lifecycle.start(elsewhere)
            assert ended(house, elsewhere).state is State.COMPLETED

            third = await run(house, expect=State.BLOCKED)
            decision = of_kind(house, third, Decision)[-1].record
            assert isinstance(decision, Decision) and decision.request.recent is not None
            recent = decision.request.recent
            assert (recent.same_hour, recent.intent_hour, recent.target_day, recent.principal_hour) == (
                2,
                3,
                2,
                3,
            )
            assert "it was done twice within the hour" in op_of(house, third).reason

            house.clock.move(timedelta(minutes=61))
            later = await run(house)
            assert ended(house, later).state is State.COMPLETED

    asyncio.run(story())


def test_what_others_do_meanwhile_counts_before_the_next_change(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (pack(rules=TWICE.replace("same_hour >= 2", "intent_hour >= 1")),)
            operation = await planned(house, change("one"), change("two"))
            other = await planned(house, change("one", target="db"))

            async def meanwhile() -> None:
                house.lane.during = None
                await house.lifecycle.start(other)

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            # The other one saw this one change something, and stopped first.
            assert op_of(house, other).state is State.BLOCKED
            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "two", Phase.DO) == 1
            asked = of_kind(house, other, Decision)[-1].record
            assert isinstance(asked, Decision) and asked.request.gate is Gate.TICKET

    asyncio.run(story())
