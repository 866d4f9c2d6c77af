"""`rexecop log checkpoint`, `export` and `publish`: the log and its checkpoints leave the house."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.pages import rows_page, sinks_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="checkpoint", epilog="rexecop log checkpoint > kept.checkpoint")
@click.pass_obj
def checkpoint(session: Session) -> None:
    """Print a signed checkpoint.

    Keep it, and nobody can rewind the log unseen.
    """
    with session.instance() as instance:
        note = instance.log_checkpoint()
    session.answer({"checkpoint": note}, lambda page: page.block(note), quiet=note.rstrip("\n"))


@click.command(cls=VerbCommand, name="export", epilog="rexecop log export --tiles log")
@click.option("--tiles", metavar="DIR", required=True, help="The folder; what is there is only added to.")
@click.pass_obj
def export(session: Session, tiles: str) -> None:
    """Write the whole log as tiles (C2SP tlog-tiles), which anyone can serve and check."""
    with session.counting("exported") as progress, session.instance() as instance:
        view = instance.log_export(Path(tiles), progress)
    session.answer(view, lambda page: rows_page(page, view), quiet=tiles)


@click.command(cls=VerbCommand, name="publish", epilog="rexecop log publish")
@click.pass_obj
def publish(session: Session) -> int:
    """Give the newest checkpoint to every sink in `sinks.yaml`; ends with 1 if one did not take it."""
    with session.instance() as instance:
        views = instance.log_publish()
    session.answer({"sinks": views}, lambda page: sinks_page(page, views))
    return Exit.FAILED if any(view.status == "failed" for view in views) else Exit.DONE
