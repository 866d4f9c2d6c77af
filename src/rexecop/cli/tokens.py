"""What API tokens look like to people, and whom one would let in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.operands import given
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, minute
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.tokens import TokenView

TOKEN_BYTES_MAX: Final = 16 * 1024  # As long as one is read by the service.


@click.command(cls=VerbCommand, name="check", epilog="rexecop token check token.txt")
@click.argument("file")
@click.pass_obj
def check(session: Session, file: str) -> None:
    """Say whom the token in FILE (`-`: what is piped in) would let in now, as what; or why nobody.

    It may be of this root or of its identity provider, who is asked for its keys.
    """
    from rexecop.app.doors import looked_at

    token = given(file, TOKEN_BYTES_MAX).decode("utf-8", "replace").strip()
    found = session.drive(lambda instance: looked_at(instance, token))
    principal, roles = found.identity.principal, sorted(found.roles)
    said = {"name": found.name, "principal": principal, "roles": roles, "scope": found.scope}

    def draw(page: Page) -> None:
        page.title(found.name, str(principal.established))
        page.row("credential", principal.credential, whole=True)
        page.row("as", ", ".join(roles) or "nothing: no role")
        for name in ("intents", "targets", "environments"):
            page.row(name, " ".join(getattr(found.scope, name)) or "none")

    session.answer({**said, "sponsor": found.sponsor}, draw, quiet=found.name)


def tokens_page(page: Page, tokens: Sequence[TokenView]) -> None:
    """Draw tokens; of a new one what opens the door, too."""
    rows = [
        [one.id, one.name, one.state, " ".join(one.roles), _scope(one), minute(one.expires)] for one in tokens
    ]
    page.table(["token", "of", "is", "as", "for", "until (UTC)"], rows, indent=0, whole=("token", "is"))
    for one in tokens:
        if one.token is not None:
            page.row("token", f"{one.token}  (shown this once)", whole=True)
    if not tokens:
        page.line("no tokens: `rexecop token new NAME --role ROLE` makes one")


def _scope(token: TokenView) -> str:
    scope = token.scope
    named = [" ".join(part) for part in (scope.intents, scope.targets, scope.environments) if part != ("*",)]
    behalf = [f"by {token.sponsor}"] if token.sponsor is not None else []
    return "; ".join([*named, *behalf]) or "everything"
