"""`rexecop watch`: an operation while it runs."""

from __future__ import annotations

import sys

import click

from rexecop.cli.driving import printing
from rexecop.cli.exits import Exit
from rexecop.cli.following import TIMEOUT_SECONDS_MAX, Screen, follow
from rexecop.cli.operands import takes_exit_code, takes_operation
from rexecop.cli.pages import view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json, emit
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="watch")
@takes_operation
@click.option("--timeout", type=click.FloatRange(0.001, TIMEOUT_SECONDS_MAX), help="Seconds to watch (9).")
@takes_exit_code
@click.pass_obj
def command(session: Session, operation: str, timeout: float | None, exit_code: bool) -> int:
    """Show an operation until it ends or an outcome is unknown: steps, pace, and how long it may take.

    Without a terminal every record is a line, and with `--json` an object on a line; the last says
    where the operation stands. Watching changes nothing, and neither does leaving.
    """
    live = session.settings.output == "table" and not session.settings.quiet and sys.stdout.isatty()
    with session.reading() as reading:
        name = reading.resolve(operation)
        lines = printing(session, reading, name, sys.stdout, 0)
        show = Screen(session).draw if live else lambda _: lines()
        view = follow(reading, name, timeout, show)
        last = view or reading.status(name)
    if session.settings.output == "json":
        emit(as_json({"operation_id": last.operation_id, "state": last.state}, indent=None))
    elif not live:
        emit(f"{last.state}\n")
    return Exit.TIMEOUT if view is None else view_exit(view) if exit_code else Exit.DONE
