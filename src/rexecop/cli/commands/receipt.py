"""`rexecop receipt show`: the signed receipt."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import as_json
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="receipt")
def command() -> None:
    """Receipts: one per ended operation, signed by the instance."""


@command.command(name="show")
@takes_operation
@click.pass_obj
def show(session: Session, operation: str) -> None:
    """Print the receipt and the DSSE envelope that signs it."""
    with session.instance() as instance:
        found = instance.receipt(instance.resolve(operation))
    session.answer(found, lambda page: page.block(as_json(found)))
