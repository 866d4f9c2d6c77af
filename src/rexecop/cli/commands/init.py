"""`rexecop init`: make a runtime root."""

from __future__ import annotations

import asyncio
import sys

import click

from rexecop.cli.errors import ConfirmationNeeded
from rexecop.cli.pages import init_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="init")
@click.option("--approver", metavar="NAME", help="Whose approver key is made; without it your own.")
@click.option("--other", multiple=True, metavar="NAME", help="One more person who works here; may repeat.")
@click.option("--sink", multiple=True, metavar="file:PATH|git:PATH", help="Where checkpoints go; may repeat.")
@click.option("--guided", is_flag=True, help="Ask for all of this.")
@click.pass_obj
def command(
    session: Session, approver: str | None, other: tuple[str, ...], sink: tuple[str, ...], guided: bool
) -> None:
    """Make a runtime root: an instance key, an approver's key, a starter pack and a `hello` profile.

    What is already there stays as it is.
    """
    from rexecop.app.build import init_root

    if guided:
        approver, other = _ask(session, approver, other)
    view = asyncio.run(init_root(session.settings, others=other, approver=approver, sinks=sink))
    if sink:
        with session.instance() as instance:
            for item in instance.log_publish():
                if item.status == "failed":
                    session.note(f"{item.name} does not take checkpoints yet: {item.message}")
    session.answer(view, lambda page: init_page(page, view), quiet=view.root)


def _ask(
    session: Session, approver: str | None, other: tuple[str, ...]
) -> tuple[str | None, tuple[str, ...]]:
    """Ask for everything, offering what was typed; the root counts as if it had been typed."""
    if not sys.stdin.isatty():
        raise ConfirmationNeeded("`--guided` asks questions and there is no terminal to ask on")
    session.flags["root"] = str(click.prompt("runtime root", default=str(session.settings.root), err=True))
    session.forget_settings()
    named = str(
        click.prompt("who approves your changes", default=approver or "", show_default=False, err=True)
    )
    people = str(
        click.prompt(
            "who else works here (names, with spaces)", default=" ".join(other), show_default=False, err=True
        )
    )
    return named.strip() or None, tuple(people.split())
