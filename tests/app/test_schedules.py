"""Schedules at a root: planned once over any number of workers, never past an approval or a window."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.clock import SystemClock
from rexecop.app.errors import SchedulesRefused, ScheduleUnknown
from rexecop.app.instance import Instance
from rexecop.app.schedules import PROGRESS, Schedules
from rexecop.app.triggering import Inbox
from rexecop.app.worker import Worker
from rexecop.cli.main import run
from rexecop.operations.errors import StoreUnavailable
from rexecop.operations.scheduling import Progress
from rexecop.proof.codec import decode
from rexecop.proof.records.intent import Intent
from rexecop.proof.vocabulary import State
from tests.app.support import bob, made, opened, records, scratch

START: Final = datetime(2027, 3, 27, 12, tzinfo=UTC)  # In Berlin clocks go forward in the night after.
HOURLY: Final = '"0 * * * *"'


class Jump:
    """The system's clock, as far as anybody here sees it: it stands still until told."""

    def __init__(self) -> None:
        self.moment = START

    def now(self) -> datetime:
        self.moment += timedelta(milliseconds=1)
        return self.moment

    def to(self, hours: float) -> None:
        """Go on by so many hours, to the start of the next of them."""
        whole = self.moment.replace(minute=0, second=0, microsecond=0)
        self.moment = whole + timedelta(hours=hours)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Jump:
    found = Jump()
    monkeypatch.setattr(SystemClock, "now", lambda _: found.now())
    return found


@pytest.fixture
def folder(clock: Jump) -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


@pytest.fixture
def instance(folder: Path) -> Iterator[Instance]:
    with opened(folder, None) as instance:
        yield instance


def write(folder: Path, cron: str = HOURLY, zone: str = "UTC", name: str = "it", **more: str) -> None:
    asks = {"intent": "host_facts", "target": "localhost", "mode": "dry_run"} | more
    lines = [f"    {key}: {value}" for key, value in asks.items()]
    path = folder / "root" / "schedules.yaml"
    path.write_text(
        f"schedules:\n  {name}:\n    cron: {cron}\n    timezone: {zone}\n    profile: hello\n"
        "    env: hello.environment.yaml\n" + "\n".join(lines) + "\n"
    )
    path.chmod(0o600)


def take(*schedules: Schedules) -> None:
    async def all_of_them() -> None:
        await asyncio.gather(*(one.take() for one in schedules if one.due()))

    asyncio.run(all_of_them())


def planned(instance: Instance) -> list[str]:
    """Return the keys of what was planned by schedule, oldest first."""
    found = [instance.operation(one.operation_id).the_intent for one in instance.list(limit=100)]
    keys = [one.idempotency_key for one in reversed(found) if one.origin.channel == "schedule"]
    return [key for key in keys if key is not None]


def key_of(instance: Instance, key: str) -> str:
    """Return the operation that was planned under `key`."""
    names = [one.operation_id for one in instance.list(limit=100)]
    return next(name for name in names if instance.operation(name).the_intent.idempotency_key == key)


def state(instance: Instance, key: str) -> str:
    return instance.status(key_of(instance, key)).state


def test_the_intent_says_schedule_and_the_moment_and_who_runs_the_worker(
    folder: Path, instance: Instance, clock: Jump
) -> None:
    write(folder)
    schedules = Schedules(instance)
    take(schedules)
    assert planned(instance) == [] and not schedules.due()
    clock.to(1)
    take(schedules)

    intent = records(instance, instance.resolve("@"))[0].record
    assert isinstance(intent, Intent)
    assert (intent.origin.channel, intent.idempotency_key) == (
        "schedule",
        "schedule:it@2027-03-27T13:00:00.000Z",
    )
    assert intent.origin.event is not None and intent.by == instance.identity().principal
    assert instance.status("@").waiting is None and not instance.parts.lifecycle.queue.waiting()
    take(schedules)
    assert len(planned(instance)) == 1


def test_any_number_of_workers_plan_a_moment_once(folder: Path, clock: Jump) -> None:
    write(folder, start="true", mode="read_only", overlap="allow", missed="all", missed_max="9")
    with opened(folder, None) as one, opened(folder, None) as two, opened(folder, None) as three:
        workers = [Schedules(instance) for instance in (one, two, three)]
        take(*workers)
        clock.to(2)
        take(*workers)
        take(*reversed(workers))
        assert planned(one) == [f"schedule:it@2027-03-27T{hour}:00:00.000Z" for hour in (13, 14)]
        assert len(one.parts.lifecycle.queue.waiting()) == 2
        # What one of them forgot was planned all the same.
        known = decode(Progress, dict(one.parts.world.store.posted(PROGRESS))["it"])
        assert known.operation is not None
        one.parts.world.store.post(PROGRESS, "it", None)
        take(Schedules(two))
        assert len(planned(one)) == 2


def test_a_worker_that_died_after_the_plan_leaves_it_to_the_next_to_start(
    folder: Path, instance: Instance, clock: Jump, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, start="true", mode="read_only")
    take(Schedules(instance))
    clock.to(1)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Instance, "enqueue", die)
        with pytest.raises(KeyboardInterrupt):
            take(Schedules(instance))
    assert len(planned(instance)) == 1 and not instance.parts.lifecycle.queue.waiting()
    take(Schedules(instance))
    assert len(planned(instance)) == 1
    assert [*instance.parts.lifecycle.queue.waiting()] == [instance.resolve("@")]


@pytest.mark.parametrize(
    ("overlap", "after", "in_the_end"),
    [("skip", 1, [13, 16]), ("queue", 1, [13, 14, 16]), ("allow", 3, [13, 14, 15, 16])],
)
def test_what_overlaps_is_skipped_waits_or_is_planned_beside_it_whoever_looks(
    folder: Path, clock: Jump, overlap: str, after: int, in_the_end: list[int]
) -> None:
    write(folder, start="true", mode="read_only", overlap=overlap)
    with opened(folder, None) as one, opened(folder, None) as two:
        workers = [Schedules(one), Schedules(two)]
        take(*workers)
        for _ in range(3):
            clock.to(1)
            take(*workers)
        assert len(planned(one)) == after
        first = "schedule:it@2027-03-27T13:00:00.000Z"
        asyncio.run(one.start(key_of(one, first)))
        assert state(one, first) == State.COMPLETED
        clock.moment += timedelta(seconds=3)
        take(*workers)
        waits = one.parts.lifecycle.queue.waiting()
        for name in waits:
            asyncio.run(one.start(name))
        clock.to(1)
        if overlap == "queue":
            # The moment of 15 o'clock waits before that of 16; the chain goes one by one.
            take(*workers)
            assert planned(one)[-1] == "schedule:it@2027-03-27T15:00:00.000Z"
            return
        take(*workers)
        assert [int(key[-13:-11]) for key in planned(one)] == in_the_end


def test_a_daily_schedule_is_planned_once_on_the_days_the_clocks_change(
    folder: Path, instance: Instance, clock: Jump
) -> None:
    write(folder, cron='"30 2 * * *"', zone="Europe/Berlin")
    schedules = Schedules(instance)
    take(schedules)
    for _ in range(24):
        clock.to(0.5)
        take(schedules)
        clock.to(1)
        take(schedules)
    assert planned(instance)[0] == "schedule:it@2027-03-28T01:00:00.000Z", "2:30 does not exist: it is 3:00"
    clock.moment = datetime(2027, 10, 30, 12, tzinfo=UTC)
    take(schedules)
    before = len(planned(instance))
    for _ in range(15):
        clock.to(0.5)
        take(schedules)
        clock.to(1)
        take(schedules)
    assert planned(instance)[before:] == ["schedule:it@2027-10-31T00:30:00.000Z"]


def test_a_change_waits_for_its_approval_and_for_its_window(folder: Path, clock: Jump) -> None:
    environment = folder / "root" / "hello.environment.yaml"
    window = '      - {name: sunday, timezone: UTC, days: [sun], start: "20:00", end: "22:00"}'
    text = environment.read_text()
    assert "safety:" in text
    environment.write_text(text.replace("safety:", f"safety:\n    maintenance_windows:\n{window}"))
    write(folder, intent="set_greeting", mode="apply", start="true", parameters="{greeting: hello}")

    def work() -> int:
        with opened(folder) as worker:
            return asyncio.run(Worker(worker, once=True, poll_seconds=0.05).run(asyncio.Event()))

    assert work() == 0
    clock.to(1)
    assert work() == 0
    with opened(folder) as instance:
        [key] = planned(instance)
        assert state(instance, key) == State.WAITING_FOR_APPROVAL
        asyncio.run(instance.approve(key_of(instance, key), key=bob(folder)))
        assert work() == 0
        assert state(instance, key) == State.APPROVED, "it is Saturday, and the window is on Sunday"
        assert "2027-03-28" in str(instance.status(key_of(instance, key)).waiting)


def test_what_cannot_be_planned_is_a_dead_letter_that_can_be_tried_again(
    folder: Path, instance: Instance, clock: Jump
) -> None:
    write(folder, target="mars")
    schedules, inbox = Schedules(instance), Inbox(instance)
    take(schedules)
    clock.to(1)
    take(schedules)
    take(Schedules(instance))

    [(name, letter)] = inbox.dead().items()
    assert (letter.code, letter.name) == ("target-unknown", "schedule:it@2027-03-27T13:00:00.000Z")
    assert planned(instance) == []
    (folder / "root" / "inbox").mkdir(mode=0o700)
    environment = folder / "root" / "hello.environment.yaml"
    environment.write_text(environment.read_text().replace("localhost:", "mars:", 1))
    inbox.retry(name)
    asyncio.run(inbox.take())
    intent = instance.operation("@").the_intent
    assert (intent.target, intent.idempotency_key) == ("mars", letter.name)


def test_a_ledger_that_cannot_be_written_loses_no_moment(
    folder: Path, instance: Instance, clock: Jump, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder)
    schedules = Schedules(instance)
    take(schedules)
    clock.to(1)

    async def full(*_: object, **__: object) -> None:
        raise StoreUnavailable("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(Instance, "plan", full)
        with pytest.raises(StoreUnavailable):
            take(schedules)
    assert Inbox(instance).dead() == {}
    take(schedules)
    assert len(planned(instance)) == 1


def test_a_file_that_others_could_change_or_that_is_wrong_plans_nothing_and_doctor_says_so(
    folder: Path, instance: Instance, clock: Jump
) -> None:
    schedules = Schedules(instance)
    assert not schedules.due() and schedules.all() == {}
    write(folder)
    take(schedules)
    (folder / "root" / "schedules.yaml").chmod(0o622)
    clock.to(1)
    assert not schedules.due()
    write(folder, overlap="sometimes")
    assert not schedules.due()
    with pytest.raises(SchedulesRefused, match=r"schedules.yaml:10: .*skip, queue, allow"):
        schedules.all()
    [found] = [check for check in instance.check().checks if check.name == "schedules"]
    assert (found.status, found.facts) == ("failed", {"code": "schedules-refused"})
    write(folder)
    take(schedules)
    assert len(planned(instance)) == 1
    write(folder, name="other")
    take(schedules)
    assert [name for name, _ in instance.parts.world.store.posted(PROGRESS)] == ["other"]


def test_people_see_what_comes_and_may_run_one_now(
    folder: Path, clock: Jump, capsys: pytest.CaptureFixture[str]
) -> None:
    write(folder, cron='"30 2 * * *"', zone="Europe/Berlin", start="true", mode="read_only")
    root = ["--root", str(folder / "root")]

    def says(*words: str, code: int = 0) -> str:
        assert run(["schedule", *words, *root]) == code
        return capsys.readouterr().out

    assert "2027-03-28 01:00:00Z  Sun 2027-03-28 03:00 CEST" in says("next")
    assert says("next", "it", "--count", "2", "--quiet").splitlines() == [
        "2027-03-28T01:00:00Z it",
        "2027-03-29T00:30:00Z it",
    ]
    assert "nothing to say" in says("lint")
    assert "2027-03-28 01:00:00Z" in says("list")
    with opened(folder, None) as instance:
        view = asyncio.run(Schedules(instance).run("it"))
        assert view.place == 1
        assert planned(instance)[0].startswith("schedule:it@2027-03-27T12:00:")
        with pytest.raises(ScheduleUnknown, match="there are: it"):
            Schedules(instance).named("that")
    assert says("run", "it", "--quiet").startswith("op_")
    write(folder, target="mars")
    assert "target-unknown: `it` cannot be planned" in says("lint", code=1)
