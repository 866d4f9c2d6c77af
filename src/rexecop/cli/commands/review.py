"""`rexecop review`: what a person must look at afterwards, and that they did."""

from __future__ import annotations

import click

from rexecop.cli.driving import report
from rexecop.cli.errors import Usage
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page, minute
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="review")
def command() -> None:
    """Reviews that policy asks for after the work, by somebody who did not ask for it."""


@command.command(name="list", epilog="rexecop review list")
@click.pass_obj
def due(session: Session) -> None:
    """Print every review that is due; those marked `overdue` keep their requester from breaking glass."""
    with session.reading() as reading:
        found = reading.reviews()

    def draw(page: Page) -> None:
        if not found:
            page.line("no review is due")
            return
        rows = [
            (str(d.number), d.intent, d.target, d.requester, minute(d.by), "overdue" if d.overdue else "due")
            for d in found
        ]
        page.table(("#", "intent", "target", "asked by", "by (UTC)", "state"), rows, indent=0)

    session.answer({"reviews": found}, draw, quiet="\n".join(d.operation_id for d in found))


@command.command(name="done", epilog="rexecop review done @ --reason 'checked the logs, all fine'")
@takes_operation
@takes_reason
@click.pass_obj
def done(session: Session, operation: str, reason: str | None) -> None:
    """Record that you reviewed an operation somebody else asked for, and with `--reason` what you found."""
    if not reason:
        raise Usage("a review needs `--reason`: what did you find", missing="reason")
    view = session.drive(lambda instance: instance.review(operation, reason))
    report(session, view)
