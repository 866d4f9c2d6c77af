"""`rexecop status`: where an operation stands."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_exit_code, takes_operation
from rexecop.cli.pages import operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="status")
@takes_operation
@takes_exit_code
@click.pass_obj
def command(session: Session, operation: str, exit_code: bool) -> int:
    """Print the state, the decision, every step with how it ended, and what may follow."""
    with session.reading() as reading:
        view = reading.status(operation)
    session.answer(view, lambda page: operation_page(page, view), quiet=view.state)
    return view_exit(view) if exit_code else 0
