"""What is offered, by a profile or for a target of a catalog: where it is looked for, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypedDict, TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import path
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.catalogs import Offered

F = TypeVar("F", bound=Callable[..., int | None])

_OPTIONS: Final = (
    click.option("--profile", help="The profile: a name, or a path; else the one of the target."),
    click.option("--catalog", help="A catalog of targets: a path to its file."),
    click.option("--target", help="With `--catalog`: the target, as the catalog calls it."),
)


class Place(TypedDict):
    """Where operations are looked for, as typed."""

    profile: str | None
    catalog: str | None
    target: str | None


def takes_place(function: F) -> F:
    """Give a command the options that say where operations are looked for."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def found_at(session: Session, intent: str | None, place: Place) -> Sequence[Offered]:
    """Return what is offered there, or `intent` alone.

    Raises:
        Usage: too little is named.
    """
    from rexecop.app.catalogs import offered

    profile, catalog, target = place["profile"], place["catalog"], place["target"]
    if (catalog is None) != (target is None):
        raise Usage("`--catalog` and `--target` go together", next_steps=("rexecop targets --help",))
    if catalog is None and not (profile := profile or session.settings.profile):
        raise Usage("name a profile, or a catalog and a target", next_steps=("rexecop profile list",))
    return offered(profile, path(catalog), target, intent)


def answer_offered(session: Session, found: Sequence[Offered]) -> None:
    """Print what is offered, a line for each."""

    def draw(page: Page) -> None:
        rows = [
            (one.operation.operation, stands.status, stands.reason)
            if (stands := one.applicability)
            else (one.operation.operation, str(one.operation.effect), one.operation.title)
            for one in found
        ]
        if not rows:
            return page.line("no operation")
        more = ("status", "why") if found[0].applicability else ("effect", "does")
        page.table(("operation", *more), rows, indent=0, whole=("operation",), wrap=True)

    session.answer({"operations": found}, draw, quiet="\n".join(one.operation.operation for one in found))
