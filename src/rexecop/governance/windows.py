"""Maintenance windows and freezes: when changes may start, and until when what started may go on.

They are written in local time and judged in UTC. A local time that does not exist means
the next instant that does; one that occurs twice makes a window narrower and a freeze
wider. Zone data come with the package `tzdata`, never from the system, so that a
decision can name its version. Every search ends: recurrences are of kinds that cannot
run empty for long, and nothing is looked for further ahead than `REACH`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.times import YEAR_MAX, YEAR_MIN
from rexecop.proof.vocabulary import Effect, Gate, Mode

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

REACH: Final = timedelta(days=366)  # A window further away is none; whoever plans for it plans again.
LINKS_MAX: Final = 64  # Windows that touch are followed so far; work that is longer has another ticket.

_DAY: Final = timedelta(days=1)
_FIRST: Final = datetime.combine(date(YEAR_MIN, 1, 2), time.min)
_LAST: Final = datetime.combine(date(YEAR_MAX, 1, 1), time.min)
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*")
_STEP: Final = {"DAILY": _DAY, "WEEKLY": 7 * _DAY}

Stretch: TypeAlias = tuple[datetime, datetime]


def tzdata_version() -> str:
    """Return the version of the zone data, like `2025b`."""
    from tzdata import IANA_VERSION  # type: ignore[import-untyped]  # As in `zone`.

    return str(IANA_VERSION)


@cache
def zone(name: str) -> ZoneInfo:
    """Return the time zone `name`.

    Raises:
        ValueError: there is none.
    """
    from importlib.resources import files  # Most roots declare no window, and need not wait for it.
    from zoneinfo import ZoneInfo

    if not _ZONE.fullmatch(name) or len(name) > 64:
        raise ValueError(f"`{name:.64}` is no time zone like `Europe/Berlin`")
    try:
        with files("tzdata.zoneinfo").joinpath(*name.split("/")).open("rb") as data:
            return ZoneInfo.from_file(data, name)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"`{name}` is no time zone like `Europe/Berlin` (tzdata {tzdata_version()})"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One window or freeze. Local times of `zone`; `first` and `last` bound it, `last` not being in it.

    With `rule` it begins at every recurrence from `first` on and lasts `lasts`; with
    `opens` and `closes`, minutes of the day, on each of `days`, past midnight where it
    closes before it opens; with neither it is the whole from `first` to `last`. Work that
    had started may go on for `finish` after a window closed or a freeze began.
    """

    name: str
    zone: str
    first: datetime | None = None
    last: datetime | None = None
    days: frozenset[int] = frozenset()
    opens: int = 0
    closes: int = 1440
    rule: str | None = None
    lasts: timedelta = timedelta(0)
    but: frozenset[date] = frozenset()
    finish: timedelta = timedelta(0)
    recovery: bool = False
    environments: frozenset[str] = frozenset()
    targets: frozenset[str] = frozenset()

    def covers(self, environment: str, target: RequestTarget) -> bool:
        """Return whether the entry is about `target` of `environment`."""
        here = not self.environments or environment in self.environments
        return here and (not self.targets or not self.targets.isdisjoint((target.id, *target.groups)))

    def stretches(self, since: datetime, *, wide: bool, started: bool) -> Iterator[Stretch]:
        """Yield (start, end) in UTC, in order, from those on that may not be over at `since`.

        One that ends where it starts, or before, is empty.
        """
        place = zone(self.zone)
        back = max(self.lasts, _DAY) + self.finish + 2 * _DAY
        for begins, ends in self._local(since.astimezone(place).replace(tzinfo=None) - back):
            early, late = readings(begins, place)
            start = early if wide else late
            last = (early + self.lasts, late + self.lasts) if ends is None else readings(ends, place)
            end = last[wide]
            if started and wide:
                start += self.finish
            elif started:
                end += self.finish
            yield start, end

    def _local(self, since: datetime) -> Iterator[tuple[datetime, datetime | None]]:
        first, last = self.first or _FIRST, self.last or _LAST
        if self.rule is not None:
            for one in recurrences(self.rule, first, since):
                if one >= last:
                    return
                if one.date() not in self.but:
                    yield one, None
            return
        if not self.days:
            yield first, last
            return
        day = max(since, first - _DAY).date()
        while day <= last.date():
            if day.weekday() in self.days and day not in self.but:
                midnight = datetime.combine(day, time())
                past = 1440 if self.closes <= self.opens else 0
                begins = max(first, midnight + timedelta(minutes=self.opens))
                ends = min(last, midnight + timedelta(minutes=self.closes + past))
                if begins < ends:
                    yield begins, ends
            day += _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The windows and freezes of one `source`, who may set them aside, and who may lift a halt.

    Without windows any time is right. `override` and `lift_halt` are groups of people.
    """

    source: str
    windows: tuple[Entry, ...] = ()
    freezes: tuple[Entry, ...] = ()
    override: tuple[str, ...] = ()
    lift_halt: tuple[str, ...] = ()

    def holds(self, request: PolicyRequest) -> bool:
        """Return whether any of it is about `request`."""
        return bool(self.windows_of(request) or self.freezes_of(request))

    def windows_of(self, request: PolicyRequest) -> list[tuple[Entry, ...]]:
        """Return for each target that has windows all of them: one of each must be open."""
        found = [
            tuple(one for one in self.windows if one.covers(request.environment, target))
            for target in request.targets
        ]
        free = request.mode is Mode.RECOVERY
        return [one for one in dict.fromkeys(found) if one and not (free and any(e.recovery for e in one))]

    def freezes_of(self, request: PolicyRequest) -> list[Entry]:
        """Return the freezes that any target is under."""
        return [
            one
            for one in self.freezes
            if not (one.recovery and request.mode is Mode.RECOVERY)
            if any(one.covers(request.environment, target) for target in request.targets)
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """When a change may run: from `start`, or at once without it, until `end`, or without one."""

    start: datetime | None
    end: datetime | None


def is_held(request: PolicyRequest) -> bool:
    """Return whether windows and freezes mean anything to `request`: it would really change something."""
    return request.effect is not Effect.READ and request.mode in (Mode.APPLY, Mode.RECOVERY)


def opening(schedules: Iterable[Schedule], request: PolicyRequest) -> Opening | None:
    """Return when `request` may run next; None when that is never, or beyond `REACH`.

    At the gate of a call it is asked about work that has started.
    """
    groups = [group for schedule in schedules for group in schedule.windows_of(request)]
    freezes = [freeze for schedule in schedules for freeze in schedule.freezes_of(request)]
    started, now = request.gate is Gate.CALL, request.now
    moment = now
    while moment <= now + REACH:
        later = _closed_until(groups, freezes, moment, started)
        if later is None:
            return Opening(start=moment if moment > now else None, end=_end(groups, freezes, moment))
        if later <= moment:
            return None
        moment = later
    return None


def state_at(schedules: Iterable[Schedule], request: PolicyRequest) -> str:
    """Return whether `request` could start at its time: `open`, `closed` or `frozen`."""
    freezes = [freeze for schedule in schedules for freeze in schedule.freezes_of(request)]
    if around(freezes, request.now, wide=True, started=False)[0] is not None:
        return "frozen"
    groups = [group for schedule in schedules for group in schedule.windows_of(request)]
    return "open" if _closed_until(groups, (), request.now, False) is None else "closed"


def _closed_until(
    groups: Sequence[Sequence[Entry]], freezes: Sequence[Entry], moment: datetime, started: bool
) -> datetime | None:
    """Return when to look again where it is closed at `moment`, `moment` itself for never; None if open."""
    frozen, _ = around(freezes, moment, wide=True, started=started)
    if frozen is not None:
        return frozen
    for group in groups:
        until, upcoming = around(group, moment, wide=False, started=started)
        if until is None:
            return upcoming or moment
    return None


def _end(groups: Sequence[Sequence[Entry]], freezes: Sequence[Entry], moment: datetime) -> datetime | None:
    """Return until when what started at `moment` may go on."""
    _, frozen = around(freezes, moment, wide=True, started=True)
    ends = [frozen] if frozen is not None else []
    for group in groups:
        end = moment
        for _ in range(LINKS_MAX):
            until, _next = around(group, end, wide=False, started=True)
            if until is None:
                ends.append(end)
                break
            end = until
    return min(ends, default=None)


def around(
    entries: Iterable[Entry], moment: datetime, *, wide: bool, started: bool
) -> tuple[datetime | None, datetime | None]:
    """Return until when one of `entries` covers `moment`, and when the next one after it begins."""
    until: datetime | None = None
    upcoming: datetime | None = None
    for entry in entries:
        for start, end in entry.stretches(moment, wide=wide, started=started):
            if start > moment + REACH or (moment < start < end):
                upcoming = start if upcoming is None else min(upcoming, start)
                break
            if start <= moment < end:
                until = end if until is None else max(until, end)
    return until, upcoming


def readings(local: datetime, place: ZoneInfo) -> Stretch:
    """Return the first and the last instant that a local time without zone means in `place`."""
    early = local.replace(tzinfo=place).astimezone(UTC)
    late = local.replace(tzinfo=place, fold=1).astimezone(UTC)
    if early <= late:
        return early, late
    # Skipped by the clocks: the two readings lie around the instant at which that happened.
    offset = late.astimezone(place).utcoffset()
    seconds = range(int((early - late).total_seconds()))
    jump = bisect_left(
        seconds, 1, key=lambda n: (late + timedelta(seconds=n)).astimezone(place).utcoffset() != offset
    )
    return late + timedelta(seconds=jump), late + timedelta(seconds=jump)


def recurrences(rule: str, first: datetime, since: datetime) -> Iterator[datetime]:
    """Yield the local times at which `rule`, counted from `first`, recurs, from `since` on."""
    from dateutil.rrule import rrulestr  # Most schedules have no rule, and need not wait for it.

    parts = dict(part.split("=", 1) for part in rule.split(";"))
    step = _STEP.get(parts["FREQ"])
    if step is not None and "COUNT" not in parts and since > first:
        # Begin near the time asked about, whole intervals on, so that age costs nothing.
        step *= int(parts.get("INTERVAL", "1"))
        first += max(0, (since - first) // step - 1) * step
    found: Iterable[datetime] = rrulestr(rule, dtstart=first)
    return (one for one in found if one >= since)
