"""What is begun in the background: heard by whoever waits, ended in time, and never begun after the end."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import cast

import pytest

from rexecop.app import working
from rexecop.app.instance import Instance
from rexecop.app.working import Works
from rexecop.operations.errors import StoreUnavailable

WAIT = 60.0


def works() -> tuple[Works, SimpleNamespace]:
    """Return works of an instance of which nothing but its driver is there."""
    driver = SimpleNamespace(leaving=False)
    parts = SimpleNamespace(lifecycle=SimpleNamespace(driver=driver))
    return Works(cast(Instance, SimpleNamespace(parts=parts))), driver


def test_what_is_begun_goes_on_where_nobody_waits_and_all_of_it_in_one_loop() -> None:
    found, _ = works()

    async def work() -> tuple[str, int]:
        return threading.current_thread().name, id(asyncio.get_running_loop())

    async def ask() -> set[tuple[str, int]]:
        return {await found.run(work), await found.run(work)}

    ((name, _),) = asyncio.run(ask())
    found.close()

    assert name == "works"


def test_who_is_cut_short_cuts_nothing_short_that_was_begun() -> None:
    found, _ = works()
    go, over = threading.Event(), threading.Event()

    async def work() -> None:
        while not go.is_set():
            await asyncio.sleep(0.01)
        over.set()

    async def ask() -> None:
        asked = asyncio.ensure_future(found.run(work))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)

    asyncio.run(ask())
    go.set()

    assert over.wait(WAIT)
    found.close()


def test_the_end_waits_for_what_ends_and_cancels_what_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "DRAIN_SECONDS", 0.2)
    found, driver = works()
    ended: list[str] = []

    async def parks() -> None:
        while not driver.leaving:
            await asyncio.sleep(0.01)
        ended.append("parked")

    async def hangs() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("ended its call")

    parked, hung = found.begin(parks), found.begin(hangs)
    found.close()
    found.close()

    assert ended == ["parked", "ended its call"] and parked.done() and hung.cancelled()
    with pytest.raises(StoreUnavailable):
        found.begin(parks)


def test_a_defect_in_the_background_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    found, _ = works()

    async def work() -> None:
        raise LookupError("secret")

    begun = found.begin(work)
    assert isinstance(begun.exception(WAIT), LookupError)
    found.close()

    assert capsys.readouterr().err == "rexecop: error[internal-error]: LookupError in what was begun\n"


def test_a_worker_that_ends_is_told_of_and_another_takes_its_place_until_all_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ends: list[Exception] = [StoreUnavailable("the disk is full"), LookupError("secret")]
    works_again = threading.Event()

    class Fickle:
        def __init__(self, instance: object) -> None:
            self.driver = instance.parts.lifecycle.driver  # type: ignore[attr-defined]

        async def run(self, stop: asyncio.Event) -> int:
            assert not self.driver.leaving
            try:
                if ends:
                    raise ends.pop(0)
                works_again.set()
                await stop.wait()
                return 0
            finally:
                self.driver.leaving = True

    monkeypatch.setattr(working, "Worker", Fickle)
    monkeypatch.setattr(working, "AGAIN_SECONDS", 0.01)
    found, driver = works()
    found.carry_out()
    assert works_again.wait(WAIT)
    found.leave()
    found.close()

    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["the disk is full", "LookupError"]
    assert driver.leaving
