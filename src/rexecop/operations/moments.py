"""Moments as programs write them, and how long ago or ahead they are."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

UNITS: Final = {
    "seconds": timedelta(seconds=1),
    "minutes": timedelta(minutes=1),
    "hours": timedelta(hours=1),
    "days": timedelta(days=1),
}
_MONTHS: Final = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_EPOCH: Final = re.compile(r"-?[0-9]{1,14}")
_MILLISECONDS: Final = 10**11  # Seconds beyond this are in the year 5138; such a number counts milliseconds.
_ISO: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9:]{5,8})(?:\.[0-9]+)? ?(Z|UTC|[+-][0-9:]{4,6})?"
)
# As OpenSSL writes them: `Nov 27 13:00:00 2026 GMT`.
_C_TIME: Final = re.compile(r"([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9:]{8}) ([0-9]{4})(?: GMT)?")


def moment(text: str) -> datetime | None:
    """Return the moment `text` names, None for anything else.

    It is seconds or milliseconds since 1970, a time of RFC 3339 or ISO 8601, or one of C with GMT;
    without a zone it is UTC.
    """
    try:
        if _EPOCH.fullmatch(text):
            count = int(text)
            return datetime.fromtimestamp(count / 1000 if abs(count) > _MILLISECONDS else count, UTC)
        if match := _ISO.fullmatch(text):
            zone = {"Z": "+00:00", "UTC": "+00:00", None: "+00:00"}.get(match[3], match[3])
            return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
        if (match := _C_TIME.fullmatch(text)) and match[1] in _MONTHS:
            month = _MONTHS.index(match[1]) + 1
            return datetime.fromisoformat(f"{match[4]}-{month:02}-{int(match[2]):02}T{match[3]}+00:00")
    except (ValueError, OverflowError, OSError):
        return None
    return None


def whole_units(text: str, way: str, unit: str, at: datetime | None) -> int | None:
    """Return how many whole units before `at` (`age`) or after it (`left`) the moment in `text` is.

    What is less than nothing is negative: of an age a moment ahead, of what is left one that is past.
    """
    found = moment(text)
    if found is None or at is None:
        return None
    return (at - found if way == "age" else found - at) // UNITS[unit]
