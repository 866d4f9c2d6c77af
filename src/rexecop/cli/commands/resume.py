"""`rexecop resume`: go on with a paused operation."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="resume")
@takes_operation
@click.pass_obj
def command(session: Session, operation: str) -> int:
    """Go on with an operation that was paused or whose runner died."""
    return drive(session, operation, lambda instance, op: instance.resume(op))
