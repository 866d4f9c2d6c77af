"""Times in evidence: RFC 3339, UTC, milliseconds, `Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from rexecop.proof.errors import RecordMalformed

_FORM: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
YEAR_MIN: Final = 1970  # Times are added to and compared; at the ends of the calendar that fails.
YEAR_MAX: Final = 9000


def format_time(moment: datetime) -> str:
    """Return `moment` (aware) as RFC 3339 in UTC with milliseconds."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds")[:-6] + "Z"  # Without `+00:00`.


def parse_time(text: str) -> datetime:
    """Return the moment `text` names.

    Raises:
        RecordMalformed: `text` is not exactly the evidence form of a time.
    """
    if _FORM.fullmatch(text) is None:
        raise RecordMalformed(f"time `{text[:40]}` is not like `2026-01-31T09:30:00.000Z`")
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise RecordMalformed(f"time `{text}` does not exist: {error}") from error
    if not YEAR_MIN <= found.year <= YEAR_MAX:
        raise RecordMalformed(f"time `{text}` is not between {YEAR_MIN} and {YEAR_MAX}")
    return found


def whole_milliseconds(moment: datetime) -> datetime:
    """Return `moment` in UTC, cut to milliseconds as evidence keeps it."""
    utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
    beyond = utc.microsecond % 1000
    return utc.replace(microsecond=utc.microsecond - beyond) if beyond else utc
