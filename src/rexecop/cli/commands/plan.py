"""`rexecop plan`: intent, plan and decision are recorded; nothing runs."""

from __future__ import annotations

from typing import Unpack

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.pages import operation_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.session import Session


def _elsewhere(_: click.Context, __: click.Parameter, value: str | None) -> None:
    """Say where what the seed's `plan` was told is told here."""
    if value is not None:
        nexts = ("rexecop trigger --auto-react plan_only", "rexecop reaction-plan --operation ID")
        raise Usage("`plan` plans no reaction; a trigger does, or you, once it ended", next_steps=nexts)


@click.command(cls=VerbCommand, name="plan")
@click.option("--intent", help="What should be done.")
@click.option("--target", help="What it should be done to.")
@click.option("--reason", help="Why; recorded, and shown to approvers.")
@click.option("--auto-react", hidden=True, expose_value=False, callback=_elsewhere)
@takes_request
@click.pass_obj
def command(
    session: Session, intent: str | None, target: str | None, reason: str | None, **asked: Unpack[Asked]
) -> int:
    """Record what would run, on what, under which rules and needing whose approval.

    No target is touched. `--quiet` prints the operation's id alone. A plan that policy
    refuses is recorded too, and ends with 3.
    """
    asks = request(session, intent, target, reason, asked)
    view = session.drive(lambda instance: instance.plan(asks), begins=True)
    session.answer(view, lambda page: operation_page(page, view), quiet=view.operation_id)
    if view.state == "blocked" and session.settings.quiet:
        session.note(view.reason or "policy refuses it")
    return Exit.DENIED if view.state == "blocked" else Exit.DONE
