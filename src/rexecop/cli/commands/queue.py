"""`rexecop queue`: who waits to be started; drain, and out of it."""

from __future__ import annotations

import click

from rexecop.cli.operands import operation_name
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.room import queue_page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="queue")
@click.option("--drain/--resume", default=None, help="Start nothing more; what runs ends. Or lift that.")
@click.option("--leave", metavar="ID", help="Take this operation out: nobody starts it; it stays as it is.")
@click.pass_obj
def command(session: Session, drain: bool | None, leave: str | None) -> None:
    """Print who waits to be started or to go on, in order, each with what it waits for and until when."""
    from rexecop.app.room import queue_view

    with session.instance() as instance:
        if leave is not None:
            instance.parts.lifecycle.queue.leave(instance.operation(operation_name(leave)))
        if drain is not None:
            by = instance.identity().principal.person if drain else None
            instance.parts.lifecycle.queue.drain(by)
        view = queue_view(instance)
    quiet = "\n".join(one.operation.operation_id for one in view.queue)
    session.answer(view, lambda page: queue_page(page, view), quiet=quiet)
