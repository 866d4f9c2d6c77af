"""`rexecop receipt show`: the signed receipt."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.records import receipt_page
from rexecop.cli.render import as_json, emit
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="receipt")
def command() -> None:
    """Receipts: one per ended operation, signed by the instance."""


@command.command(name="show", epilog="rexecop receipt show @ --envelope > receipt.dsse.json")
@takes_operation
@click.option("--envelope", is_flag=True, help="Print the bare DSSE envelope, for other tools.")
@click.pass_obj
def show(session: Session, operation: str, envelope: bool) -> None:
    """Print what the operation came to, and whether the signature over it holds.

    It is judged by the keys enrolled here; `rexecop export` is for people who hold their own.
    """
    with session.reading() as reading:
        found = reading.receipt(operation)
    if envelope:
        emit(as_json(found.envelope, indent=None))
        return
    session.answer(found, lambda page: receipt_page(page, found), quiet=found.digest)
