"""`rexecop runtime status`: how the root works now."""

from __future__ import annotations

import click

from rexecop.cli.exits import Exit
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.room import runtime_page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="runtime")
def command() -> None:
    """How the root works now."""


@command.command(name="status", epilog="rexecop runtime status --json")
@click.pass_obj
def status(session: Session) -> int:
    """Print which workers live, what runs and waits, and whether the ledger can be written (else 8)."""
    from rexecop.app.room import runtime_view

    with session.instance() as instance:
        view = runtime_view(instance)
    quiet = "failed" if view.unwritable else "ok"
    session.answer(view, lambda page: runtime_page(page, view), quiet=quiet)
    return Exit.UNAVAILABLE if view.unwritable else Exit.DONE
