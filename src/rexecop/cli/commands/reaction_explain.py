"""`rexecop reaction-explain`: what follows from an observation, and by which rules."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import operation_name
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.reacting import reaction_page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="reaction-explain")
@click.option("--reaction", metavar="ID", help="A reaction that planned something, or is in `ops`.")
@click.option("--operation", metavar="ID", help="An operation that looked, or that a reaction planned.")
@click.option("--target", help="Whose facts, where the operation has several targets.")
@click.pass_obj
def command(session: Session, reaction: str | None, operation: str | None, target: str | None) -> None:
    """Say which rules hold, which one decides, and what would follow or did; nothing is planned."""
    from rexecop.app.reacting import Reacting

    if (reaction is None) is (operation is None):
        raise Usage("name one: `--reaction ID`, or `--operation ID`", missing="reaction")
    with session.instance() as instance:
        view = Reacting(instance).explain(reaction or operation_name(str(operation)), target)
    session.answer(view, lambda page: reaction_page(page, view), quiet=view.reaction_id)
