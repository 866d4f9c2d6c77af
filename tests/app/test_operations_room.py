"""The verbs of the operations room, over a real root, one process after the other."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from rexecop.app import waiting
from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from rexecop.operations.ports import Lock
from rexecop.proof.records.instance import Note
from rexecop.proof.vocabulary import State
from tests.app.support import asked, bob, change, made, opened, scratch

Say = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run one command line on the root; return its code and what it says as JSON."""

    def call(*words: str) -> tuple[int, Any]:
        capsys.readouterr()
        code = run([*words, "--json", "--root", str(folder / "root")])
        out = capsys.readouterr().out
        return code, json.loads(out) if out else None

    return call


def planned(folder: Path) -> str:
    async def story() -> str:
        with opened(folder) as instance:
            return (await instance.plan(asked(folder, "host_facts", "read_only"))).operation_id

    return asyncio.run(story())


def test_what_is_detached_waits_for_a_worker_and_everybody_sees_it(folder: Path, say: Say) -> None:
    operation = planned(folder)

    code, view = say("start", operation, "--detach", "--priority", "low")
    assert (code, view["state"]) == (Exit.QUEUED, "approved")
    _, room = say("queue")
    [line] = room["queue"]
    assert (line["place"], line["priority"], line["operation"]["operation_id"]) == (1, "low", operation)
    _, why = say("why", operation)
    assert any("number 1 in the queue, with low priority" in one for one in why["lines"])
    _, runtime = say("runtime", "status")
    assert (runtime["waiting"], runtime["running"], runtime["unwritable"]) == ({"ready": 1}, 0, None)

    assert say("worker", "run", "--once") == (0, {"driven": 1})
    assert say("status", operation)[1]["state"] == "completed"
    assert say("queue")[1]["queue"] == [] and say("locks") == (0, {"locks": []})
    assert say("start", operation, "--detach")[0] == Exit.USAGE


def test_under_a_drain_a_start_waits_and_keeps_its_place_when_its_time_is_up(folder: Path, say: Say) -> None:
    operation = planned(folder)
    _, room = say("queue", "--drain")
    assert room["drained"].startswith("drained by ")

    code, view = say("start", operation)
    assert code == Exit.QUEUED and view["waiting"].startswith("nothing is started: drained by ")
    assert say("start", operation, "--wait", "--timeout", "0.2")[0] == Exit.TIMEOUT
    assert say("worker", "run", "--once") == (0, {"driven": 0})
    assert [line["cause"] for line in say("queue")[1]["queue"]] == ["drain"]

    assert say("queue", "--resume")[1]["drained"] is None
    code, view = say("start", operation, "--wait")
    assert (code, view["state"]) == (0, "completed")


def test_a_start_that_waits_sees_its_lock_given_back(folder: Path, say: Say) -> None:
    holder = planned(folder)

    async def story() -> None:
        with opened(folder) as instance:
            session = instance.parts.lifecycle.session(holder)
            session.add(Note, instance.identity().principal, topic="test", text="holds the target")
            session.attached.locks.append(Lock(target="localhost", exclusive=True))
            await session.flush()
            view = await instance.plan(asked(folder, "host_facts", "read_only"))
            _, locks = say("locks")
            assert [
                (one["target"], one["held"], one["operation"]["operation_id"]) for one in locks["locks"]
            ] == [("localhost", "alone", holder)]

            refused = await instance.start(view.operation_id)
            assert (refused.waiting or "").startswith("target `localhost` is held by operation ")
            [verdict] = instance.parts.lifecycle.queue.judged(None)
            found = instance.parts.lifecycle.queue.hindrance(instance.operation(view.operation_id), None)
            assert verdict.cause is not None and found is not None
            assert found.words == f"target `localhost` is held by operation {instance.status(holder).number}"
            waiting = asyncio.ensure_future(instance.start(view.operation_id, wait=True))
            await asyncio.sleep(0)
            session = instance.parts.lifecycle.session(holder)
            session.add(Note, instance.identity().principal, topic="test", text="gives it back")
            session.attached.locks.append(Lock(target="localhost", exclusive=True, release=True))
            await session.flush()
            assert (await asyncio.wait_for(waiting, 60)).state == "completed"

    asyncio.run(story())


def test_what_is_planned_is_looked_at_whoever_waits_there(folder: Path, say: Say) -> None:
    async def story() -> None:
        with opened(folder) as instance:
            first = await instance.plan(change(folder))
            instance.enqueue(first.operation_id)
            instance.parts.lifecycle.queue.drain("alice")
            second = await instance.plan(change(folder, "good night"))
            instance.parts.lifecycle.queue.drain(None)

            assert instance.operation(second.operation_id).the_plan.pinned is not None
            await instance.cancel(first.operation_id)
            instance.parts.lifecycle.queue.tidy()

    asyncio.run(story())


def test_a_row_that_is_damaged_keeps_nobody_else_from_running(folder: Path, say: Say) -> None:
    bad, good = planned(folder), planned(folder)
    for operation in (bad, good):
        say("start", operation, "--detach")
    number = say("status", bad)[1]["number"]
    connection = apsw.Connection(str(folder / "root" / "ledger.sqlite"))
    connection.execute("UPDATE operations SET head=x'00' WHERE number=?", (number,))
    connection.close()

    assert say("worker", "run", "--once") == (0, {"driven": 1})
    assert say("runtime", "status")[0] == 0

    with opened(folder) as instance:
        assert instance.status(good).state == State.COMPLETED
        instance.check(fix=True)
    assert say("worker", "run", "--once") == (0, {"driven": 1})
    assert say("status", bad)[1]["state"] == "completed"


def done(folder: Path) -> str:
    """Return a change that alice asked for, bob approved, and that ended."""

    async def story() -> str:
        with opened(folder) as instance:
            name = (await instance.plan(change(folder))).operation_id
            await instance.approve(name, key=bob(folder))
            assert (await instance.start(name)).state == "completed"
            return name

    return asyncio.run(story())


def test_what_goes_on_waits_for_room_says_so_everywhere_and_is_paused_or_waited_for(
    folder: Path, say: Say, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REXECOP_CAPACITY", "1")
    runs, waits = done(folder), done(folder)
    assert say("rollback", runs, "--detach", "--wait")[0] == Exit.USAGE
    code, view = say("rollback", runs, "--detach")
    assert (code, view["state"], view["place"]) == (Exit.QUEUED, "undoing", 1)
    with opened(folder) as instance:
        store, clock = instance.parts.world.store, instance.parts.world.clock
        now = clock.now()
        lease = store.acquire(runs, instance.parts.world.runner, now + timedelta(minutes=5), now)
        assert lease is not None

        code, view = say("rollback", waits)
        assert (code, view["state"], view["waiting"]) == (Exit.QUEUED, "undoing", "no room: 1 of 1 run")
        for verb in ("status", "start"):
            code, view = say(verb, waits, *(["--exit-code"] if verb == "status" else []))
            assert (code, view["place"]) == (Exit.QUEUED, 1), "what runs is no longer in the queue"
            assert "no room: 1 of 1 run" in view["waiting"]
        _, lines = say("list", "--state", "undoing")
        assert {one["operation_id"]: one["waiting"] for one in lines["operations"]} == {
            waits: "no room: 1 of 1 run",
            runs: "",
        }
        assert any("with high priority" in one for one in say("why", waits)[1]["lines"])
        assert say("queue", "--leave", waits)[0] == Exit.USAGE
        assert say("start", waits, "--wait", "--timeout", "0.3")[0] == Exit.TIMEOUT
        store.release(lease)

    assert say("worker", "run", "--once") == (0, {"driven": 2})
    assert [say("status", one)[1]["state"] for one in (runs, waits)] == ["undone", "undone"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("detached", [False, True])
def test_a_wait_that_is_ended_leaves_nothing_in_the_queue_but_what_was_there_before(
    folder: Path, say: Say, number: signal.Signals, detached: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    operation = planned(folder)
    say("queue", "--drain")
    if detached:
        say("start", operation, "--detach")
    asleep, awake = threading.Event(), waiting._started

    async def started(*args: object, **more: object) -> object:
        asleep.set()
        return await awake(*args, **more)  # type: ignore[arg-type]

    def end() -> None:
        asleep.wait()
        with opened(folder) as instance:
            while operation not in instance.parts.lifecycle.queue.waiting():
                time.sleep(0.02)
        os.kill(os.getpid(), number)

    ending = threading.Thread(target=end, daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "_started", started)
        ending.start()
        code = run(["start", operation, "--wait", "--root", str(folder / "root")])
    ending.join()

    said = capsys.readouterr().err
    assert code == Exit.INTERRUPTED
    assert ("keeps its place in the queue" if detached else "does not wait in the queue") in said
    assert ("queue --leave" in said) is detached
    assert len(say("queue")[1]["queue"]) == int(detached)
    assert (say("queue", "--leave", operation)[0] == 0) is detached
    assert say("queue", "--resume")[1]["queue"] == []
    assert say("status", operation)[1]["place"] is None
