"""`rexecop start`: run an operation that may run."""

from __future__ import annotations

from typing import Final

import click

from rexecop.cli.driving import drive, report
from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

TIMEOUT_SECONDS_MAX: Final = 7 * 24 * 3600  # A week; longer is not waiting any more.


@click.command(cls=VerbCommand, name="start")
@takes_operation
@click.option("--timeout", type=click.FloatRange(0.001, TIMEOUT_SECONDS_MAX), help="Seconds to wait.")
@click.option("--wait", is_flag=True, help="Wait for its turn and for approval, too.")
@click.option("--detach", is_flag=True, help="Let it wait in the queue for a worker; ends with 5 at once.")
@click.option("--priority", "rank", type=click.Choice(["low", "normal", "high"]), help="Else normal.")
@click.option("--watch", is_flag=True, help="Print every record as it is written.")
@click.pass_obj
def command(
    session: Session,
    operation: str,
    timeout: float | None,
    wait: bool,
    detach: bool,
    rank: str | None,
    watch: bool,
) -> int:
    """Run an operation until it ends, waits for somebody, or `--timeout` passes (9).

    Ends with 4 when an approval is missing, 5 when a lock, the capacity or a window says wait,
    6 when an outcome is unknown. What ended with 5 waits in the queue: a worker starts it.
    """
    if detach and (wait or watch or timeout is not None):
        raise Usage("`--detach` waits for nothing")
    if detach:
        with session.instance() as instance:
            view = instance.enqueue(operation, rank)
        report(session, view)
        return Exit.QUEUED
    return drive(
        session, operation, lambda i, op: i.start(op, timeout=timeout, wait=wait, priority=rank), watch=watch
    )
