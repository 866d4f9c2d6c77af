"""How far operations got: by wave, at the pace of what ended, and in as many lines however many targets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

from rexecop.app.reading import Reading
from rexecop.app.views import ProgressView, WaveView
from rexecop.app.watching import in_words, progress, targets_of
from rexecop.cli.pages import progress_rows
from rexecop.cli.render import Page
from rexecop.operations.fold import fold
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Verb
from rexecop.proof.records.plan import Rollout
from rexecop.store.reading import Reading as LedgerReading
from tests.engines.support import housed, live, second_process
from tests.sim.plans import Wanted, change, planned
from tests.sim.world import ALICE, House

HOSTS = ("a", "b", "c", "d", "e")


def on_hosts() -> list[Wanted]:
    return [change(f"set@{host}", target=host) for host in HOSTS]


def lived(path: Path, story: Callable[[House], Awaitable[None]]) -> None:
    async def awaited() -> None:
        async with housed(path) as house:
            await story(house)

    asyncio.run(awaited())


def slow(house: House, seconds: int) -> None:
    async def during() -> None:
        house.clock.move(timedelta(seconds=seconds))

    house.lane.during = during


def views_of(house: House, operation: str) -> list[ProgressView]:
    """How far it got after each of its records."""
    records = house.store.journal(operation).records
    found = [progress(fold(records[:n]), records[n - 1].record.at) for n in range(2, len(records) + 1)]
    return [one for one in found if one is not None]


def test_targets_are_counted_by_wave_and_those_that_failed_are_named(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        house.lane.fate = lambda step, phase, effect: "failed" if step == "set@c" else "ok"
        rollout = Rollout(waves=(1, 2, 2), targets_max=2, stop_after=1, undo=True)
        operation = await planned(house, *on_hosts(), rollout=rollout)
        await house.lifecycle.start(operation)
        views = views_of(house, operation)

        for view in views:
            assert [one.targets for one in view.waves] == [1, 2, 2] and targets_of(view) == 5
            assert all(one.done + one.failed + one.under_way <= one.targets for one in view.waves)
        assert max(one.under_way for view in views for one in view.waves) == 2
        counts = [(one.done, one.failed, one.undone) for one in views[-1].waves]
        assert counts == [(1, 0, 0), (1, 1, 1), (0, 0, 0)]
        assert (views[-1].wave, views[-1].failed_targets, views[-1].left_seconds) == (3, ("c",), None)
        assert in_words(views[-1]) == "wave 3 of 3, 2 of 5 targets, 1 failed"

    lived(tmp_path, story)


def test_a_wave_goes_at_its_own_pace_and_those_to_come_at_that_of_the_others(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        slow(house, 10)
        rollout = Rollout(waves=(1, 4), targets_max=1, stop_after=1)
        operation = await planned(house, *on_hosts(), rollout=rollout)
        await house.lifecycle.start(operation)
        records = house.store.journal(operation).records
        second = [n for n, one in enumerate(records) if isinstance(one.record, Attempt)][1]
        view = progress(fold(records[:second]), records[second].record.at)

        assert view is not None and (view.waves[0].per_hour, view.waves[0].left_seconds) == (360, None)
        assert (view.waves[1].per_hour, view.waves[1].left_seconds) == (None, 40)
        assert in_words(view) == "wave 2 of 2, 1 of 5 targets, 6/min, about 40 s left"
        later = progress(fold(records[:second]), records[second].record.at + timedelta(seconds=10))
        assert later is not None and later.waves[0].per_hour == 360  # It is over; the whole waits.
        assert later.left_seconds == 80

    lived(tmp_path, story)


def test_what_waits_for_a_person_does_not_get_slower(tmp_path: Path) -> None:
    async def story(house: House) -> None:
        live(house)
        operation = await planned(
            house, *on_hosts(), rollout=Rollout(waves=(5,), targets_max=1, stop_after=1)
        )

        async def meanwhile() -> None:
            house.clock.move(timedelta(seconds=10))
            house.lane.during = None
            await second_process(house).command(operation, Verb.PAUSE, ALICE, "lunch")

        house.lane.during = meanwhile
        await house.lifecycle.start(operation)
        op = fold(house.store.journal(operation).records)
        late = progress(op, house.clock.now() + timedelta(days=1))

        assert late is not None and (late.per_hour, late.left_seconds) in ((360, 40), (359, 40))
        reading = Reading(house.store, house.clock, cast(LedgerReading, None))
        (line,) = reading.list()
        assert (line.state, line.progress) == ("paused", "1 of 5 targets, 6/min, about 40 s left")
        seen = len(reading.history(operation))
        assert reading.history(operation, seen) == () and len(reading.history(operation, seen - 2)) == 2

    lived(tmp_path, story)


def test_a_thousand_waves_and_failed_targets_take_a_screen_of_eighty_columns() -> None:
    wave = WaveView(
        wave=1, targets=10_000, done=9_998, failed=1, undone=1, under_way=64, per_hour=120_000, left_seconds=7
    )
    waves = tuple(
        WaveView(**{**{name: getattr(wave, name) for name in WaveView.__slots__}, "wave": n})
        for n in range(1, 1001)
    )
    found = ProgressView(
        steps=10**7, ended=10**6, failed=9, per_hour=10**6, left_seconds=10**5, wave=500, waves=waves,
        failed_targets=tuple(f"host-{n}.example" for n in range(5000)),
    )  # fmt: skip
    page = Page(colour=False, width=80)
    progress_rows(page, found)
    lines = page.text().splitlines()

    assert len(lines) < 20 and all(len(line) <= 80 for line in lines)
    assert "1 to 496" in page.text() and "505 to 1000" in page.text() and "and 4990 more" in page.text()
    assert "host-10.example" not in page.text()
