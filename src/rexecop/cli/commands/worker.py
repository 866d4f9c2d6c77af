"""`rexecop worker run`: start what may start, and go on with what others left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance

POLL_SECONDS: Final = 1.0
POLL_SECONDS_MAX: Final = 4.0  # What died elsewhere is taken over within 5 s after its lease ran out.


@click.group(cls=VerbGroup, name="worker")
def command() -> None:
    """Processes that drive what waits."""


@command.command(name="run", epilog="rexecop worker run --watch-inbox")
@click.option("--once", is_flag=True, help="End when nothing may go on any more.")
@click.option(
    "--poll-interval",
    type=click.FloatRange(0.05, POLL_SECONDS_MAX),
    default=POLL_SECONDS,
    metavar="S",
    help="Seconds between two looks (1).",
)
@click.option("--watch-inbox", is_flag=True, help="Plan what is laid into the root's `inbox`, too.")
@click.option(
    "--engine",
    type=click.Choice(("embedded", "dbos")),
    default="embedded",
    help="Who shares out work: each worker for itself, or a queue in PostgreSQL.",
)
@click.pass_obj
def run(session: Session, once: bool, poll_interval: float, watch_inbox: bool, engine: str) -> None:
    """Start what waits in the queue when it may, and take over what a dead process left.

    SIGTERM ends it: calls that run are waited for, and what is not done is left to the next
    worker. A second one ends the calls, too.
    """

    async def work(instance: Instance) -> int:
        from rexecop.app.worker import Worker, serve

        if engine == "embedded":
            return await serve(Worker(instance, once, poll_interval, watch_inbox))
        from rexecop.app.fleet import fleet_worker

        return await serve(fleet_worker(instance, once, poll_interval, watch_inbox))

    driven = session.drive(work)
    session.answer({"driven": driven}, lambda page: page.line(f"operations driven: {driven}"))
