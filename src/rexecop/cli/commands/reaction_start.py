"""`rexecop reaction-start`: run what a reaction planned."""

from __future__ import annotations

import click

from rexecop.cli.driving import drive
from rexecop.cli.operands import TIMEOUT_SECONDS_MAX
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="reaction-start")
@click.option("--reaction", required=True, metavar="ID", help="The reaction, or the operation it planned.")
@click.option("--timeout", type=click.FloatRange(0.001, TIMEOUT_SECONDS_MAX), help="Seconds to wait.")
@click.pass_obj
def command(session: Session, reaction: str, timeout: float | None) -> int:
    """Run the operation that a reaction planned, as `start` does; it ends as `start` does."""
    from rexecop.app.reacting import Reacting

    with session.instance() as instance:
        child = Reacting(instance).child(reaction).id
    return drive(session, child, lambda found, name: found.start(name, timeout=timeout))
