"""`rexecop operations`: what a profile offers, and for which targets of a catalog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.catalogs import Offered

F = TypeVar("F", bound=Callable[..., int | None])

OPEN: Final = "admission_required"  # The best there is: the loader of the words is not loaded for one.
_CATALOG = "--catalog examples/catalogs/targets.readonly.example.yaml --target this-host"


def _takes_place(function: F) -> F:
    for option in (
        click.option("--target", help="With `--catalog`: the target, as the catalog calls it."),
        click.option("--catalog", help="A catalog of targets: a path to its file."),
        click.option("--profile", help="The profile: a name, or a path; else the one of the target."),
    ):
        function = option(function)
    return function


@click.group(cls=VerbGroup, name="operations")
def command() -> None:
    """Operations: in a catalog, the word for the intents of a profile.

    They are what `rexecop plan --intent` takes, not what `rexecop list` shows. No status says that
    anything is allowed: policy answers when it is planned.
    """


@command.command(name="list", epilog="rexecop operations list --profile hello")
@_takes_place
@click.pass_obj
def list_operations(session: Session, profile: str | None, catalog: str | None, target: str | None) -> None:
    """Print what a profile offers, with `--catalog` and `--target` how each stands for that target."""
    _answer(session, _found(session, profile, catalog, target, None))


@command.command(name="explain", epilog="rexecop operations explain show_greeting --profile hello")
@click.argument("intent")
@_takes_place
@click.pass_obj
def explain(
    session: Session, intent: str, profile: str | None, catalog: str | None, target: str | None
) -> None:
    """Print everything a profile says of one operation: INTENT."""
    (one,) = _found(session, profile, catalog, target, intent)
    offer, found = one.operation, one.applicability

    def draw(page: Page) -> None:
        page.title(offer.operation, "" if found is None else found.status)
        page.row("does", offer.summary or offer.title)
        page.row("profile", f"{offer.profile} {offer.profile_version}")
        page.row("for", ", ".join(offer.target_kinds) or "any kind of target")
        page.row("needs", ", ".join(offer.required_capabilities) or "no capabilities")
        page.row("reaches by", ", ".join(offer.required_connectors) or "nothing")
        page.row("effect", f"{offer.effect}, risk {offer.risk or 'unknown'}")
        page.row("side effects", offer.side_effect_class or "not said")
        page.row("modes", ", ".join(offer.modes))
        page.row("runbook", offer.runbook or "none")
        page.row("digest", one.digest)
        if found is not None:
            page.row("here", found.reason)

    session.answer(one, draw, quiet=offer.operation)


@command.command(name="unavailable", epilog=f"rexecop operations unavailable {_CATALOG}")
@click.option("--intent", help="Only this operation.")
@_takes_place
@click.pass_obj
def unavailable(
    session: Session, intent: str | None, profile: str | None, catalog: str | None, target: str | None
) -> None:
    """Print what cannot be planned for a target, and why: the first thing that is in the way."""
    if catalog is None or target is None:
        raise Usage("name a target: `--catalog FILE --target NAME`", next_steps=("rexecop targets --help",))
    found = _found(session, profile, catalog, target, intent)
    _answer(session, [one for one in found if one.applicability and one.applicability.status != OPEN])


def _found(
    session: Session, profile: str | None, catalog: str | None, target: str | None, intent: str | None
) -> Sequence[Offered]:
    from rexecop.app.catalogs import offered

    if (catalog is None) != (target is None):
        raise Usage("`--catalog` and `--target` go together", next_steps=("rexecop targets --help",))
    if catalog is None and not (profile := profile or session.settings.profile):
        raise Usage("name a profile, or a catalog and a target", next_steps=("rexecop profile list",))
    return offered(profile, None if catalog is None else Path(catalog), target, intent)


def _answer(session: Session, found: Sequence[Offered]) -> None:
    def draw(page: Page) -> None:
        rows = [
            (
                one.operation.operation,
                one.applicability.status if one.applicability else str(one.operation.effect),
                one.applicability.reason if one.applicability else one.operation.title,
            )
            for one in found
        ]
        if not rows:
            page.line("no operation is unavailable")
        heads = (
            ("operation", "status", "why")
            if found and found[0].applicability
            else ("operation", "effect", "does")
        )
        if rows:
            page.table(heads, rows, indent=0, whole=("operation",), wrap=True)

    session.answer({"operations": found}, draw, quiet="\n".join(one.operation.operation for one in found))
