"""`rexecop show`: the plan, exactly as an approver sees it."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_exit_code, takes_operation
from rexecop.cli.pages import awaiting_rows, next_rows, progress_rows, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session
from rexecop.cli.signing import write_request


@click.command(cls=VerbCommand, name="show")
@takes_operation
@click.option("--request", metavar="FILE", help="Write a request that approvers answer on their own machine.")
@takes_exit_code
@click.pass_obj
def command(session: Session, operation: str, request: str | None, exit_code: bool) -> int:
    """Print the plan: the text whose digest an approval signs, and a call that waits for one of its own."""
    if request is not None:
        write_request(session, operation, request)
    with session.reading() as reading:
        view = reading.status(operation)
        preview = reading.preview(view.operation_id)
    found = {
        "operation_id": view.operation_id,
        "state": view.state,
        "preview": preview,
        "progress": view.progress,
        "awaiting": view.awaiting,
        "next": view.next,
    }

    def draw(page: Page) -> None:
        page.title(f"#{view.number}  {view.operation_id}", view.state)
        page.block(preview)
        page.line()
        if view.progress is not None and view.progress.ended:
            progress_rows(page, view.progress)
        if view.awaiting is not None:
            awaiting_rows(page, view.awaiting)
        next_rows(page, view.next)

    session.answer(found, draw, quiet=view.operation_id)
    return view_exit(view) if exit_code else 0
