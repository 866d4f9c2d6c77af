"""`rexecop pause`: stop before the next step."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="pause")
@takes_operation
@takes_reason
@click.pass_obj
def command(session: Session, operation: str, reason: str | None) -> int:
    """Stop before the next step; a step that runs is finished first."""
    drive(session, operation, lambda instance, op: instance.pause(op, reason))
    return 0
