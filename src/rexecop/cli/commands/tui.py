"""`rexecop tui`: the operator's console in a terminal."""

from __future__ import annotations

import importlib.util
import sys

import click

from rexecop.cli.errors import ConfirmationNeeded
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="tui")
@click.pass_obj
def command(session: Session) -> None:
    """Show what waits, what runs and what is over; approve, deny, start, pause and cancel.

    There is no way from here to a shell or to a file, so it may be the forced command of an SSH key.
    """
    from rexecop.app.errors import ExtraMissing

    if importlib.util.find_spec("textual") is None:
        raise ExtraMissing("`tui` needs the extra `tui`", next_steps=("pip install '.[tui]'",))
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        steps = ("rexecop list", "rexecop status @")
        raise ConfirmationNeeded("the console needs a terminal; `list` and `status` do not", next_steps=steps)
    from rexecop.cli.console import Console

    with session.instance() as instance:
        Console(instance, str(session.settings.root)).run()
