"""The rows of control frameworks as a page for people; what is not shown is said as plainly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Final

from rexecop.app.controls import Because, ControlRow, ControlsPage, Standing
from rexecop.app.report.markup import Html, document, style_allowed, table, tag
from rexecop.app.report.words import strong

RECORDS_SHOWN_MAX: Final = 3  # Of one check; the rows as JSON name all.

_CLASSES: Final = {Standing.SHOWN: "reached", Standing.PARTLY: "open", Standing.NOT_SHOWN: "odd"}


def page(found: ControlsPage, style: str, bundle_name: str) -> bytes:
    """Return the page of `found`, dressed in `style`; `bundle_name` is the file it was read from."""
    what = "every target" if found.target is None else found.target
    title = f"Controls: changes of {what}"
    counts = ", ".join(
        f"{sum(row.standing is standing for row in found.rows)} {standing}" for standing in Standing
    )
    verdict = "verdict" if found.answer.startswith("verified") else "verdict odd"
    main = tag(
        "main",
        tag("h1", title),
        tag("p", f"Instance {found.instance}. Read from {bundle_name}, {found.bundle}.", class_="of"),
        tag("p", strong(f"Of {len(found.rows)} controls: {counts}."), class_="sentence"),
        tag("p", f"The evidence by the instance's own keys: {found.answer}.", class_=verdict),
        tag(
            "p",
            "A row says what records show, not that a control is met; what they cannot show stands in it.",
        ),
        *_frameworks(found),
    )
    return document(title, style, f"default-src 'none'; {style_allowed(style)}; base-uri 'none'", main)


def _frameworks(found: ControlsPage) -> Iterator[Html]:
    for (name, edition), rows in groupby(found.rows, lambda row: (row.framework, row.edition)):
        heads = ("control", "asks", "standing", "because", "beyond these records")
        yield tag("h2", name)
        yield table(f"{name}, {edition}", heads, map(_row, rows), class_="controls")


def _row(row: ControlRow) -> tuple[Html | str, ...]:
    standing = tag("span", str(row.standing), class_=_CLASSES[row.standing])
    because = tag("ul", *(tag("li", *_because(one)) for one in row.because))
    return row.control, row.title, standing, because, row.beyond


def _because(one: Because) -> Iterator[Html | str]:
    yield f"{one.words} ({one.standing})"
    shown = [tag("code", digest.removeprefix("sha256:")[:12], title=digest) for digest in one.records]
    if shown:
        more = len(shown) - RECORDS_SHOWN_MAX
        yield tag("br")
        yield tag("span", [[code, " "] for code in shown[:RECORDS_SHOWN_MAX]], class_="of")
        if more > 0:
            yield f"and {more} more"
