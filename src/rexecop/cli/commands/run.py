"""`rexecop run`: plan, show, ask, start and report, in one go."""

from __future__ import annotations

from typing import Unpack

import click

from rexecop.cli.driving import carry_out
from rexecop.cli.pages import facts_table, operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="run")
@click.argument("intent")
@click.argument("target", required=False)
@click.option("--reason", help="Why; recorded, and shown to approvers.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.option("--watch", is_flag=True, help="Print every record as it is written.")
@takes_request
@click.pass_obj
def command(
    session: Session,
    intent: str,
    target: str | None,
    reason: str | None,
    yes: bool,
    watch: bool,
    **asked: Unpack[Asked],
) -> int:
    """Plan INTENT on TARGET, show the plan, ask, run it, and say in one line how it ended.

    A plan that is denied, or that waits for somebody's approval, is recorded and not run.
    """
    asks = request(session, intent, target, reason, asked)
    view = carry_out(session, asks, yes=yes, watch=watch)

    def draw(page: Page) -> None:
        if view.state != "completed":
            operation_page(page, view)
            return
        facts_table(page, view.steps)
        said = f", validation {view.validation}" if view.validation else ""
        page.verdict(f"#{view.number} {view.intent} on {view.target}: {view.state}{said}", good=True)
        page.row("receipt", view.receipt or "none")

    session.answer(view, draw, quiet=view.operation_id)
    return view_exit(view)
