"""Giving one's vote to somebody: what is signed is shown first; who has whose; taking it back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rexecop.app.plain import moment
from rexecop.cli.approving_beforehand import require_key
from rexecop.cli.operands import path
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.delegating import DelegationView


@click.command(
    cls=VerbCommand,
    name="delegate",
    epilog="rexecop delegate bob --until 2030-01-31 --reason leave --key approver.key",
)
@click.argument("to", metavar="PERSON")
@click.option("--until", required=True, help="The date or time (with its zone) at which it ends.")
@click.option("--reason", required=True, help="Why; recorded.")
@click.option(
    "--scope", multiple=True, help="Only for environment:NAME, intent:NAME or effect:CLASS; repeatable."
)
@click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
@click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def give(
    session: Session,
    to: str,
    until: str,
    reason: str,
    scope: Sequence[str],
    key: str | None,
    agent: bool,
    yes: bool,
) -> None:
    """Give PERSON your vote, until a date: they say yes or no for you with `approve @ --for YOU`.

    Whoever of you two votes, it is one vote. It is never passed on, and never for what either of you asked.

    `delegate list` says who has whose vote; `delegate revoke ID` takes yours back.
    """
    from rexecop.app.delegating import Delegations

    require_key(key, agent=agent)
    with session.instance() as instance:
        prepared = Delegations(instance, session.environ).prepare(
            to, until=until, scope=scope, reason=reason, key=path(key), agent=agent
        )
    if not session.settings.quiet:
        session.show(prepared.text)
    session.confirm("give your vote away like that?", yes=yes)
    say(session, session.drive(lambda instance: Delegations(instance, session.environ).give(prepared)))


@click.command(cls=VerbCommand, name="list", epilog="rexecop delegate list")
@click.pass_obj
def list_delegations(session: Session) -> None:
    """Print every delegation, newest first, and whether it stands."""
    from rexecop.app.delegating import Delegations

    with session.instance() as instance:
        found = Delegations(instance, session.environ).view()

    def draw(page: Page) -> None:
        for view in found:
            draw_delegation(page, view)
        if not found:
            page.line("nobody has given their vote away")

    session.answer({"delegations": found}, draw, quiet="\n".join(one.delegation for one in found))


@click.command(
    cls=VerbCommand, name="revoke", epilog="rexecop delegate revoke 3f2a --key approver.key --reason back"
)
@click.argument("delegation")
@click.option("--reason", required=True, help="Why; recorded.")
@click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
@click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
@click.pass_obj
def revoke(session: Session, delegation: str, reason: str, key: str | None, agent: bool) -> None:
    """Take your vote back, at once; what was said for you before that stands until you take it back too.

    DELEGATION is its digest, or the beginning of it.
    """
    from rexecop.app.delegating import Delegations

    require_key(key, agent=agent)
    say(
        session,
        session.drive(
            lambda instance: Delegations(instance, session.environ).revoke(
                delegation, reason=reason, key=path(key), agent=agent
            )
        ),
    )


def say(session: Session, view: DelegationView) -> None:
    """Print one delegation."""
    session.answer(view, lambda page: draw_delegation(page, view), quiet=view.delegation)


def draw_delegation(page: Page, view: DelegationView) -> None:
    """Draw who gave whom their vote, and for how long."""
    page.title(f"{view.delegate} for {view.giver}", view.state)
    page.row("delegation", view.delegation, whole=True)
    page.row("for", view.scope)
    page.row("since", moment(view.since))
    page.row("until", moment(view.until))
    if view.revoked is not None:
        page.row("revoked", moment(view.revoked))
    page.row("reason", view.reason)
