"""`rexecop ops`: what needs a person now."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, minute
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="ops")
@click.pass_obj
def command(session: Session) -> None:
    """Print what needs a person now, each with the command that is likeliest next.

    Outcomes that are unknown, work that nobody drives any more, damage, reviews, approvals that
    are missing, what is paused, and changes that failed.
    """
    with session.reading() as reading:
        found = reading.needs()

    def draw(page: Page) -> None:
        if not found:
            page.line("nothing needs a person")
        for need in found:
            page.title(f"{'' if need.number is None else f'#{need.number}  '}{need.what}", need.kind)
            asked = f", asked by {need.requester}" if need.requester else ""
            since = f", since {minute(need.since)}" if need.since is not None else ""
            page.row("why", f"{need.why}{asked}{since}")
            page.row("next", need.next, whole=True)

    session.answer({"needs": found}, draw, quiet="\n".join(need.next for need in found))
