"""Schedules: what is due, what overlaps and what was missed; and files that do not say it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from rexecop.operations.reading import Problems
from rexecop.operations.scheduling import (
    LATE,
    LOOK_BACK,
    NOT_ENDED,
    UNSEEN,
    WAITING_MAX,
    Missed,
    Overlap,
    Progress,
    Scheduled,
    judge,
    read_schedules,
)

NINE: Final = datetime(2027, 1, 31, 9, tzinfo=UTC)
HOUR: Final = timedelta(hours=1)
ASKS: Final = (
    "    profile: hello\n    env: e.yaml\n    intent: host_facts\n    target: localhost\n    mode: dry_run\n"
)
WHEN: Final = '    cron: "0 * * * *"\n    timezone: UTC\n'


def read(text: str) -> tuple[dict[str, Scheduled], list[str]]:
    problems = Problems("schedules-refused")
    found = read_schedules(text.encode(), "schedules.yaml", problems)
    return found, [finding.text() for finding in problems.findings]


def hourly(**more: object) -> Scheduled:
    found, wrong = read(f"schedules:\n  hourly:\n{WHEN}{ASKS}")
    assert wrong == []
    return replace(found["hourly"], **more)  # type: ignore[arg-type]


def hours(moments: tuple[datetime, ...]) -> list[int]:
    return [moment.hour for moment in moments]


def never() -> bool:
    raise AssertionError("nobody needs to know")


def test_a_moment_is_planned_once_it_is_due_and_not_again() -> None:
    one, known = hourly(), Progress(seen=NINE)

    assert judge(one, known, NINE + HOUR - timedelta(milliseconds=1), never) == ((), known)
    moments, came = judge(one, known, NINE + HOUR, lambda: False)
    assert moments == (NINE + HOUR,)
    assert judge(one, came, NINE + HOUR, never) == ((), came)


def test_the_jitter_of_a_moment_is_always_the_same_and_within_its_bounds() -> None:
    one = hourly(jitter_ms=600_000)
    delays = [one.due_at(moment) - moment for moment in (NINE + n * HOUR for n in range(50))]

    assert all(timedelta(0) <= delay <= timedelta(minutes=10) for delay in delays)
    assert len(set(delays)) > 40
    assert delays == [one.due_at(NINE + n * HOUR) - (NINE + n * HOUR) for n in range(50)]
    assert replace(one, name="other").due_at(NINE) != one.due_at(NINE)
    before = one.due_at(NINE + HOUR) - timedelta(milliseconds=1)
    assert judge(one, Progress(seen=NINE), before, lambda: False)[0] == ()
    assert judge(one, Progress(seen=NINE), one.due_at(NINE + HOUR), lambda: False)[0] == (NINE + HOUR,)


@pytest.mark.parametrize(
    ("overlap", "busy", "planned", "waits"),
    [
        (Overlap.SKIP, True, [], []),
        (Overlap.SKIP, False, [10], []),
        (Overlap.QUEUE, True, [], [10]),
        (Overlap.QUEUE, False, [10], []),
        (Overlap.ALLOW, True, [10], []),
    ],
)
def test_while_the_one_before_has_not_ended_a_moment_is_skipped_waits_or_goes_beside_it(
    overlap: Overlap, busy: bool, planned: list[int], waits: list[int]
) -> None:
    moments, came = judge(hourly(overlap=overlap), Progress(seen=NINE), NINE + HOUR, lambda: busy)

    assert (hours(moments), hours(came.waits)) == (planned, waits)
    assert (came.passed is not None and came.passed.why == NOT_ENDED) is (planned == waits == [])


def test_what_waits_goes_first_one_after_another_and_its_number_is_bounded() -> None:
    one, known = hourly(overlap=Overlap.QUEUE), Progress(seen=NINE)
    for n in (1, 2):
        _, known = judge(one, known, NINE + n * HOUR, lambda: True)
    first, known = judge(one, known, NINE + 2 * HOUR, lambda: False)
    second, known = judge(one, known, NINE + 2 * HOUR, lambda: False)
    assert (hours(first), hours(second), known.waits) == ([10], [11], ())

    many = tuple(NINE - n * HOUR for n in range(WAITING_MAX, 0, -1))
    _, known = judge(one, Progress(seen=NINE, waits=many), NINE + HOUR, lambda: True)
    assert known.waits == (*many[1:], NINE + HOUR)


@pytest.mark.parametrize(
    ("missed", "most", "planned"),
    [
        (Missed.SKIP, 1, []),
        (Missed.ONCE, 1, [12]),
        (Missed.ALL, 2, [11, 12]),
        (Missed.ALL, 100, [10, 11, 12]),
    ],
)
def test_what_was_missed_is_skipped_or_planned_once_or_up_to_so_many_times(
    missed: Missed, most: int, planned: list[int]
) -> None:
    one = hourly(missed=missed, missed_max=most, overlap=Overlap.ALLOW)
    now = NINE + 3 * HOUR + LATE + timedelta(seconds=1)

    moments, came = judge(one, Progress(seen=NINE), now, never)

    assert hours(moments) == planned
    assert judge(one, came, now, never)[0] == ()
    assert (came.passed is not None and came.passed.why == UNSEEN) is (len(planned) < 3)


def test_with_a_moment_of_now_what_was_missed_is_not_made_up_for_once_more() -> None:
    one = hourly(missed=Missed.ONCE, overlap=Overlap.ALLOW)

    assert hours(judge(one, Progress(seen=NINE), NINE + 3 * HOUR, never)[0]) == [12]


def test_nothing_is_looked_for_that_was_missed_too_long_ago_and_losing_count_plans_no_more() -> None:
    one = hourly(missed=Missed.ALL, missed_max=100, overlap=Overlap.ALLOW)
    monthly = replace(one, recurrence=replace(one.recurrence, cron="0 0 1 * *"))
    long_ago = Progress(seen=NINE - 4 * LOOK_BACK)

    assert len(judge(one, long_ago, NINE + 2 * LATE, never)[0]) == 100
    assert [one.month for one in judge(monthly, long_ago, NINE, never)[0]] == [1]


def test_a_schedule_that_is_disabled_plans_nothing_and_misses_nothing() -> None:
    off = hourly(enabled=False, missed=Missed.ALL, missed_max=9, overlap=Overlap.ALLOW)
    _, known = judge(off, Progress(seen=NINE), NINE + 5 * HOUR, never)

    moments, _ = judge(replace(off, enabled=True), known, NINE + 6 * HOUR, never)
    assert hours(moments) == [15]


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[]", 1, "a mapping"),
        ("schedules: {a: {}}", 1, "key `timezone` is missing"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    cron_line: x\n", 10, "unknown key `cron_line`"),
        (f"schedules:\n  a:\n    timezone: UTC\n{ASKS}", 2, "one of `cron` and `rrule`"),
        (f"schedules:\n  a:\n{WHEN}    rrule: FREQ=DAILY\n{ASKS}", 2, "one of `cron` and `rrule`"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    overlap: kill\n", 10, "one of skip, queue, allow"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    missed: all\n", 2, "`missed_max`"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    missed_max: 3\n", 2, "`missed_max`"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    missed: all\n    missed_max: 3\n", 2, "would overlap"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    start: yes\n", 10, "`true` or `false`"),
        (f"schedules:\n  a:\n{WHEN}{ASKS}    jitter: 2d\n", 10, "a duration"),
        (f"schedules:\n  a:\n{WHEN.replace('UTC', 'Mars')}{ASKS}", 2, "no time zone"),
        (f"schedules:\n  a:\n{WHEN}{ASKS.replace('dry_run', 'now')}", 9, "one of"),
    ],
)
def test_a_file_that_is_none_is_refused_with_line_and_reason(text: str, line: int, says: str) -> None:
    _, wrong = read(text)

    assert any(one.startswith(f"schedules.yaml:{line}: ") and says in one for one in wrong), wrong
