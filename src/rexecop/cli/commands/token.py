"""`rexecop token`: API tokens of the service, made, listed and revoked."""

from __future__ import annotations

from collections.abc import Sequence

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session
from rexecop.cli.tokens import check, tokens_page

_EVERYTHING = ("*",)


@click.group(cls=VerbGroup, name="token", commands=[check])
def command() -> None:
    """API tokens: who may do what at `rexecop serve`, about what, until when."""


@command.command(name="new", epilog="rexecop token new deploy --role operator --targets 'web-*'")
@click.argument("name")
@click.option("--role", "roles", multiple=True, required=True, help="What it may do; may be repeated.")
@click.option("--intents", multiple=True, default=_EVERYTHING, metavar="PATTERN", help="Only PROFILE/INTENT.")
@click.option("--targets", multiple=True, default=_EVERYTHING, metavar="PATTERN", help="Only these targets.")
@click.option("--environments", multiple=True, default=_EVERYTHING, metavar="PATTERN", help="Only in these.")
@click.option("--expires", default="30d", metavar="WHEN", help="Days or hours from now, or a date (30d).")
@click.option("--sponsor", metavar="PERSON", help="Who answers for it, with `--role agent`.")
@click.pass_obj
def new(
    session: Session,
    name: str,
    roles: Sequence[str],
    intents: Sequence[str],
    targets: Sequence[str],
    environments: Sequence[str],
    expires: str,
    sponsor: str | None,
) -> None:
    """Make a token and print it, this once.

    NAME is who asks by it: a person, service or agent that the policy packs know. PATTERNS have `*`, `?` and
    `[…]`; what is not named is not bounded.
    """
    from rexecop.app.door import ServiceScope
    from rexecop.app.tokens import TokenAsked, Tokens

    scope = ServiceScope(intents=tuple(intents), targets=tuple(targets), environments=tuple(environments))
    asked = TokenAsked(name=name, roles=roles, scope=scope, expires=expires, sponsor=sponsor)
    made = session.drive(lambda instance: Tokens(instance).new(asked))
    session.answer(made, lambda page: tokens_page(page, (made,)), quiet=made.token or "")


@command.command(name="list", epilog="rexecop token list")
@click.pass_obj
def list_tokens(session: Session) -> None:
    """Print every token that was made, never what opens the door."""
    from rexecop.app.tokens import Tokens

    with session.instance() as instance:
        found = Tokens(instance).view()
    quiet = "\n".join(one.id for one in found if one.state == "standing")
    session.answer({"tokens": found}, lambda page: tokens_page(page, found), quiet=quiet)


@command.command(name="revoke", epilog="rexecop token revoke deploy")
@click.argument("name")
@click.pass_obj
def revoke(session: Session, name: str) -> None:
    """Revoke all tokens of NAME, or the one with that id: they let nobody in from now on."""
    from rexecop.app.tokens import Tokens

    gone = session.drive(lambda instance: Tokens(instance).revoke(name))
    session.answer(
        {"tokens": gone}, lambda page: tokens_page(page, gone), quiet="\n".join(one.id for one in gone)
    )
