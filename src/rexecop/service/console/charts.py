"""Pictures that the server draws: bars by day, and a week of half hours. The figures stand beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import groupby
from typing import Final

from rexecop.app.report.markup import Html, tag

WIDTH, HEIGHT, BAR, GAP, FOOT = 40, 120, 28, 6, 18  # Of a day's column, in units of the picture.
GOOD: Final = frozenset({"completed", "undone"})
HALF_HOUR: Final = 10  # Units across.
WEEK_ROW: Final = 16
CLASSES: Final[Mapping[str, str]] = {"#": "bar", ".": "closed", "x": "bar failed"}


def by_day(days: Mapping[date, Mapping[str, int]]) -> Html:
    """Return a column for each day: what ended well below, the rest above it."""
    most = max((sum(found.values()) for found in days.values()), default=0) or 1
    columns = [
        column
        for place, (day, found) in enumerate(days.items())
        for column in _column(place, day, found, most)
    ]
    box = f"0 0 {WIDTH * len(days)} {HEIGHT + FOOT}"
    label = "Ends by day; the figures are in the table below"
    return tag("svg", *columns, viewBox=box, class_="days", role="img", aria_label=label)


def _column(place: int, day: date, found: Mapping[str, int], most: int) -> Iterator[Html]:
    good = sum(count for state, count in found.items() if state in GOOD)
    bottom = float(HEIGHT)
    for count, look in ((good, "bar"), (sum(found.values()) - good, "bar failed")):
        height = (HEIGHT - 6) * count / most
        bottom -= height
        if count:
            yield tag(
                "rect",
                x=WIDTH * place + GAP,
                y=f"{bottom:.1f}",
                width=BAR,
                height=f"{height:.1f}",
                class_=look,
            )
    middle = WIDTH * place + GAP + BAR // 2
    yield tag("text", f"{day:%d.%m}", x=middle, y=HEIGHT + 13, text_anchor="middle", class_="tick")


def of_week(week: Mapping[str, str]) -> Html:
    """Return a row for each day, with what is open, closed and frozen in it."""
    rows = []
    for place, (day, signs) in enumerate(week.items()):
        y = place * (WEEK_ROW + GAP) + FOOT
        rows.append(tag("text", day, x=0, y=y + 12, class_="tick"))
        at = 90
        for sign, run in groupby(signs):
            width = HALF_HOUR * len(list(run))
            rows.append(tag("rect", x=at, y=y, width=width, height=WEEK_ROW, class_=CLASSES[sign]))
            at += width
    hours = [
        tag("text", f"{hour:02}", x=90 + 2 * HALF_HOUR * hour, y=12, text_anchor="middle", class_="tick")
        for hour in range(0, 25, 6)
    ]
    box = f"0 0 {100 + 48 * HALF_HOUR} {FOOT + len(week) * (WEEK_ROW + GAP)}"
    label = "The next seven days; in words below"
    return tag("svg", *hours, *rows, viewBox=box, class_="week", role="img", aria_label=label)
