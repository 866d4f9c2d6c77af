"""Windows and freezes minute by minute: every minute of a stretch of time is looked at, one by one.

Written from the words of the page, not from the product: a local time that does not exist
means the next that does; one that occurs twice makes a window narrower and a freeze wider.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ToyWindow:
    """A weekly stretch in local time; `finish` in minutes."""

    days: frozenset[int]
    opens: int
    closes: int
    finish: int = 0


class Minutes:
    """All minutes from `start` on, with the local time each of them has."""

    def __init__(self, zone: str, start: datetime, days: int) -> None:
        self.start, place = start, ZoneInfo(zone)
        self.local = [(start + n * MINUTE).astimezone(place).replace(tzinfo=None) for n in range(days * 1440)]
        self.at: dict[datetime, list[int]] = {}
        for n, local in enumerate(self.local):
            self.at.setdefault(local, []).append(n)

    def first(self, local: datetime) -> int:
        return self.at[local][0] if local in self.at else self._next(local)

    def last(self, local: datetime) -> int:
        return self.at[local][-1] if local in self.at else self._next(local)

    def _next(self, local: datetime) -> int:
        return next((n for n, here in enumerate(self.local) if here > local), len(self.local))

    def dates(self) -> list[date]:
        """All days of the calendar within, also one that a place left out."""
        first, last = self.local[0].date(), self.local[-1].date()
        return [first + timedelta(days=n) for n in range(1, (last - first).days)]

    def covered(self, windows: Iterable[ToyWindow], *, wide: bool, started: bool) -> list[bool]:
        """Say for each minute whether one of `windows` covers it; `started` lets work finish."""
        found = [False] * len(self.local)
        for window in windows:
            for day in self.dates():
                if day.weekday() not in window.days:
                    continue
                begins = datetime.combine(day, time()) + window.opens * MINUTE
                ends = datetime.combine(day, time()) + window.closes * MINUTE
                if window.closes <= window.opens:
                    ends += timedelta(days=1)
                start, end = (
                    (self.first(begins), self.last(ends)) if wide else (self.last(begins), self.first(ends))
                )
                if start >= end:
                    continue
                start += window.finish if started and wide else 0
                end += window.finish if started and not wide else 0
                for n in range(start, min(end, len(found))):
                    found[n] = True
        return found


@cache
def minutes(zone: str, start: datetime, days: int = 16) -> Minutes:
    return Minutes(zone, start.astimezone(UTC), days)


def opening(
    table: Minutes, windows: list[ToyWindow], freezes: list[ToyWindow], now: int
) -> tuple[int | None, int | None]:
    """Return the first minute from `now` on at which work may start, and the one at which it must be over."""
    frozen = table.covered(freezes, wide=True, started=False)
    opened = table.covered(windows, wide=False, started=False) if windows else [True] * len(frozen)
    stopped = table.covered(freezes, wide=True, started=True)
    lasting = table.covered(windows, wide=False, started=True) if windows else [True] * len(frozen)
    start = next((n for n in range(now, len(frozen)) if opened[n] and not frozen[n]), None)
    if start is None:
        return None, None
    end = next((n for n in range(start, len(frozen)) if stopped[n] or not lasting[n]), None)
    return start, end
