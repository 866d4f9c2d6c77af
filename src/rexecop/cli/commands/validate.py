"""`rexecop validate`: judge the result again."""

from __future__ import annotations

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import takes_operation
from rexecop.cli.pages import validation_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="validate")
@takes_operation
@click.pass_obj
def command(session: Session, operation: str) -> int:
    """Evaluate every validation rule again, with the pinned profile; no state changes."""
    with session.instance() as instance:
        view = instance.validate(instance.resolve(operation))
    session.answer(view, lambda page: validation_page(page, view), quiet=view.verdict)
    return Exit.FAILED if view.verdict == "failed" else Exit.DONE
