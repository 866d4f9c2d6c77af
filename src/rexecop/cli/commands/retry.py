"""`rexecop retry`: try a failed operation again."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="retry")
@takes_operation
@takes_reason
@click.pass_obj
def command(session: Session, operation: str, reason: str | None) -> int:
    """Try the failed steps again, under the same plan and the same approvals."""
    return drive(session, operation, lambda instance, op: instance.retry(op, reason))
