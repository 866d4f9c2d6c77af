"""Who is told that a component turned: once when it is not well, once when it is well again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rexecop.app.checks import TargetView
from rexecop.app.errors import NotifyRefused
from rexecop.app.instance import Instance
from rexecop.app.notices import NOT_WELL, Watch
from rexecop.app.turning import NAMED_MAX, Turned, Unwell, standing, turned
from rexecop.app.worker import Worker
from rexecop.engines.telling import TURNED
from tests.app.support import made, opened, scratch
from tests.app.test_checks import of_day
from tests.app.test_notices import configure, routes, told

AT = datetime(2026, 1, 1, tzinfo=UTC)
WATCH = Watch(group="oncall", intents=("*",), least="degraded")
WHERE = ("site", "tecrax/check", "op_1")


def target(**components: str) -> TargetView:
    return TargetView(target="web", state="unknown", components=components, findings=())


def seen(found: Turned) -> tuple[list[str], list[str]]:
    return [one.component for one in found.unwell], [one.component for one in found.well]


def unwell(watch: Watch = WATCH, **components: str) -> tuple[Unwell, ...]:
    return turned(watch, WHERE, AT, [target(**components)], ()).unwell


def test_what_is_not_well_turns_once_and_what_stays_so_gets_worse_or_better_is_no_turn() -> None:
    before = unwell(disk="degraded")

    for state in NOT_WELL:
        assert seen(turned(WATCH, WHERE, AT, [target(disk=state)], before)) == ([], [])
    for state in ("healthy", "not_applicable"):
        assert seen(turned(WATCH, WHERE, AT, [target(disk=state)], before)) == ([], ["disk"])


@pytest.mark.parametrize(("least", "named"), [("unknown", 3), ("degraded", 2), ("unhealthy", 1)])
def test_states_below_the_one_that_is_asked_for_are_not_told(least: str, named: int) -> None:
    watch = Watch(group="oncall", intents=("*",), least=least)

    assert (
        len(unwell(watch, a="unknown", b="degraded", c="unhealthy", d="healthy", e="not_applicable")) == named
    )


def test_what_a_check_did_not_look_at_stays_as_it_was_told_and_groups_know_nothing_of_each_other() -> None:
    before = unwell(disk="unhealthy")
    others = Watch(group="others", intents=("*",), least="unknown")

    assert seen(turned(WATCH, WHERE, AT, [target(time="healthy")], before)) == ([], [])
    assert seen(turned(others, WHERE, AT, [target(disk="unhealthy")], before)) == (["disk"], [])
    assert seen(turned(WATCH, ("elsewhere", *WHERE[1:]), AT, [target(disk="healthy")], before)) == ([], [])


def test_a_notice_of_many_names_the_first_and_counts_the_rest() -> None:
    many = {f"c{n}": "unhealthy" for n in range(NAMED_MAX + 5)}
    found = Turned(unwell(WATCH, **many), ())

    assert found.words.startswith("web c0 is unhealthy, ") and found.words.endswith(", and 5 more")


NOTIFY = """
senders: {{pager: {{command: [/usr/bin/tee, -a, {folder}/told]}}}}
groups: {{oncall: [pager]}}
components:
  oncall: {{intents: [tecrax/check_disk_space], from: degraded}}
"""


def test_who_watches_is_told_over_restarts_once_each_way_by_a_worker_too() -> None:
    async def check(instance: Instance, folder: Path, used: int) -> str:
        return (await instance.plan(of_day(folder, used))).operation_id

    async def story(folder: Path) -> None:
        await made(folder)
        configure(folder, NOTIFY.format(folder=folder))
        with opened(folder) as instance:
            first = await check(instance, folder, 40)
            await instance.start(first)
            assert told(folder) == []
            second = await check(instance, folder, 60)
            await instance.start(second)
        with opened(folder) as instance:
            await instance.start(await check(instance, folder, 61))
            (one,) = standing(instance.parts.world.store)
            assert (one.target, one.state, one.operation) == ("space", "degraded", second)
            (notice,) = told(folder)
            assert (notice["event"], notice["groups"], notice["operation"]) == (TURNED, ["oncall"], second)
            assert str(notice["text"]).endswith(": space disk_space is degraded")
            # What an older check found is history, and tells nobody anything.
            await instance.parts.telling.assessed(instance.operation(first))
            assert len(told(folder)) == 1
            instance.enqueue(await check(instance, folder, 41))
            await asyncio.wait_for(Worker(instance, once=True).run(asyncio.Event()), 60)
            assert standing(instance.parts.world.store) == ()
            assert str(told(folder)[1]["text"]).endswith(": space disk_space is well again")

    with scratch() as folder:
        asyncio.run(story(folder))


@pytest.mark.parametrize(
    ("components", "words"),
    [
        ("{x: {intents: [daily check]}}", "is no intent"),
        ("{x: {intents: ['*'], from: healthy}}", "unknown, degraded, unhealthy"),
        ("{x: {from: unknown}}", "`intents` is missing"),
    ],
)
def test_a_watch_that_cannot_be_followed_is_refused(tmp_path: Path, components: str, words: str) -> None:
    with pytest.raises(NotifyRefused) as found:
        routes(tmp_path, json.dumps({"senders": {}, "groups": {}})[:-1] + f', "components": {components}}}')

    assert words in found.value.message + str(found.value.facts)
