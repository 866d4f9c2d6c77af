"""`rexecop approve reminders`: what waits for whose yes, and who is to be told now."""

from __future__ import annotations

from datetime import timedelta

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, short
from rexecop.cli.session import Session


@click.command(
    cls=VerbCommand, name="reminders", epilog="rexecop approve reminders --after 4 --to approvers --json"
)
@click.option(
    "--after", type=click.IntRange(1, 24 * 365), metavar="HOURS", help="Escalate what waits longer."
)
@click.option("--to", "group", metavar="GROUP", help="Whom to escalate to: everybody in that group.")
@click.pass_obj
def reminders(session: Session, after: int | None, group: str | None) -> None:
    """Print what waits for whose yes since when, and record who is reminded of it now.

    They are told by the senders in `notify.yaml` of the root, each person at most once an hour for
    one operation. What waits too long goes to whom the policy pack says, or `--to`.
    """
    from rexecop.app.reminding import Escalation, remind

    if (after is None) != (group is None):
        raise Usage("`--after HOURS` and `--to GROUP` go together")
    escalation = None
    if after is not None and group is not None:
        escalation = Escalation(after=timedelta(hours=after), group=group)
    found = session.drive(lambda instance: remind(instance, escalation))

    def draw(page: Page) -> None:
        for one in found:
            page.title(f"{one.number} {one.intent} on {one.target}", f"since {short(one.since)}")
            page.row("asked by", one.requester)
            page.row("missing", one.missing)
            if one.expires is not None:
                page.row("until", short(one.expires))
            page.row("waits for", ", ".join(one.waits_for) or "nobody who has a key that counts")
            for label, people in (("remind", one.remind), ("escalate", one.escalate)):
                if people:
                    page.row(label, ", ".join(people))
            if not one.noted:
                page.row("note", "somebody else wrote to it; the next run records reminders")
        if not found:
            page.line("nothing waits for approval")

    session.answer({"waiting": found}, draw, quiet="\n".join(one.operation_id for one in found))
