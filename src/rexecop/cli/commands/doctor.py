"""`rexecop doctor`: check root, keys and machine."""

from __future__ import annotations

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.pages import doctor_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="doctor")
@click.option("--fix", is_flag=True, help="Repair what can be repaired: the index, an older schema.")
@click.option("--catalog", help="Look at a catalog of targets, too.")
@click.pass_obj
def command(session: Session, fix: bool, catalog: str | None) -> int:
    """Check storage, keys, policy, clock and which isolation this machine reaches."""
    if fix:
        from rexecop.app.build import migrate

        before, after = migrate(session.settings) or (0, 0)
        if before != after:
            session.note(f"the ledger's schema was brought from {before} to {after}")
    with session.instance() as instance:
        view = instance.check(fix=fix, catalog=path(catalog))
    session.answer(view, lambda page: doctor_page(page, view), quiet=view.status)
    return Exit.FAILED if view.status == "failed" else Exit.DONE
