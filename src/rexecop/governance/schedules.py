"""Reading windows and freezes, as packs and environments declare them.

maintenance_windows:
  - {name: nightly, timezone: Europe/Berlin, days: [mon, tue], start: "22:00", end: "02:00", let_finish: 1h}
  - {timezone: UTC, rrule: "FREQ=MONTHLY;BYDAY=2TU", from: 2026-01-13T22:00, duration: 4h}
freezes:
  - {name: year's end, timezone: Europe/Berlin, from: 2026-12-20, until: 2027-01-05, recovery: true}
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

from rexecop.execution.strict_yaml import Yaml
from rexecop.governance.windows import Entry, recurrences, zone
from rexecop.proof.times import YEAR_MAX, YEAR_MIN

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

ENTRIES_MAX: Final = 64  # Of windows and of freezes each; more is a calendar nobody can foresee.
LASTS_MAX: Final = timedelta(days=31)  # Of a repeated stretch; a longer one is written with its two ends.
FINISH_MAX: Final = timedelta(hours=24)  # As long as a ticket lives.
EXCEPT_MAX: Final = 366  # Every day of a year.
DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIELDS: Final = (
    "name", "timezone", "days", "start", "end", "from", "until", "rrule", "duration", "except",
    "let_finish", "recovery", "environments", "targets",
)  # fmt: skip

_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")
_MOMENT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2})?")
_LASTS: Final = re.compile(r"(?:([0-9]{1,2})d)?(?:([0-9]{1,3})h)?(?:([0-9]{1,4})m)?")
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,127}")
_DAY_NAME: Final = "(?:MO|TU|WE|TH|FR|SA|SU)"
_RULE_PART: Final = re.compile(
    r"FREQ=(?:DAILY|WEEKLY|MONTHLY|YEARLY)|INTERVAL=[1-9][0-9]?|COUNT=[1-9][0-9]{0,2}"
    rf"|UNTIL=[0-9]{{8}}(?:T[0-9]{{6}}Z?)?|WKST={_DAY_NAME}|BYMONTH=(?:(?:[1-9]|1[0-2])(?:,(?!$)|$)){{1,12}}"
    r"|(?:BYMONTHDAY|BYSETPOS)=(?:[+-]?(?:[1-9]|[12][0-9]|3[01])(?:,(?!$)|$)){1,31}"
    rf"|BYDAY=(?:(?:[+-]?[1-5])?{_DAY_NAME}(?:,(?!$)|$)){{1,35}}"
)
_RULE_PARTS: Final = (
    "FREQ (DAILY to YEARLY), INTERVAL, COUNT, UNTIL, WKST, BYMONTH, BYMONTHDAY, BYDAY, BYSETPOS"
)


def read_entry(value: Yaml, default_zone: str | None = None) -> Entry:
    """Return the window or freeze that parsed YAML describes.

    Raises:
        ValueError: naming the field that is wrong, and what is allowed.
    """
    if not isinstance(value, dict):
        raise ValueError(f"a window or freeze is a mapping; allowed: {', '.join(FIELDS)}")
    unknown = next((key for key in value if key not in FIELDS), None)
    if unknown is not None:
        raise ValueError(f"unknown key `{unknown:.60}`; allowed: {', '.join(FIELDS)}")
    place = _text(value, "timezone") or default_zone
    if place is None:
        raise ValueError("key `timezone` is missing, like `Europe/Berlin`")
    zone(place)
    first, last = moment(value, "from"), moment(value, "until", day_after=True)
    if first is not None and last is not None and first >= last:
        raise ValueError("`until` is not after `from`")
    rule, lasts = _text(value, "rrule"), _lasts(value, "duration", LASTS_MAX)
    daily = any(key in value for key in ("days", "start", "end"))
    if rule is None:
        if lasts:
            raise ValueError("`duration` is of an `rrule`; without one, `end` or `until` says it")
        if not daily and first is None and last is None:
            raise ValueError("it says no time: give `days`, `start` and `end`, or `from` and `until`")
    elif daily or not lasts or first is None or "T" not in str(value["from"]):
        raise ValueError("an `rrule` has a `from` with the time it starts at, a `duration`, and no `days`")
    days, opens, closes = _daily(value) if daily else (frozenset[int](), 0, 1440)
    return Entry(
        name=_text(value, "name") or "",
        zone=place,
        first=first,
        last=last,
        rule=None if rule is None or first is None else recurrence_rule(rule, first, zone(place)),
        lasts=lasts,
        finish=_lasts(value, "let_finish", FINISH_MAX),
        recovery=_flag(value, "recovery"),
        but=frozenset(_date(text) for text in names(value, "except", EXCEPT_MAX)),
        environments=frozenset(names(value, "environments")),
        targets=frozenset(names(value, "targets")),
        days=days,
        opens=opens,
        closes=closes,
    )


def _daily(value: dict[str, Yaml]) -> tuple[frozenset[int], int, int]:
    days = names(value, "days") if "days" in value else DAYS
    wrong = next((day for day in days if day not in DAYS), None)
    if wrong is not None or not days:
        raise ValueError(f"`days` holds `{wrong or 'nothing'!s:.20}`; allowed: {', '.join(DAYS)}")
    opens, closes = _minutes(value, "start", 0), _minutes(value, "end", 1440)
    if opens in (closes, 1440):
        raise ValueError("`start` and `end` are the same time; leave both out for the whole day")
    return frozenset(map(DAYS.index, days)), opens, closes


def recurrence_rule(text: str, first: datetime, place: ZoneInfo) -> str:
    """Return a recurrence rule in the form it is evaluated in."""
    parts = text.upper().removeprefix("RRULE:").split(";")
    names = [part.split("=", 1)[0] for part in parts]
    wrong = next((part for part in parts if not _RULE_PART.fullmatch(part)), None)
    if wrong is not None or len(set(names)) != len(names) or "FREQ" not in names:
        raise ValueError(f"`rrule` has `{wrong or text:.60}`; allowed, each once: {_RULE_PARTS}")
    found = dict(part.split("=", 1) for part in parts)
    every, no = found["FREQ"], set[str]()
    if every in ("DAILY", "WEEKLY"):
        # With these it might look for its next day for ages, and find none.
        no |= {"BYMONTHDAY", "BYSETPOS"}
        if found.get("INTERVAL", "1") != "1":
            no |= {"BYMONTH", "BYDAY"} if every == "DAILY" else {"BYMONTH"}
        if re.search(r"[0-9]", found.get("BYDAY", "")):
            no.add("BYDAY")
    if not no.isdisjoint(names):
        raise ValueError(f"`rrule`: {every} with this INTERVAL takes no {', '.join(sorted(no & set(names)))}")
    if "UNTIL" in found:
        found["UNTIL"] = _until(found["UNTIL"], place)
    rule = ";".join(f"{name}={word}" for name, word in found.items())
    try:
        if next(recurrences(rule, first, first), None) is None:
            raise ValueError("it never happens")
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"`rrule` `{text:.60}`: {error}") from error
    return rule


def _until(text: str, place: ZoneInfo) -> str:
    """Return the end of a rule as a local time: a date is the whole day, one in UTC is moved."""
    if len(text) == 8:
        return f"{text}T235959"
    if not text.endswith("Z"):
        return text
    moment = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return moment.astimezone(place).strftime("%Y%m%dT%H%M%S")


def _text(value: dict[str, Yaml], key: str) -> str | None:
    found = value.get(key)
    if found is not None and not (isinstance(found, str) and 0 < len(found) <= 300 and found.isprintable()):
        raise ValueError(f"`{key}` is not a line of text")
    return found


def names(value: dict[str, Yaml], key: str, most: int = ENTRIES_MAX) -> tuple[str, ...]:
    """Return the names listed under `key`, none where it is absent.

    Raises:
        ValueError: it is no list of different names.
    """
    found = value.get(key, [])
    if not isinstance(found, list) or len(found) > most:
        raise ValueError(f"`{key}` is not a list of up to {most} words")
    words = tuple(word for word in found if isinstance(word, str) and _NAME.fullmatch(word))
    if len(words) != len(found) or len(set(words)) != len(words) or (key in value and not words):
        raise ValueError(f"`{key}` is not a list of different words")
    return words


def _flag(value: dict[str, Yaml], key: str) -> bool:
    found = value.get(key, False)
    if not isinstance(found, bool):
        raise ValueError(f"`{key}` is not `true` or `false`")
    return found


def _minutes(value: dict[str, Yaml], key: str, default: int) -> int:
    text = _text(value, key)
    if text is None:
        return default
    if not _TIME.fullmatch(text):
        raise ValueError(f"`{key}` is `{text:.20}`, not a time like `22:00`")
    return int(text[:2]) * 60 + int(text[3:])


def moment(value: dict[str, Yaml], key: str, *, day_after: bool = False) -> datetime | None:
    text = _text(value, key)
    if text is None:
        return None
    whole_day = timedelta(days=1 if day_after and "T" not in text else 0)
    try:
        found = datetime.fromisoformat(text) if _MOMENT.fullmatch(text) else None
    except ValueError:
        found = None
    if found is None or not YEAR_MIN < found.year < YEAR_MAX:
        raise ValueError(f"`{key}` is `{text:.30}`, not like `2026-12-20` or `2026-12-20T18:00`")
    return found + whole_day


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"`except` holds `{text:.20}`, not a date like `2026-12-24`") from error


def _lasts(value: dict[str, Yaml], key: str, most: timedelta) -> timedelta:
    text = _text(value, key)
    if text is None:
        return timedelta(0)
    match = _LASTS.fullmatch(text)
    numbers = [int(part or 0) for part in match.groups()] if match else [0, 0, 0]
    found = timedelta(days=numbers[0], hours=numbers[1], minutes=numbers[2])
    if not timedelta(0) < found <= most:
        raise ValueError(f"`{key}` is `{text:.20}`, not like `90m`, `4h` or `1d`, at most {most.days} days")
    return found
