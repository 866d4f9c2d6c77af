"""Recurrences: local times become moments, over changes of the clocks as it is written."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.governance.recurring import Recurrence, Repeated, Skipped, read_cron, read_rrule

BERLIN = "Europe/Berlin"
SPRING = datetime(2027, 3, 27, 12, tzinfo=UTC)  # The day before clocks go from 2 to 3 at 1 UTC.
AUTUMN = datetime(2027, 10, 30, 12, tzinfo=UTC)  # The day before clocks go from 3 to 2 at 1 UTC.


def times(found: Recurrence, since: datetime, count: int) -> list[str]:
    return [f"{one:%d %H:%M}" for one in islice(found.after(since), count)]


@pytest.mark.parametrize(
    ("skipped", "expected"),
    [
        (None, ["28 01:00", "29 00:30"]),
        (Skipped.RUN, ["28 01:00", "29 00:30"]),
        (Skipped.OMIT, ["29 00:30", "30 00:30"]),
    ],
)
def test_a_time_that_the_clocks_skip_is_the_first_after_the_jump_or_none(
    skipped: Skipped | None, expected: list[str]
) -> None:
    daily = read_cron("30 2 * * *", BERLIN, skipped, None)
    rule = read_rrule("FREQ=DAILY", "2027-01-01T02:30", BERLIN, skipped, None)

    assert times(daily, SPRING, 2) == expected
    assert times(rule, SPRING, 2) == expected


@pytest.mark.parametrize(
    ("repeated", "expected"),
    [
        (None, ["31 00:30", "01 01:30"]),
        (Repeated.FIRST, ["31 00:30", "01 01:30"]),
        (Repeated.BOTH, ["31 00:30", "31 01:30"]),
    ],
)
def test_a_time_that_the_clocks_show_twice_is_the_first_or_both(
    repeated: Repeated | None, expected: list[str]
) -> None:
    daily = read_cron("30 2 * * *", BERLIN, None, repeated)
    rule = read_rrule("FREQ=DAILY", "2027-01-01T02:30", BERLIN, None, repeated)

    assert times(daily, AUTUMN, 2) == expected
    assert times(rule, AUTUMN, 2) == expected


@pytest.mark.parametrize("zone", [BERLIN, "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("start", [SPRING, AUTUMN, datetime(2027, 3, 13, tzinfo=UTC)])
def test_what_recurs_by_the_minute_goes_by_the_time_that_passes(zone: str, start: datetime) -> None:
    found = [*islice(read_cron("*/15 * * * *", zone, None, None).after(start), 4 * 72)]

    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=15)}


@settings(max_examples=25)
@given(
    st.sampled_from(["*/20 * * * *", "10 1-3 * * *", "30 2 * * *", "0 */2 * * 0"]),
    st.sampled_from([*Skipped]),
    st.sampled_from([*Repeated]),
    st.sampled_from([SPRING, AUTUMN]),
    st.integers(0, 48 * 60),
)
def test_where_one_begins_to_look_does_not_change_what_comes(
    cron: str, skipped: Skipped, repeated: Repeated, start: datetime, minutes: int
) -> None:
    found, since = read_cron(cron, BERLIN, skipped, repeated), start + timedelta(minutes=minutes)
    days = start + timedelta(days=9)
    whole = [one for one in islice(found.after(start), 800) if one <= days]
    rest = [one for one in islice(found.after(since), 800) if one <= days]

    assert whole == sorted(set(whole))
    assert rest == [one for one in whole if one > since]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("* * * *", "4 fields"),
        ("0 0 0 * * *", "6 fields"),
        ("@daily", "1 fields"),
        ("99 * * * *", "bad minute"),
        ("0 0 30 2 *", "bad day-of-month"),
    ],
)
def test_a_line_that_is_no_cron_line_is_refused_with_what_is_wrong(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_cron(line, BERLIN, None, None)


def test_a_rule_needs_a_time_to_start_at_and_a_zone_that_exists() -> None:
    with pytest.raises(ValueError, match="`from` with the time"):
        read_rrule("FREQ=DAILY", "2027-01-01", BERLIN, None, None)
    with pytest.raises(ValueError, match="no time zone"):
        read_cron("* * * * *", "Europe/Atlantis", None, None)
    with pytest.raises(ValueError, match="FREQ"):
        read_rrule("FREQ=SECONDLY", "2027-01-01T02:30", BERLIN, None, None)
