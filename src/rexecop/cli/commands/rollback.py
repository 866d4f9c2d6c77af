"""`rexecop rollback`: undo what an operation changed."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="rollback")
@takes_operation
@takes_reason
@click.pass_obj
def command(session: Session, operation: str, reason: str | None) -> int:
    """Undo the steps that took effect, last first, with the undo steps of the plan."""
    return drive(session, operation, lambda instance, op: instance.rollback(op, reason))
