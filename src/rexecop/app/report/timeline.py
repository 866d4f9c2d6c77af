"""What happened when, as a table whose last column is a picture: a mark for a moment, a bar for a call.

An approval takes hours and a call milliseconds. Drawn to scale only one of them could be
seen, so the picture shortens long spans; the figures are beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate, pairwise
from math import log1p
from typing import Final

from rexecop.app.describe import summary
from rexecop.app.report.markup import Html, table, tag
from rexecop.app.report.story import Story, Try, chosen
from rexecop.app.report.words import ENDED, clock, lasted
from rexecop.proof.principal import ENGINE
from rexecop.proof.records import Outcome, Record
from rexecop.proof.vocabulary import Phase

ROWS_MAX: Final = 80  # Three printed pages; a fan-out has thousands of calls, and all are in the bundle.
EDGE: Final = 5.0  # Percent left free on both sides, so that no mark is cut.
MILLISECOND: Final = timedelta(milliseconds=1)
CAPTION: Final = (
    "Timeline, UTC. A bar runs from the record before a call to the one after it; long spans are shortened."
)
# The first word of what a record says, where a reader should stop at it.
ODD: Final = frozenset({"blocked", "no", "failed", "cancelled", "escalated"})
PHASES: Final[Mapping[Phase, str]] = {Phase.DO: "", Phase.UNDO: "undo of ", Phase.PROBE: "look after "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line: a moment, or a call that ran from `begins` to `ends`; `look` is how it is drawn."""

    begins: datetime
    ends: datetime
    what: str
    look: str
    odd: bool


def timeline(story: Story) -> Html:
    """Return what happened, in order, with a picture of it."""
    tries = {one.sealed.digest: one for one in story.tries}
    last = story.records[-1].record.at
    rows = [
        _call(tries[sealed.digest], last) if sealed.digest in tries else _moment(sealed.record)
        for sealed in story.records
        if sealed.digest in tries or not isinstance(sealed.record, Outcome)
    ]
    shown, left = chosen(rows, ROWS_MAX, lambda row: row.odd)
    moments = sorted({moment for row in shown for moment in (row.begins, row.ends)})
    widths = [log1p((after - before) / MILLISECOND) for before, after in pairwise(moments)]
    scale = (100 - 2 * EDGE) / (sum(widths) or 1)
    places = dict(zip(moments, accumulate((width * scale for width in widths), initial=EDGE), strict=True))
    lines = [
        (clock(row.begins), tag("span", row.what, class_="odd" if row.odd else None), _picture(row, places))
        for row in shown
    ]
    return tag("div", table(CAPTION, ("when", "what", "picture"), lines, class_="timeline"), tag("p", left))


def _moment(record: Record) -> Row:
    by = "" if record.by == ENGINE else f" by {record.by.person}"
    says = summary(record).removesuffix(by)
    what = f"{record.kind.split('/')[0]}{by}: {says}"
    odd = says.split(" ")[0] in ODD
    return Row(begins=record.at, ends=record.at, what=what, look="moment", odd=odd)


def _call(one: Try, last: datetime) -> Row:
    made, seen, begins = one.made, one.seen, one.sealed.record.at
    how = f"{ENDED[one.ended]}, {lasted(seen.duration_ms)}" if seen else "no outcome was ever recorded"
    again = f", try {made.permit.attempt}" if made and made.permit.attempt > 1 else ""
    on = f" on {made.target}{again}" if made else " without a call"
    what = f"{PHASES[made.phase] if made else ''}{one.step}{on}: {how}"
    # Until something was seen of it, it may go on.
    ends, look = (seen.at if seen else max(begins, last), str(one.ended)) if made else (begins, "moment")
    return Row(begins=begins, ends=ends, what=what, look=look, odd=one.odd)


def _picture(row: Row, places: Mapping[datetime, float]) -> Html:
    x, width = places[row.begins], places[row.ends] - places[row.begins]
    if row.look == "moment":
        drawn = tag("circle", cx=f"{x:.2f}%", cy=9, r=5, class_="moment odd" if row.odd else "moment")
    else:
        drawn = tag("rect", x=f"{x:.2f}%", y=3, width=f"{width:.2f}%", height=12, class_=f"bar {row.look}")
    return tag("svg", drawn, width="100%", height=18, aria_hidden="true")
