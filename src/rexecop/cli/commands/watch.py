"""`rexecop watch`: an operation while it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.driving import printing
from rexecop.cli.exits import Exit
from rexecop.cli.following import TIMEOUT_SECONDS_MAX, Screen, bar, follow
from rexecop.cli.operands import takes_exit_code, takes_operation
from rexecop.cli.pages import view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json, emit
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.reading import Reading
    from rexecop.app.views import OperationView

PARTS_MAX: Final = 10  # Targets with a bar of their own at a time: those that are not done yet.


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
        show = _live(session, reading) if live else lambda _: lines()
        view = follow(reading, name, timeout, show)
        last = view or reading.status(name)
    if session.settings.output == "json":
        emit(as_json({"operation_id": last.operation_id, "state": last.state}, indent=None))
    elif not live:
        emit(f"{last.state}\n")
    return Exit.TIMEOUT if view is None else view_exit(view) if exit_code else Exit.DONE


def _live(session: Session, reading: Reading) -> Callable[[OperationView], bool]:
    """Return what draws the operation over itself."""
    from rexecop.app.watching import in_words

    screen = Screen(session)

    def show(view: OperationView) -> bool:
        whole, *rest = reading.progress(view)
        parts = [whole, *[part for part in rest if part.done < part.total][:PARTS_MAX]]
        return screen.draw(view, tuple(f"{bar(p.done, p.total)} {p.part}: {in_words(p)}" for p in parts))

    return show
