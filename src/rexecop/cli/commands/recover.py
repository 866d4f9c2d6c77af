"""`rexecop recover`: name damaged records, and let a moved root go on."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.pages import recover_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="recover")
@click.option("--from", "backup", metavar="BACKUP", help="Put back what this backup has of damaged records.")
@click.option("--new-epoch", is_flag=True, help="Let this copied or restored root go on as its own.")
@click.option("--full", is_flag=True, help="Check every record, however long that takes.")
@click.option("--reason", help="Why; recorded with the new epoch.")
@click.pass_obj
def command(session: Session, backup: str | None, new_epoch: bool, full: bool, reason: str | None) -> int:
    """Check records against their hashes in the log: of what is under way, and those written last.

    Where one is damaged all are checked; it is named and set aside, and everything else keeps working.
    """
    from rexecop.app.recovering import recover

    if new_epoch != (reason is not None):
        raise Usage(
            "a new epoch needs a reason, and only a new epoch takes one",
            next_steps=("rexecop recover --new-epoch --reason TEXT",),
        )
    given = None if backup is None else Path(backup)
    view = recover(session.settings, backup=given, new_epoch=reason, full=full)
    session.answer(view, lambda page: recover_page(page, view), quiet=str(len(view.damaged)))
    return Exit.FAILED if view.unfit or view.problem else Exit.DONE
