"""`rexecop start`: run an operation that may run."""

from __future__ import annotations

from typing import Final

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

TIMEOUT_SECONDS_MAX: Final = 7 * 24 * 3600  # A week; longer is not waiting any more.


@click.command(cls=VerbCommand, name="start")
@takes_operation
@click.option("--timeout", type=click.FloatRange(0.001, TIMEOUT_SECONDS_MAX), help="Seconds to wait.")
@click.option("--wait", is_flag=True, help="Wait for the end; it is what happens anyway.")
@click.option("--watch", is_flag=True, help="Print every record as it is written.")
@click.pass_obj
def command(session: Session, operation: str, timeout: float | None, wait: bool, watch: bool) -> int:
    """Run an operation until it ends, waits for somebody, or `--timeout` passes (9).

    Ends with 4 when an approval is missing, 5 when a lock or a window says wait, 6 when
    an outcome is unknown.
    """
    return drive(session, operation, lambda i, op: i.start(op, timeout=timeout), watch=watch)
