"""The same instance without an event loop: from any thread, interrupted, and closed while others wait."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rexecop import Instance, RexecopError, SyncInstance, TimedOut, open_instance_sync
from tests.app.support import bob, greeting, made, scratch


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with scratch() as found:
        asyncio.run(made(found))
        yield found


def opening(folder: Path) -> SyncInstance:
    return open_instance_sync(
        folder / "root",
        identity=folder / "alice",
        env=folder / "root" / "hello.environment.yaml",
        profile="hello",
        target="localhost",
        mode="apply",
    )


def test_every_method_that_is_awaited_has_a_twin_that_returns() -> None:
    awaited = {
        name
        for name, found in vars(Instance).items()
        if inspect.iscoroutinefunction(found) and name[0] != "_"
    }
    twins = {name for name, found in vars(SyncInstance).items() if callable(found) and name[0] != "_"}

    assert awaited == twins
    assert all(
        inspect.signature(getattr(Instance, name)) == inspect.signature(getattr(SyncInstance, name))
        and inspect.getdoc(getattr(SyncInstance, name))
        for name in awaited
    )


def test_a_change_is_planned_approved_run_and_proved(folder: Path) -> None:
    with opening(folder) as instance:
        planned = instance.plan("set_greeting", parameters={"greeting": "good evening"})
        assert planned.state == "waiting_for_approval" and planned.mode == "apply"
        assert instance.approve("@", key=bob(folder)).state == "approved"
        assert instance.start("@").state == "completed"
        instance.export("@", folder / "change.rxb")
        assert instance.verify(folder / "change.rxb").claims.approvals_own == 1

    assert greeting(folder) == "good evening\n"
    with pytest.raises(RexecopError, match="closed"):
        instance.status("@")


def test_an_event_loop_of_the_caller_is_in_nobodys_way(folder: Path) -> None:
    async def inside() -> str:
        with opening(folder) as instance:
            return instance.plan("host_facts", mode="read_only").state

    assert asyncio.run(inside()) == "approved"


def test_threads_share_one_instance(folder: Path) -> None:
    def read(number: int) -> str:
        planned = instance.plan("host_facts", mode="read_only", idempotency_key=f"read {number}")
        return instance.start(planned.operation_id, wait=True, timeout=60).state

    with opening(folder) as instance, ThreadPoolExecutor(4) as pool:
        assert [*pool.map(read, range(8))] == ["completed"] * 8
        assert len(instance.operations()) == 8


def test_ctrl_c_takes_what_waits_out_of_the_queue_and_leaves_the_instance_in_order(folder: Path) -> None:
    with opening(folder) as instance:
        operation = instance.plan("set_greeting", parameters={"greeting": "never"}).operation_id
        over = threading.Event()
        waiting = threading.Thread(target=_press, args=(over,))
        # Whoever started the tests in the background let this signal be ignored.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        waiting.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                instance.start(operation, wait=True)
        finally:
            over.set()
            waiting.join()
            signal.signal(signal.SIGINT, before)
        left = instance.status(operation)
        assert left.state == "waiting_for_approval" and left.place is None
        with pytest.raises(TimedOut):
            instance.wait(operation, timeout=0.1)


def _press(over: threading.Event) -> None:
    """Press Ctrl-C, and again much later: an interrupt that meets a collection of garbage is lost in it."""
    for seconds in (0.5, 10, 10):
        if not over.wait(seconds):
            os.kill(os.getpid(), signal.SIGINT)


def test_who_waits_while_it_is_closed_is_told(folder: Path) -> None:
    told: list[str] = []

    def wait() -> None:
        try:
            instance.wait(operation)
        except RexecopError as error:
            told.append(error.code)

    instance = opening(folder)
    operation = instance.plan("set_greeting", parameters={"greeting": "never"}).operation_id
    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    closing = threading.Thread(target=instance.close, daemon=True)
    closing.start()
    closing.join(10)
    waiting.join(10)

    assert not closing.is_alive() and not waiting.is_alive()
    assert told == ["instance-closed"]
    assert "rexecop" not in {thread.name for thread in threading.enumerate()}
    instance.close()
