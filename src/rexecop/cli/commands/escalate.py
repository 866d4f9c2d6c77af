"""`rexecop escalate`: hand an operation to people."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="escalate")
@takes_operation
@takes_reason
@click.pass_obj
def command(session: Session, operation: str, reason: str | None) -> int:
    """Hand an operation to people: it ends here, with its evidence."""
    drive(session, operation, lambda instance, op: instance.escalate(op, reason))
    return 0
