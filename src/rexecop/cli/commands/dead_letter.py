"""`rexecop dead-letter`: triggers that could not be planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.room import letters_page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.triggering import DeadLetter, Inbox


@click.group(cls=VerbGroup, name="dead-letter")
def command() -> None:
    """Files from the inbox that were no request that could be planned."""


@command.command(name="list", epilog="rexecop dead-letter list --json")
@click.pass_obj
def list_letters(session: Session) -> None:
    """Print every dead letter, with the reason."""
    from rexecop.app.triggering import Inbox

    with session.instance() as instance:
        found = Inbox(instance).dead()
    session.answer({"dead_letters": found}, lambda page: letters_page(page, found), quiet="\n".join(found))


@command.command(name="show", epilog="rexecop dead-letter show 3f2a")
@click.argument("name")
@click.pass_obj
def show(session: Session, name: str) -> None:
    """Print a dead letter, and what was in the file. NAME may be the beginning of its name."""
    from rexecop.app.triggering import Inbox

    with session.instance() as instance:
        letter, text = Inbox(instance).text(name)

    def draw(page: Page) -> None:
        page.row("why", f"{letter.code}: {letter.message}")
        page.block(text)

    session.answer({"letter": letter, "text": text}, draw, quiet=text)


@command.command(name="retry", epilog="rexecop dead-letter retry 3f2a")
@click.argument("name")
@click.pass_obj
def retry(session: Session, name: str) -> None:
    """Lay a dead letter into the inbox again."""
    _moved(session, lambda inbox: inbox.retry(name), "lies in the inbox again")


@command.command(name="drop", epilog="rexecop dead-letter drop 3f2a")
@click.argument("name")
@click.pass_obj
def drop(session: Session, name: str) -> None:
    """Remove a dead letter for good."""
    _moved(session, lambda inbox: inbox.drop(name), "is gone")


def _moved(session: Session, work: Callable[[Inbox], DeadLetter], words: str) -> None:
    from rexecop.app.triggering import Inbox

    with session.instance() as instance:
        letter = work(Inbox(instance))
    session.answer(letter, lambda page: page.line(f"`{letter.name}` {words}"))
