"""`rexecop metrics`: figures of the root, for Prometheus."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import emit
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="metrics")
@click.pass_obj
def command(session: Session) -> None:
    """Print the figures of this root in Prometheus' text format, for its textfile collector or a pipe.

    They are counted from the ledger and its index as they are now; `--json` prints them as objects.
    """
    from rexecop.app.metrics import exposition

    with session.reading() as reading:
        found = reading.metrics()
    if session.settings.output == "json":
        session.answer({"metrics": found}, lambda page: None)
    else:
        emit(exposition(found))
