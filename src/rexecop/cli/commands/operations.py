"""`rexecop operations`: what a profile offers, and for which targets of a catalog."""

from __future__ import annotations

from typing import Final, Unpack

import click

from rexecop.cli.errors import Usage
from rexecop.cli.offering import Place, answer_offered, found_at, takes_place
from rexecop.cli.pages import fields_table
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session

OPEN: Final = "admission_required"  # The best there is.


@click.group(cls=VerbGroup, name="operations")
def command() -> None:
    """Operations: in a catalog, the word for the intents of a profile.

    They are what `rexecop plan --intent` takes, not what `rexecop list` shows. No status says that
    anything is allowed: policy answers when it is planned.
    """


@command.command(name="list", epilog="rexecop operations list --catalog targets.yaml --target this-host")
@takes_place
@click.pass_obj
def list_operations(session: Session, **place: Unpack[Place]) -> None:
    """Print what a profile offers, with `--catalog` and `--target` how each stands for that target."""
    answer_offered(session, found_at(session, None, place))


@command.command(name="explain", epilog="rexecop operations explain show_greeting --profile hello")
@click.argument("intent")
@takes_place
@click.pass_obj
def explain(session: Session, intent: str, **place: Unpack[Place]) -> None:
    """Print everything a profile says of one operation: INTENT."""
    (one,) = found_at(session, intent, place)

    def draw(page: Page) -> None:
        page.title(intent, one.applicability.status if one.applicability else "")
        fields_table(page, one)

    session.answer(one, draw, quiet=intent)


@command.command(
    name="unavailable", epilog="rexecop operations unavailable --catalog targets.yaml --target x"
)
@click.option("--intent", help="Only this operation.")
@takes_place
@click.pass_obj
def unavailable(session: Session, intent: str | None, **place: Unpack[Place]) -> None:
    """Print what cannot be planned for a target, and why: the first thing that is in the way."""
    if place["catalog"] is None:
        raise Usage("name a target: `--catalog FILE --target NAME`", next_steps=("rexecop targets --help",))
    found = found_at(session, intent, place)
    answer_offered(session, [one for one in found if one.applicability and one.applicability.status != OPEN])
