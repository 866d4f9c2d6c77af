"""What a person orders is recorded or refused, whoever else writes at that very moment."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rexecop.operations.errors import IllegalMove
from rexecop.operations.ports import Appended, Batch
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.vocabulary import State
from tests.engines.support import approve, housed, of_kind, op_of, second_process
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, House

ONE = (ApprovalRule(count=1, group="approvers"),)
Meanwhile = Callable[[], Awaitable[object]]


async def paused(house: House) -> str:
    """Return an operation that stopped before its change, which has to be approved."""
    operation = await planned(house, read("look"), change("one", asks=ONE))
    await house.lifecycle.start(operation)
    return operation


def just_before(house: House, meanwhile: Meanwhile) -> None:
    """Let `meanwhile` happen between what is read for the next append and that append."""
    append = house.store.append

    async def outrun(batch: Batch) -> Appended:
        house.store.append = append  # type: ignore[method-assign]
        await meanwhile()
        return await append(batch)

    house.store.append = outrun  # type: ignore[method-assign]


def ordered(house: House, operation: str) -> list[str | None]:
    records = [sealed.record for sealed in of_kind(house, operation, Command)]
    return [one.reason for one in records if isinstance(one, Command) and one.by == ALICE]


@pytest.mark.parametrize(("verb", "ends"), [(Verb.CANCEL, State.CANCELLED), (Verb.RESUME, State.COMPLETED)])
def test_an_order_is_given_again_where_somebody_else_wrote_first(
    tmp_path: Path, verb: Verb, ends: State
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            if verb is Verb.RESUME:
                await approve(house, operation, "bob", step="one")
            just_before(house, lambda: approve(house, operation, "carol", step="one"))

            await house.lifecycle.command(operation, verb, ALICE, "because")

            assert ordered(house, operation) == ["because"]
            assert op_of(house, operation).state is ends

    asyncio.run(story())


def test_what_cannot_be_ordered_any_more_is_said_to_be_so(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            other = second_process(house)
            just_before(house, lambda: other.command(operation, Verb.CANCEL, ALICE, "first"))

            with pytest.raises(IllegalMove):
                await house.lifecycle.command(operation, Verb.CANCEL, ALICE, "second")

            assert ordered(house, operation) == ["first"]

    asyncio.run(story())


def test_who_drives_an_operation_since_just_now_hears_that_it_is_cancelled(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await paused(house)
            await approve(house, operation, "bob", step="one")
            other, calls, goes_on = second_process(house), asyncio.Event(), asyncio.Event()
            running: list[asyncio.Task[object]] = []

            async def calling() -> None:
                calls.set()
                await goes_on.wait()

            async def begun() -> None:
                running.append(asyncio.ensure_future(other.start(operation)))
                await calls.wait()

            house.lane.during = calling
            just_before(house, begun)

            await house.lifecycle.command(operation, Verb.CANCEL, ALICE, "not now")

            assert ordered(house, operation) == ["not now"]
            goes_on.set()
            await asyncio.gather(*running)
            assert op_of(house, operation).state is State.CANCELLED

    asyncio.run(story())
