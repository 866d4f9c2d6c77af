"""What a verification looks like: a ladder, claims beside it, and what was not checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rexecop.cli.render import Page

if TYPE_CHECKING:
    from rexecop.proof.verify.report import Report, Rung


def report_page(page: Page, report: Report, required: Rung) -> None:
    """Draw the answer first, then what it rests on."""
    from rexecop.proof.verify.words import report_rows

    page.verdict(report.answer(required), good=report.holds(required))
    for label, text, state in report_rows(report, required):
        page.row(label, text, state=state)
