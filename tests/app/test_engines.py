"""Each engine runs, parks, resumes, cancels, takes over and keeps to locks, turns and times, alike."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from rexecop.app.fleet import fleet_worker
from rexecop.app.worker import Worker
from rexecop.operations.queue import Priority
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import State
from rexecop.store.errors import StorageRefused
from tests.app.test_workers import SECONDS_MAX, effects, enter, housed, kind, send, until, workers
from tests.app.worker_process import employed, in_hand
from tests.engines.support import approve, op_of
from tests.sim.plans import change, planned
from tests.sim.world import ALICE, NEEDS_ONE, House
from tests.store import servers

__all__ = ["kind"]


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    """Let `worker` work meanwhile."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(worker.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def once(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.02)


def told(story: Callable[[House], Awaitable[None]], path: Path, storage: str) -> None:
    async def run(house: House) -> None:
        await asyncio.wait_for(story(house), SECONDS_MAX)

    with housed(path, storage) as house:
        asyncio.run(run(house))


def test_operations_run_park_resume_and_end_as_people_say(tmp_path: Path, kind: tuple[str, str]) -> None:
    """One at a time, so that the order shows."""

    in_turn = ("high", "normal", "low")

    def state(house: House, operation: str) -> State:
        return op_of(house, operation).state

    async def say(house: House, operation: str, verb: Verb) -> None:
        session = house.session(operation)
        session.add(Command, ALICE, verb=verb, reason="a person says so")
        await session.flush()

    async def story(house: House) -> None:
        await house.enrol()
        starter = house.authority.packs
        house.authority.packs = (NEEDS_ONE,)
        asked = await planned(house, change("asked", target="a"))
        house.authority.packs = starter
        paused = await planned(house, change("p1", target="p"), change("p2", target="p"))
        cancelled = await planned(house, change("c1", target="c"), change("c2", target="c"))
        timed = await planned(house, change("timed", target="t"))
        low, normal, high = [await planned(house, change(name)) for name in ("low", "normal", "high")]
        instance = in_hand(house.store, tmp_path, house.authority, capacity=1)
        queue = instance.parts.lifecycle.queue
        for name in ("p1", "c1"):
            (tmp_path / f"hold-{name}").touch()
        enter(house, asked, paused)
        async with working(employed(instance, kind[0], poll_seconds=0.1)):
            await once((tmp_path / "waits-p1").exists)
            # While the one place is taken, others come.
            queue.enter(op_of(house, low), Priority.LOW)
            queue.enter(op_of(house, normal), Priority.NORMAL)
            for operation in (cancelled, high):
                queue.enter(op_of(house, operation), Priority.HIGH)
            opens = house.clock.now() + timedelta(seconds=1)
            queue.enter(op_of(house, timed), reason="its window is closed", until=format_time(opens))
            await say(house, paused, Verb.PAUSE)
            (tmp_path / "hold-p1").unlink()
            await once((tmp_path / "waits-c1").exists)
            assert state(house, paused) is State.PAUSED
            await say(house, cancelled, Verb.CANCEL)
            (tmp_path / "hold-c1").unlink()
            rest = (low, normal, high, timed)
            await once(lambda: all(state(house, one) is State.COMPLETED for one in rest))
            assert state(house, cancelled) is State.CANCELLED
            assert state(house, asked) is State.WAITING_FOR_APPROVAL
            house.authority.packs = (NEEDS_ONE,)
            await approve(house, asked, "bob")
            await once(lambda: state(house, asked) is State.COMPLETED)
            assert state(house, paused) is State.PAUSED, "only a person resumes it"
            house.authority.packs = starter
            driven = await instance.parts.lifecycle.command(paused, Verb.RESUME, ALICE, None, detach=True)
            assert driven.queued is not None
            await once(lambda: state(house, paused) is State.COMPLETED)
            await once(lambda: house.store.posted("queue") == [])

        done = [line.split()[1] for line in effects(tmp_path)]
        assert sorted(done) == ["asked", "c1", "high", "low", "normal", "p1", "p2", "timed"]
        assert [step for step in done if step in in_turn] == list(in_turn)
        assert house.store.locks() == []

    told(story, tmp_path, kind[1])


@pytest.mark.parametrize("kind", ["embedded on postgres", "dbos on postgres"], indirect=True)
def test_workers_killed_before_any_of_their_appends_leave_everything_to_be_done_once(
    tmp_path: Path, kind: tuple[str, str]
) -> None:
    dying = [f"w{count}" for count in ((1, 3) if kind[0] == "dbos" else (1, 2, 3, 4, 5, 6))]

    async def plan(house: House) -> list[str]:
        steps = [(change(f"a{n}", target=f"t{n}"), change(f"b{n}", target=f"t{n}")) for n in range(3)]
        return [await planned(house, *pair) for pair in steps]

    with workers(tmp_path, *kind, *dying, "last"), housed(tmp_path, kind[1]) as house:
        operations = asyncio.run(plan(house))
        enter(house, *operations)
        for name in dying:
            (tmp_path / f"{name}.told").write_text(name[1:])
            (tmp_path / f"{name}.told").rename(tmp_path / name)
            if name == "w1":  # Alone it has something to append for certain.
                until((tmp_path / "w1.status").exists)
        (tmp_path / "last").touch()
        until(lambda: all(op_of(house, one).state is State.COMPLETED for one in operations))
        send_gently(tmp_path, *dying, "last")

        assert sorted(effects(tmp_path)) == sorted(
            f"{one} {step}{n}" for n, one in enumerate(operations) for step in "ab"
        )


def send_gently(path: Path, *names: str) -> None:
    for name in names:
        if not (path / f"{name}.status").exists():
            with suppress(ProcessLookupError):
                send(path, name, signal.SIGTERM)
    until(lambda: all((path / f"{name}.status").exists() for name in names))


def test_the_librarys_tables_hold_nothing_that_the_ledger_does_not_say(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        one, two = [await planned(house, change(name, target=name)) for name in ("one", "two")]
        enter(house, one)
        (tmp_path / "stay-one").touch()
        async with working(employed(in_hand(house.store, tmp_path), "dbos", poll_seconds=0.1)):
            await once((tmp_path / "waits-one").exists)
            enter(house, two)
            (tmp_path / "stay-one").unlink()
        schema = house.store.server.storage.schema  # type: ignore[attr-defined]
        with servers.raw(url) as connection:
            connection.execute(f"DROP SCHEMA {schema}_dbos CASCADE".encode())
        async with working(employed(in_hand(house.store, tmp_path), "dbos", poll_seconds=0.1)):
            await once(lambda: all(op_of(house, name).state is State.COMPLETED for name in (one, two)))
        assert len(effects(tmp_path)) == 2

    with servers.schema() as url:
        told(story, tmp_path, url)


def test_a_ledger_in_a_file_has_no_distributed_engine(tmp_path: Path) -> None:
    with housed(tmp_path) as house, pytest.raises(StorageRefused, match="needs a ledger in PostgreSQL"):
        fleet_worker(in_hand(house.store, tmp_path), once=True, poll_seconds=1, watches_inbox=False)
