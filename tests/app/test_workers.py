"""Workers that die, stand still or are told to go: what they had in hand is done once, by the next."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from rexecop.app.clock import SystemClock
from rexecop.app.worker import Worker, workers_alive
from rexecop.engines.runner import boot_id
from rexecop.operations.errors import AppendConflict, LeaseHeld, StoreUnavailable, StoreUncertain
from rexecop.operations.ports import Appended, Batch
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.vocabulary import State
from rexecop.store.postgres_connection import open_connection
from tests.app.worker_process import in_hand
from tests.engines.support import approve, live, op_of
from tests.sim.plans import change, planned, read
from tests.sim.world import ALICE, NEEDS_ONE, STARTER, Flaky, House
from tests.store import servers

SECONDS_MAX = 120  # Only what is stuck takes so long.
ENGINES = ("embedded on sqlite", "embedded on postgres", "dbos on postgres")


@contextmanager
def housed(path: Path, storage: str = "sqlite") -> Iterator[House]:
    """Give a ledger of today, for other processes to work on."""
    server = None if storage == "sqlite" else servers.server(storage)
    house = House(path / "ledger.sqlite", server)
    house.clock = SystemClock()  # type: ignore[assignment]
    live(house)
    try:
        yield house
    finally:
        house.close()


@contextmanager
def workers(path: Path, engine: str, storage: str, *names: str) -> Iterator[None]:
    """Let there be processes that become workers, each as soon as the file of its name is there."""
    command = [sys.executable, "-m", "tests.app.worker_process", str(path), engine, storage, *names]
    forking = subprocess.Popen(command, start_new_session=True)
    try:
        yield
    finally:
        os.killpg(forking.pid, signal.SIGKILL)
        forking.wait()


def send(path: Path, name: str, number: signal.Signals) -> None:
    os.kill(int((path / f"{name}.pid").read_text()), number)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


def enter(house: House, *operations: str) -> None:
    for operation in operations:
        house.lifecycle.queue.enter(op_of(house, operation))


def effects(path: Path) -> list[str]:
    return (path / "effects").read_text().splitlines()


@pytest.fixture(params=ENGINES)
def kind(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """Give an engine and an empty storage for it."""
    engine, _, storage = request.param.partition(" on ")
    if storage == "sqlite":
        yield engine, storage
        return
    with servers.schema() as url:
        yield engine, url


@pytest.mark.parametrize("kind", ["embedded on sqlite", "dbos on postgres"], indirect=True)
def test_what_a_killed_and_a_frozen_worker_had_in_hand_is_done_once_by_the_next(
    tmp_path: Path, kind: tuple[str, str]
) -> None:
    """Where the engine has versions, the frozen one is of another than both others."""
    still = "still" if kind[0] == "embedded" else "dbos:2=still"

    async def plan(house: House) -> list[str]:
        before = await planned(house, change("before", target="a"), change("next", target="a"))
        after = await planned(house, change("after", target="b"))
        frozen = await planned(house, change("frozen", target="c"), change("last", target="c"))
        paused = await planned(house, change("never", target="d"))
        return [before, after, frozen, paused]

    async def pause(house: House, operation: str) -> None:
        session = house.session(operation)
        session.add(Command, ALICE, verb=Verb.CANCEL, reason="not needed")
        await session.flush()

    with workers(tmp_path, *kind, "first", still, "second"), housed(tmp_path, kind[1]) as house:
        before, after, frozen, cancelled = asyncio.run(plan(house))
        enter(house, before, after, cancelled)
        asyncio.run(pause(house, cancelled))
        for name in ("hold-before", "stay-after", "hold-frozen"):
            (tmp_path / name).touch()
        (tmp_path / "first").touch()
        until(lambda: (tmp_path / "waits-before").exists() and (tmp_path / "waits-after").exists())
        send(tmp_path, "first", signal.SIGKILL)
        enter(house, frozen)
        (tmp_path / "still").touch()
        until((tmp_path / "waits-frozen").exists)
        send(tmp_path, "still", signal.SIGSTOP)
        for name in ("hold-before", "stay-after", "hold-frozen"):
            (tmp_path / name).unlink()
        (tmp_path / "second").touch()
        until(lambda: all(op_of(house, one).state is State.COMPLETED for one in (before, after, frozen)))
        send(tmp_path, "still", signal.SIGCONT)
        for name in ("still", "second"):
            send(tmp_path, name, signal.SIGTERM)
        for name in ("still", "second"):
            until((tmp_path / f"{name}.status").exists)
            # A server hangs up on who stands still in a transaction; thawed, that one ends and wrote nothing.
            hung_up = ("256",) if name == "still" and kind[1] != "sqlite" else ()
            assert (tmp_path / f"{name}.status").read_text() in ("0", *hung_up)

        done = [f"{before} before", f"{before} next", f"{after} after", f"{frozen} frozen", f"{frozen} last"]
        assert sorted(effects(tmp_path)) == sorted(done)
        assert house.store.posted("queue") == [] and house.store.posted("worker") == []
        assert house.store.locks() == []


def test_a_worker_that_is_told_to_go_ends_its_calls_and_leaves_the_rest_waiting(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        stop, instance = asyncio.Event(), in_hand(house.store, tmp_path)
        long = await planned(house, change("one", target="a"), change("two", target="a"))
        blocked = await planned(house, change("three", target="a"))
        enter(house, long, blocked)
        (tmp_path / "hold-one").touch()
        working = asyncio.ensure_future(Worker(instance, poll_seconds=0.05).run(stop))
        while not (tmp_path / "waits-one").exists():
            await asyncio.sleep(0.01)
        assert [one.pid for one in workers_alive(instance)] == [os.getpid()]
        stop.set()
        while not instance.parts.lifecycle.driver.leaving:
            await asyncio.sleep(0.01)
        (tmp_path / "hold-one").unlink()

        assert await asyncio.wait_for(working, SECONDS_MAX) == 1
        assert effects(tmp_path) == [f"{long} one"]
        assert (op_of(house, long).state, op_of(house, blocked).state) == (State.RUNNING, State.APPROVED)
        assert blocked in [name for name, _ in house.store.posted("queue")]

        next_one = Worker(in_hand(house.store, tmp_path), once=True, poll_seconds=0.05)
        await asyncio.wait_for(next_one.run(asyncio.Event()), SECONDS_MAX)
        assert effects(tmp_path) == [f"{long} one", f"{long} two", f"{blocked} three"]

    with housed(tmp_path) as house:
        asyncio.run(asyncio.wait_for(story(house), SECONDS_MAX))


def test_a_worker_drives_several_abreast_and_keeps_a_call_that_outlives_its_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from rexecop.engines import driver

    monkeypatch.setattr(driver, "LEASE", timedelta(seconds=0.15))
    monkeypatch.setattr(driver, "RENEW_SECONDS", 0.04)

    async def story(house: House) -> None:
        many = [await planned(house, change(f"s{n}", target=f"t{n}")) for n in range(3)]
        enter(house, *many)
        for n in range(3):
            (tmp_path / f"hold-s{n}").touch()
        instance = in_hand(house.store, tmp_path)
        working = asyncio.ensure_future(Worker(instance, once=True).run(asyncio.Event()))
        while not all((tmp_path / f"waits-s{n}").exists() for n in range(3)):
            await asyncio.sleep(0.01)
        first = [house.store.lease(one) for one in many]
        assert all(first)
        while any(house.store.lease(one).expires <= old.expires + driver.LEASE  # type: ignore[union-attr]
                  for one, old in zip(many, first, strict=True)):  # fmt: skip
            await asyncio.sleep(0.01)
        for n in range(3):
            (tmp_path / f"hold-s{n}").unlink()
        await asyncio.wait_for(working, SECONDS_MAX)

        assert [op_of(house, one).state for one in many] == [State.COMPLETED] * 3
        assert len(effects(tmp_path)) == 3

    with housed(tmp_path) as house:
        asyncio.run(asyncio.wait_for(story(house), SECONDS_MAX))


@pytest.mark.parametrize("kind", ["embedded on postgres", "dbos on postgres"], indirect=True)
def test_what_workers_of_other_machines_had_in_hand_is_done_once_long_before_their_leases_end(
    tmp_path: Path, kind: tuple[str, str]
) -> None:
    """One is killed and one stands still; the next hears that neither says anything."""
    killed, still = f"{kind[0]}@elsewhere=killed", f"{kind[0]}@elsewhere=still"

    async def plan(house: House) -> list[str]:
        names = (("one", "two"), ("frozen", "last"))
        return [await planned(house, *(change(name, target=pair[0]) for name in pair)) for pair in names]

    with workers(tmp_path, *kind, killed, still, "next"), housed(tmp_path, kind[1]) as house:
        one, frozen = asyncio.run(plan(house))
        for operation, name, step in ((one, "killed", "one"), (frozen, "still", "frozen")):
            enter(house, operation)
            (tmp_path / f"hold-{step}").touch()
            (tmp_path / name).touch()
            until((tmp_path / f"waits-{step}").exists)
        until(lambda: len(presence(kind[1])) == 2)
        assert house.store.lease(one).runner.startswith("elsewhere-killed")  # type: ignore[union-attr]
        send(tmp_path, "killed", signal.SIGKILL)
        send(tmp_path, "still", signal.SIGSTOP)
        for step in ("one", "frozen"):
            (tmp_path / f"hold-{step}").unlink()
        (tmp_path / "next").touch()
        until(lambda: all(op_of(house, operation).state is State.COMPLETED for operation in (one, frozen)))
        send(tmp_path, "still", signal.SIGCONT)
        for name in ("still", "next"):
            send(tmp_path, name, signal.SIGTERM)
            until((tmp_path / f"{name}.status").exists)
            # A server hangs up on who stands still in a transaction.
            assert (tmp_path / f"{name}.status").read_text() in ("0", *(("256",) if name == "still" else ()))

        done = [f"{one} one", f"{one} two", f"{frozen} frozen", f"{frozen} last"]
        assert sorted(effects(tmp_path)) == sorted(done)
        assert presence(kind[1]).isdisjoint({house.store.lease(one).runner})  # type: ignore[union-attr]


def presence(storage: str) -> set[str]:
    """Return the runners of which the server heard and that did not take leave."""
    with closing(open_connection(servers.server(storage), writing=False)) as connection:
        return {str(row[0]) for row in connection.execute("SELECT runner FROM presence")}


def test_what_was_begun_by_another_that_died_since_one_looked_goes_on(tmp_path: Path) -> None:
    """Who looked before saw that it waits to be started; only a read of it was under way."""

    async def story(house: House, operation: str) -> None:
        worker = Worker(in_hand(house.store, tmp_path))
        await worker._start(operation)
        assert op_of(house, operation).state is State.COMPLETED

    with workers(tmp_path, "embedded", "sqlite", "first"), housed(tmp_path) as house:
        operation = asyncio.run(planned(house, read("look"), change("one")))
        enter(house, operation)
        (tmp_path / "hold-look").touch()
        (tmp_path / "first").touch()
        until((tmp_path / "waits-look").exists)
        send(tmp_path, "first", signal.SIGKILL)
        until((tmp_path / "first.status").exists)
        (tmp_path / "hold-look").unlink()
        asyncio.run(asyncio.wait_for(story(house, operation), SECONDS_MAX))
        assert effects(tmp_path) == [f"{operation} one"]


@pytest.mark.parametrize("error", [AppendConflict, LeaseHeld])
def test_what_somebody_else_went_on_with_at_the_same_moment_is_looked_at_again_soon(
    tmp_path: Path, error: type[RexecopError]
) -> None:
    """Who came first may have died before anything of it was seen, and left nothing to wait for."""

    async def story(house: House, *operations: str) -> None:
        append, outpaced = house.store.append, set(operations)

        async def appending(batch: Batch) -> Appended:
            if batch.operation in outpaced:
                outpaced.remove(batch.operation)
                raise error("somebody else was first")
            return await append(batch)

        house.store.append = appending  # type: ignore[method-assign]
        enter(house, operations[1])
        stop = asyncio.Event()
        worker = Worker(in_hand(house.store, tmp_path), poll_seconds=0.05)
        working = asyncio.ensure_future(worker.run(stop))
        while not all(op_of(house, one).state is State.COMPLETED for one in operations):
            waiting = worker.instance.parts.lifecycle.queue.waiting().values()
            assert not any(one.reason for one in waiting)
            await asyncio.sleep(0.01)
        stop.set()
        await working
        assert not outpaced

    with workers(tmp_path, "embedded", "sqlite", "first"), housed(tmp_path) as house:
        begun, waits = [asyncio.run(planned(house, change(name, target=name))) for name in ("one", "two")]
        enter(house, begun)
        (tmp_path / "hold-one").touch()
        (tmp_path / "first").touch()
        until((tmp_path / "waits-one").exists)
        send(tmp_path, "first", signal.SIGKILL)
        until((tmp_path / "first.status").exists)
        (tmp_path / "hold-one").unlink()
        asyncio.run(asyncio.wait_for(story(house, begun, waits), SECONDS_MAX))
        assert sorted(effects(tmp_path)) == sorted([f"{begun} one", f"{waits} two"])


def test_once_a_flush_failed_a_worker_changes_nothing_more(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        one, two = await planned(house, change("one")), await planned(house, change("two"))
        enter(house, one, two)
        faults = iter(["persisted anyway"])
        house.store.fault = lambda: next(faults, "")

        with pytest.raises(StoreUncertain):
            await Worker(in_hand(house.store, tmp_path), poll_seconds=0.05).run(asyncio.Event())

        assert not (tmp_path / "effects").exists()

    with housed(tmp_path) as house:
        assert isinstance(house.store, Flaky)
        asyncio.run(asyncio.wait_for(story(house), SECONDS_MAX))


def test_of_several_that_fail_together_every_failure_is_looked_at(tmp_path: Path) -> None:
    """One that nobody looked at would be printed with its traceback once it is forgotten."""
    shown: list[str] = []

    async def story(house: House) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: shown.append(str(told)))
        enter(house, *[await planned(house, change(f"s{n}", target=f"t{n}")) for n in range(4)])
        store = in_hand(house.store, tmp_path)
        house.store.fault = lambda: "not persisted"
        with pytest.raises(StoreUnavailable):
            await Worker(store, poll_seconds=0.05).run(asyncio.Event())
        gc.collect()

    with housed(tmp_path) as house:
        asyncio.run(asyncio.wait_for(story(house), SECONDS_MAX))
    assert shown == []


def test_what_is_paused_or_waits_for_approval_is_as_it_was_after_every_process_died(tmp_path: Path) -> None:
    """A yes that is given while nobody works is found by whoever comes next."""

    async def plan(house: House) -> list[str]:
        await house.enrol()
        house.authority.packs = (NEEDS_ONE,)
        asked = await planned(house, change("asked", target="a"))
        house.authority.packs = (STARTER,)
        return [asked, await planned(house, change("p1", target="p"), change("p2", target="p"))]

    async def say(house: House, operation: str, verb: Verb) -> None:
        session = house.session(operation)
        session.add(Command, ALICE, verb=verb, reason="a person says so")
        await session.flush()

    with workers(tmp_path, "embedded", "sqlite", "first", "second"), housed(tmp_path) as house:
        asked, paused = asyncio.run(plan(house))
        enter(house, asked, paused)
        (tmp_path / "hold-p1").touch()
        (tmp_path / "first").touch()
        until((tmp_path / "waits-p1").exists)
        asyncio.run(say(house, paused, Verb.PAUSE))
        (tmp_path / "hold-p1").unlink()
        until(lambda: op_of(house, paused).state is State.PAUSED)
        send(tmp_path, "first", signal.SIGKILL)
        until((tmp_path / "first.status").exists)

        (tmp_path / "second").touch()
        until(lambda: any(name.startswith(boot_id()) for name, _ in house.store.posted("worker")))
        other = asyncio.run(planned(house, change("other", target="o")))
        enter(house, other)
        until(lambda: op_of(house, other).state is State.COMPLETED)
        states = [op_of(house, one).state for one in (asked, paused)]
        assert states == [State.WAITING_FOR_APPROVAL, State.PAUSED]
        send(tmp_path, "second", signal.SIGKILL)
        until((tmp_path / "second.status").exists)

        house.authority.packs = (NEEDS_ONE,)
        asyncio.run(approve(house, asked, "bob"))
        third = in_hand(house.store, tmp_path, house.authority)
        asyncio.run(
            asyncio.wait_for(Worker(third, once=True, poll_seconds=0.05).run(asyncio.Event()), SECONDS_MAX)
        )
        states = [op_of(house, one).state for one in (asked, paused)]
        assert states == [State.COMPLETED, State.PAUSED]
        house.authority.packs = (STARTER,)
        person = in_hand(house.store, tmp_path)
        asyncio.run(person.parts.lifecycle.command(paused, Verb.RESUME, ALICE, None))
        assert op_of(house, paused).state is State.COMPLETED
        assert sorted(effects(tmp_path)) == sorted(
            [f"{asked} asked", f"{paused} p1", f"{paused} p2", f"{other} other"]
        )


def test_two_workers_that_see_the_same_twenty_operations_drive_each_of_them_once(tmp_path: Path) -> None:
    async def plan(house: House) -> list[str]:
        return [await planned(house, change(f"s{n}", target=f"t{n}")) for n in range(20)]

    with workers(tmp_path, "embedded", "sqlite", "first", "second"), housed(tmp_path) as house:
        operations = asyncio.run(plan(house))
        enter(house, *operations)
        for name in ("first", "second"):
            (tmp_path / name).touch()
        until(lambda: all(op_of(house, one).state is State.COMPLETED for one in operations))

        assert sorted(effects(tmp_path)) == sorted(f"{one} s{n}" for n, one in enumerate(operations))
        for name in ("first", "second"):
            send(tmp_path, name, signal.SIGTERM)
        for name in ("first", "second"):
            until((tmp_path / f"{name}.status").exists)
            assert (tmp_path / f"{name}.status").read_text() == "0"


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_server_that_is_restarted_under_a_worker_costs_no_effect_and_makes_none_twice(
    tmp_path: Path, mode: str
) -> None:
    """The worker goes on, or ends because it cannot write; the next one does what is left."""

    async def plan(house: House) -> list[str]:
        return [
            await planned(house, change(f"a{n}", target=f"t{n}"), change(f"b{n}", target=f"t{n}"))
            for n in (1, 2)
        ]

    with (
        servers.schema() as url,
        workers(tmp_path, "embedded", url, "first", "second"),
        housed(tmp_path, url) as house,
    ):
        operations = asyncio.run(plan(house))
        enter(house, *operations)
        for step in ("hold-a1", "stay-a2"):
            (tmp_path / step).touch()
        (tmp_path / "first").touch()
        until(lambda: all((tmp_path / f"waits-{step}").exists() for step in ("a1", "a2")))
        servers.restart(mode)
        for step in ("hold-a1", "stay-a2"):
            (tmp_path / step).unlink()
        (tmp_path / "second").touch()
        until(lambda: all(op_of(house, one).state is State.COMPLETED for one in operations))
        assert sorted(effects(tmp_path)) == sorted(
            f"{one} {step}{n}" for n, one in enumerate(operations, 1) for step in "ab"
        )
