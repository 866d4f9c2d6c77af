"""When something recurs: by a cron line or a recurrence rule, in local time, as moments in UTC.

A local time that the clocks skip means the first instant after the jump (`skipped: run`) or nothing
(`omit`); one that they show twice means the first of the two (`repeated: first`) or both (`both`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from heapq import merge
from itertools import tee
from typing import TYPE_CHECKING, Final

from rexecop.governance.schedules import moment, recurrence_rule
from rexecop.governance.windows import Stretch, readings, recurrences, zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

BACK: Final = timedelta(hours=3)  # No clock is set by more than that where anybody plans for it.
CRON_FIELDS: Final = 5
_SOMETIME: Final = datetime(2026, 1, 1, tzinfo=UTC)  # What never happens after it never does.


class Skipped(StrEnum):
    """What becomes of a local time that the clocks skip."""

    RUN = "run"
    OMIT = "omit"


class Repeated(StrEnum):
    """What becomes of a local time that the clocks show twice."""

    FIRST = "first"
    BOTH = "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """Recurs at the local times of `zone` that `cron` names, or `rule`, counted from `first`."""

    zone: str
    skipped: Skipped
    repeated: Repeated
    cron: str = ""
    rule: str = ""
    first: datetime | None = None

    def after(self, since: datetime) -> Iterator[datetime]:
        """Yield the moments later than `since`, each once, in order."""
        place, last = zone(self.zone), since
        ones, others = tee(self._readings(since.astimezone(place).replace(tzinfo=None) - BACK, place))
        lates = (late for _, late in others) if self.repeated is Repeated.BOTH else ()
        for found in merge((early for early, _ in ones), lates):
            if found > last:
                last = found
                yield found

    def _readings(self, since: datetime, place: ZoneInfo) -> Iterator[Stretch]:
        for local in self._local(since):
            early, late = readings(local, place)
            exists = early.astimezone(place).replace(tzinfo=None) == local
            if exists or self.skipped is Skipped.RUN:
                yield early, late

    def _local(self, since: datetime) -> Iterable[datetime]:
        if self.first is not None:
            return recurrences(self.rule, self.first, since)
        from cronsim import CronSim  # Most roots have no schedule, and need not wait for it.

        return CronSim(self.cron, since)


def read_cron(line: str, place: str, skipped: Skipped | None, repeated: Repeated | None) -> Recurrence:
    """Return the recurrence of a cron line. One of every hour goes by the time that passes, unless told.

    Raises:
        ValueError: it is none, or never happens, or `place` is no time zone.
    """
    from cronsim import CronSimError

    zone(place)
    fields = line.split()
    if len(fields) != CRON_FIELDS:
        raise ValueError(f"`cron` has {len(fields)} fields, not minute, hour, day, month and day of the week")
    hourly = fields[1].startswith("*")
    found = Recurrence(
        zone=place,
        skipped=skipped or (Skipped.OMIT if hourly else Skipped.RUN),
        repeated=repeated or (Repeated.BOTH if hourly else Repeated.FIRST),
        cron=line,
    )
    try:
        never = next(found.after(_SOMETIME), None) is None
    except CronSimError as error:
        raise ValueError(f"`cron` is `{line:.60}`: {str(error).lower()}") from error
    if never:
        raise ValueError(f"`cron` is `{line:.60}`, which never happens")
    return found


def read_rrule(
    rule: str, first: str, place: str, skipped: Skipped | None, repeated: Repeated | None
) -> Recurrence:
    """Return the recurrence of an iCalendar rule, counted from the local time `first`.

    Raises:
        ValueError: it is none, or `place` is no time zone.
    """
    begins = moment({"from": first}, "from") if "T" in first else None
    if begins is None:
        raise ValueError("an `rrule` has a `from` with the time it starts at, like `2026-12-20T18:00`")
    return Recurrence(
        zone=place,
        skipped=skipped or Skipped.RUN,
        repeated=repeated or Repeated.FIRST,
        rule=recurrence_rule(rule, begins, zone(place)),
        first=begins,
    )
