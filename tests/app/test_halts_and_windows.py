"""Halting and lifting in a real root, what is shown of windows, and windows out of calendars."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.calendars import import_calendar
from rexecop.app.errors import CalendarRefused, HaltRefused, LiftRefused
from rexecop.app.windows import windows_view
from rexecop.governance.schedules import read_entry
from rexecop.governance.windows import Schedule
from rexecop.operations.environment import load_environment
from rexecop.operations.errors import EnvironmentRefused
from tests.app.support import asked, bob, change, greeting, made, opened, scratch, verified
from tests.operations.folders import SEED_ENVIRONMENT, environment

NOW: Final = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture
def root() -> Iterator[Path]:
    with scratch() as folder:
        asyncio.run(made(folder))
        yield folder


def declare(root: Path, lines: str) -> None:
    """Declare `lines` under `safety` in the root's environment."""
    file = root / "root" / "hello.environment.yaml"
    file.write_text(file.read_text().replace("  safety:\n", f"  safety:\n{lines}"))


def test_a_halt_stops_reads_too_is_shown_everywhere_and_its_lift_lets_go(root: Path) -> None:
    async def story() -> None:
        with opened(root) as instance:
            look = await instance.plan(asked(root, "host_facts", "read_only"))
            with opened(root, None) as another:
                standing = another.halt("target:localhost", "odd writes")
            assert [one.scope for one in standing] == ["target:localhost"]

            queued = await instance.start(look.operation_id)

            assert (queued.state, queued.waiting or "") == ("approved", instance.status("@").waiting)
            assert "odd writes" in (queued.waiting or "")
            assert any("odd writes" in line for line in instance.why("@").lines)
            checks = {check.name: check for check in instance.check().checks}
            assert checks["halts"].status == "warning" and "odd writes" in checks["halts"].message
            assert instance.halt("target:localhost", "a drill", lift=True) == ()
            done = await instance.start(look.operation_id)
            assert done.state == "completed"
            assert verified(instance, done.operation_id).findings == ()

    asyncio.run(story())


def test_lifting_what_others_halted_is_for_the_people_the_packs_name(root: Path) -> None:
    entities = root / "root" / "policy" / "starter" / "entities.yaml"
    entities.write_text(entities.read_text().replace("'alice': {groups: [approvers]}", "'alice': {}"))
    with opened(root, None) as instance:
        instance.halt("all", "odd writes")
    with opened(root) as instance:
        assert instance.identity().principal.person not in instance.lifters()
        instance.halt("all", "so it seems")

        with pytest.raises(LiftRefused, match="approvers"):
            instance.halt("all", "let me", lift=True)
        assert len(instance.halts()) == 2
    with opened(root, None) as instance:
        assert instance.identity().principal.person in instance.lifters()
        assert instance.halt("all", "looked at it", lift=True) == ()


def test_who_halted_may_take_it_back_although_no_pack_names_anybody(root: Path) -> None:
    (root / "root" / "policy" / "starter" / "windows.yaml").unlink()
    with opened(root) as instance:
        assert instance.lifters() == ()
        instance.halt("all", "odd writes")
        assert instance.halt("all", "looked at it", lift=True) == ()
        instance.halt("all", "odd writes")
    with opened(root, None) as another, pytest.raises(LiftRefused, match="no group"):
        another.halt("all", "let me", lift=True)


def test_a_scope_that_is_none_is_refused_and_nothing_is_recorded(root: Path) -> None:
    with opened(root) as instance:
        for scope in ("", "everything", "target", "target:", "all:x", "host:web", "target:\x1b[2J"):
            with pytest.raises(HaltRefused):
                instance.halt(scope, "why not")
        with pytest.raises(HaltRefused):
            instance.halt("all", " ")
        with pytest.raises(HaltRefused):
            instance.halt("all", "none stands", lift=True)
        assert instance.halts() == ()


def test_a_window_of_the_environment_holds_a_real_change_and_an_override_is_seen_by_approvers(
    root: Path,
) -> None:
    declare(root, "    maintenance_windows: [{timezone: UTC, from: 2999-01-01}]\n    override: [approvers]\n")

    async def story() -> None:
        with opened(root) as instance:
            refused = await instance.plan(change(root))
            assert refused.state == "blocked" and "environment `here`" in (refused.reason or "")

            told = await instance.plan(change(root, override_window="the customer is down"))
            assert "the customer is down" in instance.preview(told.operation_id)
            await instance.approve(told.operation_id, key=bob(root))
            assert (await instance.start(told.operation_id)).state == "completed"
            assert greeting(root) == "good evening\n"
            assert verified(instance, told.operation_id).findings == ()

    asyncio.run(story())


def test_the_view_says_now_next_and_the_week() -> None:
    nights = read_entry({"name": "nights", "timezone": "Europe/Berlin", "start": "22:00", "end": "02:00"})
    audit = read_entry({"timezone": "Europe/Berlin", "from": "2026-11-29", "until": "2026-11-29"})
    schedule = Schedule(source="pack `site`", windows=(nights,), freezes=(audit,), override=("sre",))

    view = windows_view([schedule], None, None, NOW, ())

    assert (view.state, view.zone, view.override) == ("closed", "Europe/Berlin", ("sre",))
    assert (view.opens, view.closes) == (NOW.replace(hour=21), NOW.replace(day=28, hour=1))
    assert [(line.kind, line.now, line.local) for line in view.entries] == [
        ("window", False, "Fri 27 Nov 22:00 to Sat 28 Nov 02:00"),
        ("freeze", False, "Sun 29 Nov 00:00 to Mon 30 Nov 00:00"),
    ]
    assert view.week["Fri 27 Nov"] == "####" + "." * 40 + "####"
    assert view.week["Sun 29 Nov"] == "x" * 48
    assert len(view.week) == 7


def test_without_windows_any_time_is_right() -> None:
    view = windows_view([], environment(SEED_ENVIRONMENT), None, NOW, ())

    assert (view.state, view.opens, view.closes, view.entries) == ("open", None, None, ())


@pytest.mark.parametrize(
    "line",
    [
        "maintenance_windows: [{start: '22:00', end: '02:00'}]",
        "maintenance_windows: 22:00",
        "freezes: [{timezone: UTC, from: yesterday}]",
        "override: approvers",
    ],
)
def test_an_environment_with_wrong_windows_is_refused_with_file_line_and_field(line: str) -> None:
    text = SEED_ENVIRONMENT.rstrip() + f"\n  safety:\n    {line}\n"
    if "safety:" in SEED_ENVIRONMENT:
        text = SEED_ENVIRONMENT.replace("  safety:\n", f"  safety:\n    {line}\n")

    with pytest.raises(EnvironmentRefused) as refused:
        load_environment({"site.yaml": text.encode()})

    assert refused.value.facts["file"] == "site.yaml"
    assert str(refused.value.facts["field"]).startswith("environment.safety")


def calendar(*events: str) -> bytes:
    inside = "".join(f"BEGIN:VEVENT\nUID:a\n{event}\nEND:VEVENT\n" for event in events)
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n{inside}END:VCALENDAR\n".replace("\n", "\r\n").encode()


SERIES: Final = "DTSTART;TZID=Europe/Berlin:20260113T220000\nDURATION:PT4H\nRRULE:FREQ=MONTHLY;BYDAY=2TU"


def test_events_become_windows_with_their_exceptions_and_moves() -> None:
    found = import_calendar(
        calendar(
            f"SUMMARY:patches\n{SERIES}\nEXDATE;TZID=Europe/Berlin:20260210T220000",
            "DTSTART:20260311T210000Z\nDTEND:20260312T010000Z\nRECURRENCE-ID:20260310T210000Z",
            "DTSTART;VALUE=DATE:20261220\nDTEND;VALUE=DATE:20270106",
            "DTSTART:20260101T000000Z\nSTATUS:CANCELLED",
        ),
        "Europe/Vienna",
    )

    assert found == [
        {
            "name": "patches",
            "timezone": "Europe/Berlin",
            "rrule": "FREQ=MONTHLY;BYDAY=2TU",
            "from": "2026-01-13T22:00",
            "duration": "4h",
            "except": ["2026-02-10", "2026-03-10"],
        },
        {"timezone": "UTC", "from": "2026-03-11T21:00", "until": "2026-03-12T01:00"},
        {"timezone": "Europe/Vienna", "from": "2026-12-20", "until": "2027-01-05"},
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"BEGIN:VCALENDAR",
        calendar(),
        calendar("SUMMARY:no start"),
        calendar("DTSTART:20260101T100000Z"),
        calendar("DTSTART:20260101T100000\nDURATION:PT1H"),
        calendar("DTSTART:20260101T100030Z\nDURATION:PT1H"),
        calendar("DTSTART:20260101T100000Z\nDURATION:PT1H\nRRULE:FREQ=SECONDLY"),
        calendar("DTSTART:20260101T100000Z\nDURATION:PT1H\nRDATE:20260102T100000Z"),
        calendar("DTSTART:20260101T100000Z\nDTEND:20250101T100000Z"),
        calendar("DTSTART:nonsense\nDURATION:PT1H"),
        calendar(*["DTSTART:20260101T100000Z\nDURATION:PT1H"] * 65),
    ],
)
def test_a_calendar_that_makes_no_windows_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(CalendarRefused, match=r"\A[^\n]+\Z"):
        import_calendar(data, None)
