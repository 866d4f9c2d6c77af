"""`rexecop locks`: which targets are locked."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.room import locks_page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="locks")
@click.pass_obj
def command(session: Session) -> None:
    """Print every lock, by target, with the operation that holds it.

    What changes a target has it alone, what only reads it shares it. An operation keeps its
    locks from its start to its receipt, also while it is paused; ending it gives them back.
    """
    from rexecop.app.room import locks_view

    with session.instance() as instance:
        found = locks_view(instance)
    quiet = "\n".join(one.target for one in found)
    session.answer({"locks": found}, lambda page: locks_page(page, found), quiet=quiet)
