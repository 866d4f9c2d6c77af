"""`rexecop version`: the plain form is answered before this is loaded."""

from __future__ import annotations

import click

from rexecop import __version__
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="version")
@click.pass_obj
def command(session: Session) -> None:
    """Print the version."""
    session.answer(
        {"name": "rexecop", "version": __version__},
        lambda page: page.line(f"rexecop {__version__}"),
        quiet=__version__,
    )
