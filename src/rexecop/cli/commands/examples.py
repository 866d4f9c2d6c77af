"""`rexecop examples`: the examples that travel in the wheel."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="examples")
def command() -> None:
    """Example profiles and environments, ready to plan with."""


@command.command(name="list")
@click.pass_obj
def list_all(session: Session) -> None:
    """Print what there is."""
    from rexecop.app.offline import list_examples

    _answer(session, [str(name) for name in list_examples()])


@command.command(name="copy")
@click.argument("destination", default=".")
@click.pass_obj
def copy(session: Session, destination: str) -> None:
    """Copy them to where they can be edited.

    They go into DESTINATION (here), to `examples/`; files that are there stay as they are.
    """
    from rexecop.app.offline import copy_examples

    _answer(session, [str(name) for name in copy_examples(Path(destination))])


def _answer(session: Session, names: list[str]) -> None:
    def draw(page: Page) -> None:
        for name in names:
            page.line(name)

    session.answer({"examples": names}, draw, quiet="\n".join(names))
