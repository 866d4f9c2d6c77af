"""`rexecop history`: the records of an operation."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_operation
from rexecop.cli.pages import history_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="history")
@takes_operation
@click.pass_obj
def command(session: Session, operation: str) -> None:
    """Print every record of an operation, in causal order; `--json` prints their bodies too."""
    with session.reading() as reading:
        view = reading.status(operation)
        records = reading.history(view.operation_id)
    found = {"operation_id": view.operation_id, "state": view.state, "records": records}
    session.answer(found, lambda page: history_page(page, records), quiet=view.operation_id)
