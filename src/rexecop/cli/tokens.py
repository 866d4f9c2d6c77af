"""What API tokens look like to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rexecop.cli.render import Page, minute

if TYPE_CHECKING:
    from rexecop.app.tokens import TokenView


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
