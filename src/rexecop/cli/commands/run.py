"""`rexecop run`: plan, show, ask, start and report, in one go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from rexecop.cli.driving import watched
from rexecop.cli.pages import facts_table, operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.views import OperationView


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
    session.require_answers(yes=yes)

    async def work(instance: Instance) -> OperationView:
        view = await instance.plan(asks)
        if view.state != "approved":
            return view
        if not yes:
            session.show(instance.preview(view.operation_id))
        session.confirm(f"run `{view.intent}` on `{view.target}` ({view.mode})?", yes=yes)
        started = instance.start(view.operation_id)
        return await watched(session, instance, view.operation_id, started, watch=watch)

    view = session.drive(work, begins=True)

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
