"""Who may run waits for nothing else, who may not says for what, and what a dead runner left goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.lifecycle import Lifecycle
from rexecop.engines.driver import Driven, Driver
from rexecop.engines.errors import NothingToSettle, NotWaiting, TooEarly
from rexecop.operations.ports import Lease
from rexecop.operations.queue import Cause
from rexecop.operations.recover import settle_after
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.vocabulary import Mode, Phase, State
from tests.engines.support import approve, ended, housed, live, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, CONTENTS, MARGIN, NEEDS_ONE, Crash, House


@pytest.fixture(autouse=True)
def limitless() -> Iterator[None]:
    yield
    CONTENTS.limit = None


def other(house: House, capacity: int | None = None) -> Lifecycle:
    """Return what another process that lives has in hand, and let both know of one capacity."""
    live(house)
    house.world = replace(house.world, capacity=capacity)
    house.lifecycle = Lifecycle(house.world, Driver(house.world), MARGIN)
    second = replace(house.world, runner="elsewhere:1:1")
    return Lifecycle(second, Driver(second), MARGIN)


def during(house: House, second: Lifecycle, *operations: str) -> list[Driven]:
    """Let `second` start `operations` while the next call is under way; return how far it came."""
    found: list[Driven] = []

    async def meanwhile() -> None:
        house.lane.during = None
        for operation in operations:
            found.append(await second.start(operation))

    house.lane.during = meanwhile
    return found


def test_what_finds_no_room_waits_and_says_so_and_starts_when_there_is(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            one, two = await planned(house, read("one")), await planned(house, read("two"))
            second = other(house, capacity=1)
            found = during(house, second, two, two)

            await house.lifecycle.start(one)

            assert [driven.queued for driven in found] == ["no room: 1 of 1 run"] * 2
            assert op_of(house, two).state is State.APPROVED
            assert not house.lifecycle.alive(two)
            house.clock.move(timedelta(minutes=1))
            [verdict] = second.queue.judged()
            assert verdict.cause is None
            await second.start(two)
            assert ended(house, two).state is State.COMPLETED
            assert second.queue.judged() == ()
            second.queue.tidy()
            assert house.store.posted("queue") == []

    asyncio.run(story())


@pytest.mark.parametrize(("limit", "queued"), [(1, True), (2, False)])
def test_an_environment_bounds_its_changes_and_not_its_reads(
    tmp_path: Path, limit: int, queued: bool
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            CONTENTS.limit = limit
            one = await planned(house, change("one", target="a"))
            two = await planned(house, change("two", target="b"))
            look = await planned(house, read("three", target="c"), mode=Mode.READ_ONLY)
            found = during(house, other(house), two, look)

            await house.lifecycle.start(one)

            assert [driven.queued is not None for driven in found] == [queued, False]

    asyncio.run(story())


def test_reads_share_a_target_and_a_change_has_it_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            reads = [await planned(house, read(name), mode=Mode.READ_ONLY) for name in ("one", "two")]
            changes = await planned(house, change("three"))
            shown = await planned(house, change("four"), mode=Mode.DRY_RUN)
            found = during(house, other(house), reads[1], changes, shown)

            await house.lifecycle.start(reads[0])

            assert [driven.queued for driven in found] == [
                None,
                f"target `web` is held by operation `{reads[0]}`",
                None,
            ]
            assert house.store.locks() == []

    asyncio.run(story())


def test_who_waits_for_approval_takes_no_room_and_starts_once_approved(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.authority.packs = (NEEDS_ONE,)
            asked = await planned(house, change("one", target="a"))
            second = other(house, capacity=1)
            second.queue.enter(op_of(house, asked))
            house.authority.packs = replace_packs(house)
            free = await planned(house, read("two", target="b"))

            await second.start(free)

            assert ended(house, free).state is State.COMPLETED
            [verdict] = second.queue.judged()
            assert (verdict.cause, verdict.words) == (Cause.APPROVAL, "it is not approved yet")
            house.authority.packs = (NEEDS_ONE,)
            await approve(house, asked, "bob")
            assert [one.cause for one in second.queue.judged()] == [None]

    asyncio.run(story())


def replace_packs(house: House) -> tuple:  # type: ignore[type-arg]
    from tests.sim.world import STARTER

    return (STARTER,)


def test_a_drain_starts_nothing_and_lets_what_runs_end(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            one, two = await planned(house, read("one")), await planned(house, read("two"))
            second = other(house)

            async def meanwhile() -> None:
                house.lane.during = None
                second.queue.drain("alice")

            house.lane.during = meanwhile
            await house.lifecycle.start(one)
            refused = await house.lifecycle.start(two)

            assert ended(house, one).state is State.COMPLETED
            assert str(refused.queued).startswith("nothing is started: drained by alice at 2026-")
            house.lifecycle.queue.drain(None)
            await house.lifecycle.start(two)
            assert ended(house, two).state is State.COMPLETED

    asyncio.run(story())


async def stopped(house: House, how: str) -> str:
    """Return a change of `a` that could go on: paused, or failed at its second step."""
    operation = await planned(house, change("one", target="a"), change("two", target="a"))

    async def pause() -> None:
        house.lane.during = None
        session = house.session(operation)
        session.add(Command, ALICE, verb=Verb.PAUSE, reason="stop there")
        await session.flush()

    house.lane.during = pause if how == "paused" else None
    house.lane.fate = lambda step, phase, effect: "failed" if (how, step) == ("failed", "two") else "ok"
    await house.lifecycle.start(operation)
    house.lane.fate = lambda step, phase, effect: "ok"
    return operation


GOES_ON = [
    ("paused", Verb.RESUME, State.RESUMING, State.COMPLETED, ["a"]),
    ("failed", Verb.RETRY, State.RETRYING, State.COMPLETED, []),
    ("failed", Verb.UNDO, State.UNDOING, State.UNDONE, []),
]


@pytest.mark.parametrize(("how", "verb", "waits", "end", "locked"), GOES_ON)
@pytest.mark.parametrize("limit", [None, 1])
def test_what_goes_on_waits_for_room_and_comes_before_what_has_not_begun(
    tmp_path: Path, how: str, verb: Verb, waits: State, end: State, locked: list[str], limit: int | None
) -> None:
    """With `limit` the environment has the room, without it the root."""

    async def story() -> None:
        async with housed(tmp_path) as house:
            CONTENTS.limit = limit
            operation = await stopped(house, how)
            runs, new = [await planned(house, change(name, target=name)) for name in ("b", "c")]
            second = other(house, capacity=1 if limit is None else None)
            found: list[Driven] = []
            held: list[str] = []

            async def meanwhile() -> None:
                house.lane.during = None
                found.append(await second.start(new))
                found.append(await second.command(operation, verb, ALICE, "now"))
                found.append(await second.start(operation))
                held.extend(lock.target for lock in house.store.locks() if lock.operation == operation)

            house.lane.during = meanwhile
            await house.lifecycle.start(runs)

            where = "" if limit is None else " in environment `here`"
            assert [driven.queued for driven in found] == [f"no room: 1 of 1 run{where}"] * 3
            assert (op_of(house, operation).state, held) == (waits, locked)
            house.clock.move(timedelta(minutes=1))
            order = second.queue.judged()
            assert [one.waiting.operation for one in order] == [operation, new]
            assert [one.cause for one in order] == [None, Cause.CAPACITY]
            refused = await second.start(new)
            assert refused.queued is not None, "it would take the room of what has begun"

            await second.take_over(operation)
            assert ended(house, operation).state is end
            await second.start(new)
            second.queue.tidy()
            assert house.store.locks() == [] and house.store.posted("queue") == []

    asyncio.run(story())


def test_what_a_dead_runner_left_waits_for_room_with_its_locks_and_what_was_found_out_stands(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            left = await planned(house, change("one", target="a"), change("two", target="a"))
            runs = await planned(house, change("b", target="b"))
            crashed(house, "crash after")
            with pytest.raises(Crash):
                await house.lifecycle.start(left)
            house.life()
            house.lane.fate = lambda step, phase, effect: "ok"
            moment = settle_after(op_of(house, left), MARGIN)
            assert moment is not None
            house.clock.move(moment - house.clock.now())
            second = other(house, capacity=1)
            found: list[Driven] = []

            async def meanwhile() -> None:
                house.lane.during = None
                found.append(await second.take_over(left))

            house.lane.during = meanwhile
            await house.lifecycle.start(runs)

            assert found[0].queued == "no room: 1 of 1 run"
            op = op_of(house, left)
            assert (op.state, bool(op.unknown)) == (State.RESUMING, False)
            assert [lock.operation for lock in house.store.locks()] == [left]
            await second.take_over(left)
            assert ended(house, left).state is State.COMPLETED
            assert house.reality.times(left, "one", Phase.DO) == 1

    asyncio.run(story())


@pytest.mark.parametrize(("verb", "state"), [(Verb.PAUSE, State.PAUSED), (Verb.CANCEL, State.CANCELLED)])
def test_who_waits_for_room_can_be_stopped_without_any(tmp_path: Path, verb: Verb, state: State) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await stopped(house, "paused")
            runs = await planned(house, change("b", target="b"))
            second = other(house, capacity=1)

            async def meanwhile() -> None:
                house.lane.during = None
                await second.command(operation, Verb.RESUME, ALICE, None)
                await second.command(operation, verb, ALICE, None)

            house.lane.during = meanwhile
            await house.lifecycle.start(runs)

            assert op_of(house, operation).state is state
            second.queue.tidy()
            assert house.store.posted("queue") == []

    asyncio.run(story())


def test_who_looks_in_an_emergency_waits_for_nothing_and_who_undoes_for_no_drain(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            undone = await stopped(house, "failed")
            runs = await planned(house, change("b", target="b"))
            waits = await planned(house, read("c", target="c"))
            looks = await planned(house, read("d", target="d"), mode=Mode.EMERGENCY_READONLY)
            second = other(house, capacity=1)
            found: list[Driven] = []

            async def meanwhile() -> None:
                house.lane.during = None
                second.queue.drain("alice")
                found.append(await second.start(waits))
                found.append(await second.start(looks))

            house.lane.during = meanwhile
            await house.lifecycle.start(runs)

            assert [driven.queued is not None for driven in found] == [True, False]
            assert ended(house, looks).state is State.COMPLETED
            await second.command(undone, Verb.UNDO, ALICE, "it is wrong")
            assert ended(house, undone).state is State.UNDONE
            assert op_of(house, waits).state is State.APPROVED

    asyncio.run(story())


def test_who_is_taken_out_of_the_queue_is_not_started_and_what_has_begun_is_not_taken_out(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            new, begun = await planned(house, read("c")), await stopped(house, "paused")
            queue = house.lifecycle.queue
            queue.enter(op_of(house, new))
            driven = await house.lifecycle.command(begun, Verb.RESUME, ALICE, None, detach=True)
            assert driven.queued is not None and len(queue.judged()) == 2

            queue.leave(op_of(house, new))
            with pytest.raises(NotWaiting, match="is `resuming` and does not wait"):
                queue.leave(op_of(house, begun))

            with pytest.raises(NotWaiting, match="is `approved` and does not wait"):
                queue.leave(op_of(house, new))
            assert [one.waiting.operation for one in queue.judged()] == [begun]
            assert op_of(house, new).state is State.APPROVED

    asyncio.run(story())


def test_the_room_of_a_dead_runner_is_free_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            dead, two = await planned(house, read("one")), await planned(house, read("two"))
            house.lane.fate = lambda step, phase, effect: "crash before" if step == "one" else "ok"
            with pytest.raises(Crash):
                await house.lifecycle.start(dead)
            house.life()
            second = other(house, capacity=1)

            await second.start(two)

            assert ended(house, two).state is State.COMPLETED

    asyncio.run(story())


def crashed(house: House, fate: str) -> None:
    """Let the first call of step `one` be the last thing that its runner does."""
    house.lane.fate = lambda step, phase, effect: fate if (step, phase) == ("one", Phase.DO) else "ok"


async def taken_over(house: House, operation: str) -> Driven:
    """Take the operation over as soon as that may be; before, it is refused."""
    house.life()
    house.lane.fate = lambda step, phase, effect: "ok"
    moment = settle_after(op_of(house, operation), MARGIN)
    assert moment is not None
    with pytest.raises(TooEarly):
        await house.lifecycle.take_over(operation)
    assert op_of(house, operation).in_flight, "nothing is written down before"
    house.clock.move(moment - house.clock.now())
    return await house.lifecycle.take_over(operation)


@pytest.mark.parametrize("fate", ["crash before", "crash after"])
@pytest.mark.parametrize("step", [change("one"), change("one", probe=False, again=True), read("one")])
def test_what_a_dead_runner_left_goes_on_by_itself_where_that_is_safe(
    tmp_path: Path, fate: str, step: object
) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, step, change("two"))  # type: ignore[arg-type]
            crashed(house, fate)
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)

            await taken_over(house, operation)

            twice = getattr(step, "again", False) and fate == "crash after"
            assert (op_of if twice else ended)(house, operation).state is State.COMPLETED
            if step != read("one"):
                assert house.reality.times(operation, "one", Phase.DO) == (2 if twice else 1)

    asyncio.run(story())


def test_what_nobody_can_look_at_waits_for_a_person(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one", probe=False))
            crashed(house, "crash after")
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)

            with pytest.raises(NothingToSettle):
                await taken_over(house, operation)

            assert op_of(house, operation).state is State.INDETERMINATE
            await house.lifecycle.reconcile(operation, ALICE, probe=False, happened=True, reason="I saw it")
            await house.lifecycle.command(operation, Verb.RESUME, ALICE, None)
            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_what_a_person_wanted_paused_stays_so_whoever_died(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, read("one"), read("two"))
            crashed(house, "crash before")
            session = house.session

            async def pause() -> None:
                house.lane.during = None
                asked = session(operation)
                asked.add(Command, ALICE, verb=Verb.PAUSE, reason="stop there")
                await asked.flush()

            house.lane.during = pause
            with pytest.raises(Crash):
                await house.lifecycle.start(operation)

            await taken_over(house, operation)

            assert op_of(house, operation).state is State.PAUSED

    asyncio.run(story())


def test_who_leaves_ends_the_call_and_gives_the_rest_to_the_next(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            operation = await planned(house, change("one"), change("two"))
            driver = house.lifecycle.driver

            async def leave() -> None:
                driver.leaving = True

            house.lane.during = leave
            await house.lifecycle.start(operation)
            house.lane.during = None

            op = op_of(house, operation)
            assert (op.state, bool(op.in_flight)) == (State.RUNNING, False)
            assert house.reality.times(operation, "one", Phase.DO) == 1
            lease = house.store.lease(operation)
            assert isinstance(lease, Lease) and lease.expires < house.clock.now()
            assert [row.operation for _, row, _ in house.store.under_way()] == [operation]

            house.life()
            await house.lifecycle.take_over(operation)
            assert ended(house, operation).state is State.COMPLETED
            assert house.reality.times(operation, "one", Phase.DO) == 1

    asyncio.run(story())


def test_a_fold_that_was_kept_is_not_used_once_somebody_else_wrote(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            name, second = await planned(house, read("one")), other(house)
            mine = house.lifecycle.session(name)
            house.lifecycle.keep(mine)
            assert house.lifecycle.known(name) is mine.op

            await second.command(name, Verb.CANCEL, ALICE, None)

            assert house.lifecycle.known(name) is None
            assert house.lifecycle.session(name).op.state is State.CANCELLED

    asyncio.run(story())


def test_a_fold_in_hand_is_given_to_nobody_else(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            name = await planned(house, read("one"))
            house.lifecycle.keep(house.lifecycle.session(name))

            assert house.lifecycle.session(name).op is not house.lifecycle.session(name).op

    asyncio.run(story())


def test_a_session_with_records_that_are_not_stored_is_not_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            name, second = await planned(house, read("one")), other(house)
            session, theirs = house.lifecycle.session(name), second.session(name)
            session.add(Command, ALICE, verb=Verb.CANCEL, reason="mine")
            theirs.add(Command, ALICE, verb=Verb.CANCEL, reason="theirs")

            await theirs.flush()  # So there are as many records as in the session, and others.
            house.lifecycle.keep(session)

            assert house.lifecycle.known(name) is None

    asyncio.run(story())
