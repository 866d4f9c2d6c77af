"""`rexecop export`: cut a bundle."""

from __future__ import annotations

import click

from rexecop.cli.operands import path, takes_operation
from rexecop.cli.pages import export_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="export")
@takes_operation
@click.option("--output", metavar="FILE", help="Where to write it (`OPERATION.rxb`); a format word is one.")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.option("--stamped", is_flag=True, help="Cut it at the newest checkpoint that has a time stamp.")
@click.pass_obj
def command(session: Session, operation: str, output: str | None, with_outputs: bool, stamped: bool) -> None:
    """Write one file that a stranger can check offline with `rexecop verify`."""
    # `--output json` means the format here too; a file of that name is written `./json`.
    if output in {"table", "json", "yaml"}:
        session.flags["output"] = output
        output = None
    with session.instance() as instance:
        view = instance.export(
            instance.resolve(operation), path(output), with_outputs=with_outputs, stamped=stamped
        )
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)
