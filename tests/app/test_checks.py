"""A check ends in one report of all targets, with figures beside earlier ones, and a sheet for anybody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.app.build import open_instance
from rexecop.app.checks import DAY, Point, days_until, trend
from rexecop.app.clock import SystemClock
from rexecop.app.errors import FormatRefused
from rexecop.app.evidence import Asked
from rexecop.app.planner import PlanInput
from tests.app.pages import Read
from tests.app.support import asked, bob, made, opened, scratch
from tests.app.support import settings as root_settings

SITE = """
environment:
  id: site
  profile: tecrax
  targets:
    fleet: {type: group, members: [alpha.example, space]}
    alpha.example: {}
    space: {thresholds: {space_percent_high: 50}}
  connectors:
    host_storage:
      backend: mock
      actions:
        read_space: {stdout: "/dev/sda1 100 USED 40 USED% /\\n"}
        read_inodes: {stdout: "/dev/sda1 1000 100 900 10% /\\n"}
"""
REVIEWED = """
@id("checks-are-signed-off")
@obligations("review<=24h")
permit (principal, action in Action::"read", resource);
"""
USED = (60, 62, 64, 66)


@dataclass(frozen=True)
class Written:
    """What one export wrote, by the end of its name."""

    report: dict[str, Any]
    sheet: dict[str, Any]
    page: bytes
    sheet_page: bytes
    bundle: bytes


def of_day(folder: Path, used: int, environment: str = "site") -> PlanInput:
    path = folder / f"{environment}.yaml"
    path.write_text(SITE.replace("USED", str(used)).replace("id: site", f"id: {environment}"))
    return PlanInput(
        profile="tecrax", env=str(path), intent="check_disk_space", target="fleet", mode="read_only"
    )


@pytest.fixture(scope="module")
def written() -> Iterator[Written]:
    """Four days of checks of two targets; the last is signed off by bob."""
    with scratch() as folder, pytest.MonkeyPatch.context() as patched:
        now, day = SystemClock.now, {"back": 0}
        patched.setattr(SystemClock, "now", lambda self: now(self) - timedelta(days=day["back"]))

        async def story() -> None:
            day["back"] = len(USED)
            await made(folder)
            pack = folder / "root" / "policy" / "starter" / "requirements" / "signed.cedar"
            pack.write_text(REVIEWED)
            with opened(folder) as instance:
                # Of other intents and other environments nothing is drawn into the line.
                other = await instance.plan(asked(folder, "host_facts", "read_only"))
                await instance.start(other.operation_id)
                elsewhere = await instance.plan(of_day(folder, 7, "elsewhere"))
                await instance.start(elsewhere.operation_id)
                operation = ""
                for n, used in enumerate(USED):
                    day["back"] = len(USED) - 1 - n
                    operation = (await instance.plan(of_day(folder, used))).operation_id
                    await instance.start(operation)
                with pytest.raises(FormatRefused, match="assessed no component"):
                    instance.export(other.operation_id, Asked(form="check", path=folder / "no.html"))
            with open_instance(root_settings(folder, bob(folder))) as instance:
                await instance.review(operation, "alpha.example is fine, says bob")
                instance.export(operation, Asked(form="check", path=folder / "day.html"))

        asyncio.run(story())
        yield Written(
            report=json.loads((folder / "day.json").read_bytes()),
            sheet=json.loads((folder / "day.sign-off.json").read_bytes()),
            page=(folder / "day.html").read_bytes(),
            sheet_page=(folder / "day.sign-off.html").read_bytes(),
            bundle=next(folder.glob("op_*.rxb")).read_bytes(),
        )


def test_every_target_has_its_state_by_its_own_limits_and_what_was_found(written: Written) -> None:
    by_name = {one["target"]: one for one in written.report["targets"]}

    assert {name: one["components"] for name, one in by_name.items()} == {
        "alpha.example": {"disk_space": "healthy"},
        "space": {"disk_space": "degraded"},
    }
    assert by_name["alpha.example"]["findings"] == []
    found = by_name["space"]["findings"][0]
    assert (found["reason"], found["value"], found["limit"]) == ("space_filling", "/: 66", 50)


def test_figures_stand_beside_those_of_earlier_checks_of_the_same_target(written: Written) -> None:
    found = {(one["target"], one["fact"]): one for one in written.report["trends"]}
    space = found["space", "space.percent /"]

    assert written.report["earlier"] == len(USED) - 1
    assert [one["value"] for one in space["points"]] == list(USED)
    assert (space["change"], space["full"]) == (2, 100)
    assert space["days_to_full"] in (
        16,
        17,
    )  # Two a day from 66; the days are a moment longer than whole ones.
    assert found["space", "space.fullest_percent"]["full"] is None
    assert found["space", "inodes.percent /"]["days_to_full"] is None
    assert found["space", "space.mounts"]["full"] is None


def test_the_sheet_names_nobody_and_nothing_of_the_site_and_who_signed_off_by_their_key(
    written: Written,
) -> None:
    sheet = json.dumps(written.sheet)

    for name in ("alpha", "bob", "alice", "fleet", "site", "/dev/sda1"):
        assert name not in sheet and name not in Read(written.sheet_page).text, name
    assert written.sheet["targets"] == 2
    assert written.sheet["states"] == {"degraded": 1, "healthy": 1}
    assert written.sheet["signed_off"][0]["key"].startswith("SHA256:")
    assert written.sheet["bundle"] == written.report["bundle"]


def test_words_of_a_profile_in_which_a_target_is_named_are_withheld(written: Written) -> None:
    # One target is called `space`, and so begins the reason of what was found.
    assert written.sheet["findings"] == {"withheld": 1}
    assert written.sheet["components"] == {"withheld": {"degraded": 1, "healthy": 1}}


def test_the_page_draws_every_figure_and_runs_nothing(written: Written) -> None:
    read = Read(written.page)

    assert [name for name, _ in read.tags].count("polyline") == len(written.report["trends"])
    assert not {name for name, _ in read.tags} & {"script", "form", "iframe", "img", "link"}
    assert read.unbalanced == [] and read.open == []
    assert "alpha.example" in read.text and "verified: logged" in read.text


# --- lines ---

START = datetime(2026, 1, 1, tzinfo=UTC)


def points(*values: int, every: timedelta = DAY) -> tuple[Point, ...]:
    return tuple(Point(at=START + n * every, value=value) for n, value in enumerate(values))


@pytest.mark.parametrize(
    ("values", "days"),
    [
        ((50, 60, 70), 3),
        ((50, 51, 52, 53), 47),
        ((70, 60, 50), None),
        ((60, 60, 60), None),
        ((60, 90), None),
        ((10, 50, 100), 0),
        ((100,), 0),
    ],
)
def test_the_line_through_all_points_says_when_it_is_full(values: tuple[int, ...], days: int | None) -> None:
    assert days_until(points(*values), 100) == days


def test_less_than_a_day_of_points_shows_no_direction() -> None:
    assert days_until(points(10, 20, 30, every=timedelta(hours=1)), 100) is None


def test_the_change_is_that_since_yesterday_and_not_since_a_moment_ago() -> None:
    found = trend("t", "f", (*points(10, 20), Point(at=START + DAY + timedelta(hours=1), value=25)), None)

    assert (found.change, found.since) == (15, START)


@settings(max_examples=25)
@given(rise=st.integers(1, 9), first=st.integers(0, 9), count=st.integers(3, 8))
def test_figures_on_a_line_reach_what_is_full_where_that_line_does(rise: int, first: int, count: int) -> None:
    values = [first + rise * n for n in range(count)]

    assert days_until(points(*values), 1000) == (1000 - values[-1]) // rise
