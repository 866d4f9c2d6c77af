"""`rexecop start`: run an operation that may run."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

import click

from rexecop.cli.driving import drive, report, require_one_way
from rexecop.cli.exits import Exit
from rexecop.cli.operands import takes_operation, takes_waiting
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.views import OperationView


@click.command(cls=VerbCommand, name="start")
@takes_operation
@takes_waiting
@click.option("--priority", "rank", type=click.Choice(["low", "normal", "high"]), help="Else normal.")
@click.option("--as-planned", is_flag=True, help="Although the files it was planned from are others now.")
@click.option("--watch", is_flag=True, help="Print every record as it is written.")
@click.pass_obj
def command(
    session: Session,
    operation: str,
    timeout: float | None,
    wait: bool,
    detach: bool,
    rank: str | None,
    as_planned: bool,
    watch: bool,
) -> int:
    """Run an operation until it ends, waits for somebody, or `--timeout` passes (9).

    Ends with 4 when an approval is missing, 5 when a lock, the capacity or a window says wait,
    6 when an outcome is unknown. What ended with 5 waits in the queue: a worker starts it.
    """
    require_one_way(detach=detach, waits=wait or watch or timeout is not None)
    if detach:
        with session.instance() as instance:
            view = instance.enqueue(operation, rank, as_planned=as_planned)
        report(session, view)
        return Exit.QUEUED

    def begin(instance: Instance, name: str) -> Awaitable[OperationView]:
        return instance.start(name, timeout=timeout, wait=wait, priority=rank, as_planned=as_planned)

    return drive(session, operation, begin, watch=watch)
