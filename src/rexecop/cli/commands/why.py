"""`rexecop why`: why an operation is as it is, or what would become of one."""

from __future__ import annotations

from typing import Unpack

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import may_take_operation
from rexecop.cli.pages import why_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="why")
@may_take_operation
@click.option("--intent", help="Ask before submitting: what would be done.")
@click.option("--target", help="Ask before submitting: to what.")
@takes_request
@click.pass_obj
def command(
    session: Session, operation: str | None, intent: str | None, target: str | None, **asked: Unpack[Asked]
) -> None:
    """Say which rule decided, what is waited for and until when, or what failed.

    With `--intent` and `--target` nothing is recorded: the answer is what policy would say to you, or
    to the person that `--as` names.
    """
    if (operation is None) == (intent is None):
        raise Usage("name either an operation, or `--intent` and `--target`", next_steps=("rexecop why @",))
    if operation is not None:
        with session.instance() as instance:
            view = instance.why(instance.resolve(operation))
    else:
        asks = request(session, intent, target, None, asked)
        with session.instance() as instance:
            view = instance.why_before(asks)
    session.answer(view, lambda page: why_page(page, view), quiet=view.state or "")
