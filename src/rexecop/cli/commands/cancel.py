"""`rexecop cancel`: give up an operation."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="cancel")
@takes_operation
@takes_reason
@click.pass_obj
def command(session: Session, operation: str, reason: str | None) -> int:
    """Give up an operation; what already took effect stays until `rollback`."""
    drive(session, operation, lambda instance, op: instance.cancel(op, reason))
    return 0
