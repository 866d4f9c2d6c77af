"""`rexecop notify`: a test of who is told how, and what was not taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rexecop.cli.exits import Exit
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page, minute
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.notices import Delivery


@click.group(cls=VerbGroup, name="notify")
def command() -> None:
    """Notices: who is told of what waits and ends, by `notify.yaml` of the root."""


@command.command(name="list", epilog="rexecop notify list")
@click.pass_obj
def listed(session: Session) -> None:
    """Print every notice that a sender did not take yet, and every component that stands told as not well."""
    from rexecop.app.turning import standing

    with session.instance() as instance:
        left = instance.parts.telling.notices.undelivered()
        told = standing(instance.parts.world.store)

    def draw(page: Page) -> None:
        for one in left:
            page.title(f"{one.notice.event} by {one.sender}", "failed")
            page.row("says", one.notice.text)
            page.row("not sent", f"{one.failed} ({one.tries} tries)")
        if not left:
            page.line("every notice was taken")
        rows = [(t.target, t.component, minute(t.since), t.state, t.group, t.intent) for t in told]
        if rows:
            page.table(("not well", "component", "since (UTC)", "was", "told", "found by"), rows, indent=0)

    session.answer({"undelivered": left, "told": told}, draw, quiet="\n".join(one.notice.id for one in left))


@command.command(name="test", epilog="rexecop notify test --sender pager")
@click.option("--sender", metavar="NAME", help="Only this one.")
@click.pass_obj
def test(session: Session, sender: str | None) -> int:
    """Send a notice that says it is a test; end with 1 if a sender does not take it."""
    return _sent(session, session.drive(lambda instance: instance.parts.telling.notices.test(sender)))


@command.command(name="retry", epilog="rexecop notify retry")
@click.pass_obj
def retry(session: Session) -> int:
    """Send once more what was not taken; end with 1 if something still is not."""
    return _sent(session, session.drive(lambda instance: instance.parts.telling.retry()))


def _sent(session: Session, sent: Sequence[Delivery]) -> int:
    failed = [one for one in sent if one.failed is not None]

    def draw(page: Page) -> None:
        for one in sent:
            page.row(one.sender, one.failed or f"{one.notice.event} was taken")
        if not sent:
            page.line("nothing was to be sent")

    session.answer({"sent": sent}, draw, quiet="\n".join(one.sender for one in failed))
    return Exit.FAILED if failed else Exit.DONE
