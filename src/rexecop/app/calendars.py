"""Windows out of iCalendar files: each event becomes an entry for an environment or a pack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final, Protocol, cast

from rexecop.app.errors import CalendarRefused
from rexecop.execution.strict_yaml import Yaml
from rexecop.governance.schedules import ENTRIES_MAX, read_entry

CALENDAR_BYTES_MAX: Final = 1024 * 1024  # Years of appointments of a busy team.


class _Value(Protocol):
    """A property of an event, as the library gives it; `dts` are several."""

    dt: date
    dts: Sequence[_Value]

    def to_ical(self) -> bytes: ...


def import_calendar(data: bytes, default_zone: str | None) -> list[dict[str, Yaml]]:
    """Return the events of a calendar as windows; cancelled ones are left out.

    `default_zone` is of events that name none. A moved one of a series stands by itself.

    Raises:
        CalendarRefused: it is no calendar, has no event or too many, or one that is no window.
    """
    from icalendar import Calendar

    try:
        calendar = Calendar.from_ical(data)
        listed = cast("list[Mapping[str, _Value]]", calendar.walk("VEVENT"))
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise CalendarRefused(f"it cannot be read as a calendar: {error}") from error
    events = [one for one in listed if str(one.get("STATUS", "")).upper() != "CANCELLED"]
    if not 0 < len(events) <= ENTRIES_MAX:
        raise CalendarRefused(f"{len(events)} events, 1 to {ENTRIES_MAX} are read", limit=ENTRIES_MAX)
    named = str(calendar.get("X-WR-TIMEZONE", "")) or default_zone
    found: list[dict[str, Yaml]] = []
    for number, event in enumerate(events, start=1):
        same = [one for one in events if "RRULE" in event and one.get("UID") == event.get("UID")]
        try:
            moved = [one["RECURRENCE-ID"].dt for one in same if "RECURRENCE-ID" in one]
            found.append(_entry(event, named, moved))
            read_entry(found[-1])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            title = str(event.get("SUMMARY", ""))[:60]
            raise CalendarRefused(f"event {number} `{title}`: {error}", event=number) from error
    return found


def _entry(event: Mapping[str, _Value], named: str | None, moved: Sequence[date]) -> dict[str, Yaml]:
    if "RDATE" in event:
        raise ValueError("it recurs on single dates (RDATE); write each as an event of its own")
    start = event["DTSTART"].dt
    place = start.tzinfo if isinstance(start, datetime) else None
    zone = named if place is None else str(getattr(place, "key", place))
    if zone is None:
        raise ValueError("it names no time zone; give one with `--timezone`")
    lasts = cast(timedelta, event["DURATION"].dt) if "DURATION" in event else None
    end = start + (lasts or timedelta(days=1)) if "DTEND" not in event else event["DTEND"].dt
    if isinstance(start, datetime) and lasts is None and "DTEND" not in event:
        raise ValueError("it has no end")
    if isinstance(end, datetime) and end.tzinfo is not None:
        end = end.astimezone(place)
    summary = "".join(char for char in str(event.get("SUMMARY", "")) if char.isprintable())[:120]
    entry: dict[str, Yaml] = {"name": summary} if summary else {}
    entry["timezone"] = zone
    if "RRULE" not in event:
        last = end if isinstance(end, datetime) else end - timedelta(days=1)
        return entry | {"from": _text(start), "until": _text(last)}
    rule, listed = event["RRULE"].to_ical().decode(), cast("list[_Value] | _Value", event.get("EXDATE", []))
    hours, minutes = divmod((end - start).seconds // 60, 60)
    parts = (((end - start).days, "d"), (hours, "h"), (minutes, "m"))
    begins = _text(start) if isinstance(start, datetime) else f"{_text(start)}T00:00"
    entry |= {"rrule": rule, "from": begins, "duration": "".join(f"{n}{unit}" for n, unit in parts if n)}
    without = [one.dt for each in (listed if isinstance(listed, list) else [listed]) for one in each.dts]
    if without or moved:
        entry["except"] = [*sorted({f"{one:%Y-%m-%d}" for one in (*without, *moved)})]
    return entry


def _text(moment: date) -> str:
    if not isinstance(moment, datetime):
        return f"{moment:%Y-%m-%d}"
    if moment.second:
        raise ValueError("it begins or ends within a minute")
    return f"{moment:%Y-%m-%dT%H:%M}"
