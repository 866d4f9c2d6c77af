"""`rexecop standing`: approvals given beforehand, for what may be done again within bounds."""

from __future__ import annotations

import click

from rexecop.cli.approving_beforehand import draw_standing, new, require_key, say
from rexecop.cli.operands import path, takes_reason
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="standing", commands=[new])
def command() -> None:
    """Standing approvals: a signed yes to plans like one that was looked at, so many times, until a date."""


@command.command(name="list", epilog="rexecop standing list")
@click.pass_obj
def list_standing(session: Session) -> None:
    """Print every standing approval, and how much of it is used."""
    with session.instance() as instance:
        found = instance.standing_list()

    def draw(page: Page) -> None:
        for view in found:
            draw_standing(page, view)
        if not found:
            page.line("nobody has given a standing approval")

    session.answer({"standing": found}, draw, quiet="\n".join(view.standing for view in found))


@command.command(name="revoke", epilog="rexecop standing revoke 3f2a --key approver.key")
@click.argument("standing")
@click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
@click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
@takes_reason
@click.pass_obj
def revoke(session: Session, standing: str, key: str | None, agent: bool, reason: str | None) -> None:
    """Take a standing approval back, at once; what has started goes on.

    STANDING is its digest, or the beginning of it.
    """
    require_key(key, agent=agent)
    say(
        session,
        session.drive(
            lambda instance: instance.standing_revoke(standing, key=path(key), agent=agent, reason=reason)
        ),
    )
