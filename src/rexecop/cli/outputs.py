"""What calls put out, as people read it: all at once, or as it comes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rexecop.cli.following import follow
from rexecop.cli.render import Page, as_json, emit
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.reading import Reading
    from rexecop.app.views import OperationView, OutputView

SHOWN_LENGTH_MAX: Final = 64 * 1024  # Of one stream in a table: more is for `--raw`, a pipe or `--json`.


def follow_outputs(
    session: Session,
    reading: Reading,
    operation: str,
    chosen: Callable[[int], list[OutputView]],
    *,
    raw: bool,
) -> None:
    """Print what is `chosen` as it is kept, each stream of a call once, until the operation is over."""
    last = -1

    def show(_: OperationView) -> bool:
        nonlocal last
        read = True
        for output in chosen(last):
            last = output.n
            page = Page(colour=session.colour(sys.stdout), width=session.width())
            output_rows(page, output)
            text = as_json(output, indent=None) if session.settings.output == "json" else page.text()
            read = emit(output.text or "" if raw else text) and read
        return read

    follow(reading, operation, None, show)


def output_rows(page: Page, output: OutputView) -> None:
    """Draw what one call put out on one stream, escaped and bounded."""
    ref = output.ref
    said = (
        f"{ref.kept_bytes} of {ref.raw_bytes} bytes, truncated"
        if ref.truncated
        else f"{ref.kept_bytes} bytes"
    )
    said += f", {ref.redactions} redacted" if ref.redactions else ""
    said += ", erased" if output.text is None else ""
    page.line()
    page.line(f"{output.phase} {output.step} on {output.target}, {output.stream}: {said}")
    text = (output.text or "").expandtabs()
    if text:
        page.block("\n".join(f"    {line}" for line in text[:SHOWN_LENGTH_MAX].rstrip("\n").split("\n")))
    if len(text) > SHOWN_LENGTH_MAX:
        page.line(f"… {len(text) - SHOWN_LENGTH_MAX} more characters; `--raw` prints them")
