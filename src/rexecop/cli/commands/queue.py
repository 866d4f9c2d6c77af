"""`rexecop queue`: who waits to be started; drain."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.room import queue_page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="queue")
@click.option("--drain", is_flag=True, help="Start nothing more; what runs ends.")
@click.option("--resume", is_flag=True, help="Lift the drain.")
@click.pass_obj
def command(session: Session, drain: bool, resume: bool) -> None:
    """Print who waits to be started, in order, each with what it waits for and until when."""
    from rexecop.app.room import queue_view

    if drain and resume:
        raise Usage("drain or resume, not both")
    with session.instance() as instance:
        if drain or resume:
            by = instance.identity().principal.person if drain else None
            instance.parts.lifecycle.queue.drain(by)
        view = queue_view(instance)
    quiet = "\n".join(one.operation_id for one in view.queue)
    session.answer(view, lambda page: queue_page(page, view), quiet=quiet)
