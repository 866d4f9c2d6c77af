"""Windows and freezes: what is open when, over changes of the clocks, and what cannot be one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rexecop.governance.admission import Policy, decide
from rexecop.governance.errors import PackRefused
from rexecop.governance.obligations import tighter
from rexecop.governance.pack import Pack
from rexecop.governance.schedules import DAYS, read_entry
from rexecop.governance.starter import files as starter_files
from rexecop.governance.windows import Entry, Schedule, around, opening, tzdata_version
from rexecop.proof.records.decision import RequestTarget, Terms
from rexecop.proof.vocabulary import Effect, Gate, Mode, Verdict
from tests.governance.cases import request
from tests.spec import windows as spec

# A week around a change of the clocks: one hour, half an hour, at midnight, and a day that was left out.
CHANGES: Final = (
    ("Europe/Berlin", datetime(2026, 3, 22, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 18, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 10, 25, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 3, 29, tzinfo=UTC)),
    ("America/Sao_Paulo", datetime(2018, 10, 28, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 24, tzinfo=UTC)),
    ("UTC", datetime(2026, 1, 1, tzinfo=UTC)),
)
# Every look at a table of minutes takes a while, so what was found is not made smaller.
_SETTINGS: Final = settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
TIMES: Final = st.one_of(st.sampled_from([0, 60, 90, 120, 150, 180, 1380]), st.integers(0, 1439))


@st.composite
def toys(draw: st.DrawFn) -> spec.ToyWindow:
    opens, closes = draw(st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] != pair[1]))
    days = draw(st.frozensets(st.integers(0, 6), min_size=1))
    return spec.ToyWindow(days, opens, closes, draw(st.sampled_from([0, 0, 45, 150])))


def entry(toy: spec.ToyWindow, zone: str) -> Entry:
    def clock(minutes: int) -> str:
        return f"{minutes // 60:02}:{minutes % 60:02}"

    finish = {"let_finish": f"{toy.finish}m"} if toy.finish else {}
    return read_entry(
        {
            "timezone": zone,
            "days": [DAYS[day] for day in sorted(toy.days)],
            "start": clock(toy.opens),
            "end": clock(toy.closes),
            **finish,
        }
    )


@_SETTINGS
@given(st.sampled_from(CHANGES), toys(), st.booleans(), st.booleans(), st.lists(st.integers(2880, 17280)))
def test_a_stretch_covers_the_minutes_that_looking_at_each_of_them_finds(
    change: tuple[str, datetime], toy: spec.ToyWindow, wide: bool, started: bool, looks: list[int]
) -> None:
    zone, start = change
    covered = spec.minutes(zone, start).covered([toy], wide=wide, started=started)
    edges = [n + by for n in range(2880, 17280) if covered[n] != covered[n - 1] for by in (-1, 0)]

    for n in (*edges, *looks):
        until, _ = around([entry(toy, zone)], start + n * spec.MINUTE, wide=wide, started=started)
        assert (until is not None) == covered[n], n


@_SETTINGS
@given(
    st.sampled_from(CHANGES),
    st.lists(toys(), max_size=2),
    st.lists(toys(), max_size=2),
    st.integers(2880, 10000),
)
def test_work_may_start_and_must_end_at_the_minutes_that_looking_at_each_of_them_finds(
    change: tuple[str, datetime], windows: list[spec.ToyWindow], freezes: list[spec.ToyWindow], now: int
) -> None:
    zone, start = change
    table = spec.minutes(zone, start)
    schedule = Schedule(
        source="toys",
        windows=tuple(entry(toy, zone) for toy in windows),
        freezes=tuple(entry(toy, zone) for toy in freezes),
    )
    moment = start + now * spec.MINUTE
    last = start + 14 * 1440 * spec.MINUTE  # Further on the table knows only a part of the stretches.

    found = opening([schedule], request(now=moment))
    begins, ends = spec.opening(table, windows, freezes, now)

    first = None if found is None else found.start or moment
    if begins is None or start + begins * spec.MINUTE > last:
        assert first is None or first > last
        return
    assert first == start + begins * spec.MINUTE
    assert found is not None
    if ends is None or start + ends * spec.MINUTE > last:
        assert found.end is None or found.end > last
    else:
        assert found.end == start + ends * spec.MINUTE


def test_recurrences_keep_to_local_time_and_leave_out_what_is_excepted() -> None:
    found = read_entry(
        {
            "timezone": "Europe/Berlin",
            "rrule": "FREQ=MONTHLY;BYDAY=2TU;UNTIL=20260415",
            "from": "2026-01-01T22:00",
            "duration": "4h",
            "except": ["2026-02-10"],
        }
    )

    stretches = found.stretches(datetime(2026, 1, 1, tzinfo=UTC), wide=False, started=False)
    assert [f"{start:%m-%dT%H:%M}/{end:%d %H:%M}" for start, end in stretches] == [
        "01-13T21:00/14 01:00",
        "03-10T21:00/11 01:00",
        "04-14T20:00/15 00:00",
    ]


def test_a_recurrence_keeps_its_phase_however_long_ago_it_began() -> None:
    found = read_entry(
        {
            "timezone": "UTC",
            "rrule": "FREQ=WEEKLY;INTERVAL=2;BYDAY=SA",
            "from": "2015-01-03T20:00",
            "duration": "2h",
        }
    )
    near = found.stretches(datetime(2026, 11, 27, tzinfo=UTC), wide=False, started=False)
    starts = [start for start, _ in islice(near, 4)]

    assert {(start - datetime(2015, 1, 3, 20, tzinfo=UTC)) % timedelta(days=14) for start in starts} == {
        timedelta(0)
    }


WRONG: Final = {
    "no zone": {"days": ["mon"]},
    "another zone": {"timezone": "Europe/Atlantis", "days": ["mon"]},
    "a zone outside the data": {"timezone": "../../etc/passwd", "days": ["mon"]},
    "no time": {"timezone": "UTC"},
    "no such hour": {"timezone": "UTC", "start": "25:00"},
    "an empty window": {"timezone": "UTC", "start": "10:00", "end": "10:00"},
    "no such day": {"timezone": "UTC", "days": ["someday"]},
    "no such date": {"timezone": "UTC", "from": "2026-02-30"},
    "backwards": {"timezone": "UTC", "from": "2026-02-03", "until": "2026-02-01"},
    "an unknown key": {"timezone": "UTC", "days": ["mon"], "hours": 3},
    "no mapping": ["mon"],
    "a rule without length": {"timezone": "UTC", "rrule": "FREQ=DAILY", "from": "2026-01-01T10:00"},
    "too long": {"timezone": "UTC", "rrule": "FREQ=DAILY", "from": "2026-01-01T10:00", "duration": "40d"},
    **{
        f"rule {rule}": {"timezone": "UTC", "rrule": rule, "from": "2026-01-01T10:00", "duration": "1h"}
        for rule in (
            "FREQ=SECONDLY",
            "FREQ=MINUTELY;BYMONTH=2",
            "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
            "FREQ=DAILY;BYHOUR=1,2,3",
            "FREQ=WEEKLY;BYMONTH=99",
            "FREQ=WEEKLY;BYDAY=2MO",
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
            "FREQ=DAILY;COUNT=100000",
            "FREQ=DAILY;FREQ=DAILY",
            "FREQ=DAILY;UNTIL=20251231",
            "FREQ=DAILY;UNTIL=20269999",
            "nonsense",
        )
    },
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_what_can_be_no_window_is_refused_in_one_line(value: object) -> None:
    with pytest.raises(ValueError, match=r"\A[^\n]+\Z"):
        read_entry(value)  # type: ignore[arg-type]


NIGHTS: Final = """\
maintenance_windows:
  - {name: nights, timezone: UTC, start: "22:00", end: "02:00", environments: [here]}
freezes:
  - {name: audit, timezone: UTC, from: 2026-02-02, until: 2026-02-03, recovery: true, targets: [dbs]}
override: [approvers]
lift_halt: [approvers]
"""
DB: Final = RequestTarget(id="db", type="host", criticality="low", groups=("dbs",))
NOON: Final = datetime(2026, 2, 1, 12, tzinfo=UTC)


def policy(windows: str = NIGHTS, others: tuple[str, ...] = ("bob",)) -> Policy:
    return Policy([Pack.parse({**starter_files("alice", others), "windows.yaml": windows.encode()})])


def times(found: Terms) -> tuple[str, str]:
    def short(at: datetime | None) -> str:
        return "" if at is None else f"{at:%dT%H}"

    return short(found.not_before), short(found.not_after)


def test_a_closed_window_is_a_later_start_and_names_the_zone_data() -> None:
    found = decide(policy(), request(now=NOON)).terms

    assert (found.verdict, *times(found)) == (Verdict.APPROVAL_REQUIRED, "01T22", "02T02")
    assert found.tzdata == tzdata_version()


def test_an_open_window_has_no_start_and_never_reads_as_stricter_later_in_the_night() -> None:
    early = decide(policy(), request(now=NOON + timedelta(hours=11))).terms
    late = decide(policy(), request(now=NOON + timedelta(hours=13))).terms

    assert times(early) == times(late) == ("", "02T02")
    assert tighter(decide(policy(), request(now=NOON)).terms, early) is None


def test_a_freeze_that_any_target_is_under_delays_and_cuts() -> None:
    asked = request(now=NOON + timedelta(hours=10), targets=(*request().targets, DB))

    assert times(decide(policy(), asked).terms) == ("", "02T00")
    asked = replace(asked, now=NOON + timedelta(hours=13))
    assert times(decide(policy(), asked).terms) == ("04T00", "04T02")


def test_recovery_runs_in_a_freeze_that_allows_it_and_keeps_to_the_windows() -> None:
    asked = request(now=NOON + timedelta(hours=13), targets=(DB,), mode=Mode.RECOVERY)

    assert times(decide(policy(), asked).terms) == ("", "02T02")


@pytest.mark.parametrize(
    "changes",
    [
        {"effect": Effect.READ, "mode": Mode.READ_ONLY},
        {"effect": Effect.READ, "mode": Mode.EMERGENCY_READONLY},
        {"mode": Mode.DRY_RUN},
        {"environment": "elsewhere"},
    ],
)
def test_reads_dry_runs_and_other_places_are_held_to_no_window(changes: dict[str, object]) -> None:
    found = decide(policy(), request(now=NOON, **changes)).terms

    assert found.verdict is not Verdict.BLOCKED
    assert (found.not_before, found.not_after, found.tzdata) == (None, None, None)


def test_the_windows_of_an_environment_only_take_time_away() -> None:
    early = Schedule(source="environment", windows=(read_entry({"timezone": "UTC", "start": "23:00"}),))

    assert times(decide(policy(), request(now=NOON), early).terms) == ("01T23", "02T00")


def test_a_window_that_never_opens_within_a_year_is_a_no() -> None:
    never = NIGHTS.replace('start: "22:00", end: "02:00"', "from: 2020-01-01, until: 2020-01-02")

    found = decide(policy(never), request(now=NOON))

    assert found.terms.verdict is Verdict.BLOCKED
    assert "pack `starter`" in found.reason


def test_an_override_is_for_the_groups_that_every_schedule_names() -> None:
    asked = request(now=NOON, override_window=True)
    other = Schedule(source="environment `here`", windows=(read_entry({"timezone": "UTC", "days": ["mon"]}),))

    allowed = decide(policy(), asked)
    assert (allowed.terms.verdict, *times(allowed.terms)) == (Verdict.APPROVAL_REQUIRED, "", "")
    assert "override" in allowed.reason
    assert decide(policy(NIGHTS.replace("override: [approvers]", "")), asked).terms.verdict is Verdict.BLOCKED
    refused = decide(policy(), asked, other)
    assert (refused.terms.verdict, "environment `here`: nobody may" in refused.reason) == (
        Verdict.BLOCKED,
        True,
    )


def test_a_policy_may_ask_for_more_where_windows_are_set_aside() -> None:
    more = (
        '@id("two")\n@approvals("2 of approvers")\n'
        "permit (principal, action, resource) when { context.override_window };\n"
    )
    files = {**starter_files("alice", ("bob",)), "windows.yaml": NIGHTS.encode()}
    strict = Policy([Pack.parse({**files, "requirements/more.cedar": more.encode()})])

    counts = [
        decide(strict, request(now=NOON, override_window=asked)).terms.approvals[0].count
        for asked in (False, True)
    ]
    assert counts == [1, 2]


def test_work_that_started_may_finish_where_that_is_declared_and_no_new_work_starts() -> None:
    lasting = NIGHTS.replace('end: "02:00"', 'end: "02:00", let_finish: 1h')
    after = NOON + timedelta(hours=14, minutes=30)

    assert times(decide(policy(lasting), request(now=NOON)).terms) == ("01T22", "02T03")
    assert times(decide(policy(lasting), request(now=after)).terms) == ("02T22", "03T03")
    assert times(decide(policy(lasting), request(now=after, gate=Gate.CALL, step="x")).terms) == ("", "02T03")


BAD_PACKS: Final = {
    "unknown group": ("override: [nobody]", "nobody"),
    "unknown section": ("windows: []", "windows"),
    "no list": ("freezes: never", "freezes"),
    "a bad entry": ("freezes:\n  - {timezone: UTC}", "freezes[0]"),
    "a bad name": ("lift_halt: [1]", "lift_halt"),
}


@pytest.mark.parametrize(("text", "named"), BAD_PACKS.values(), ids=BAD_PACKS)
def test_a_pack_with_wrong_windows_is_refused_with_the_place(text: str, named: str) -> None:
    with pytest.raises(PackRefused) as refused:
        policy(text)

    assert named in refused.value.message
    assert refused.value.facts["source"] == "windows.yaml"
