"""`rexecop export`: cut a bundle."""

from __future__ import annotations

import click

from rexecop.app.formats import FORMATS
from rexecop.cli.operands import path, takes_operation
from rexecop.cli.pages import export_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="export")
@takes_operation
@click.option(
    "--format", "form", type=click.Choice(tuple(FORMATS)), default="bundle", help="What to write (bundle)."
)
@click.option("--output", metavar="FILE", help="Where to write it (`OPERATION.rxb`); a format word is one.")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.pass_obj
def command(session: Session, operation: str, form: str, output: str | None, with_outputs: bool) -> None:
    """Write one file that a stranger can check offline with `rexecop verify`.

    `--format report` writes a page for people, with that file in it. Every export is recorded.
    """
    # `--output json` means the format here too; a file of that name is written `./json`.
    if output in {"table", "json", "yaml"}:
        session.flags["output"] = output
        output = None
    with session.instance() as instance:
        view = instance.export(
            instance.resolve(operation), path(output), with_outputs=with_outputs, form=form
        )
    if view.unrecorded is not None:
        session.note(f"the ledger holds no record of this export: {view.unrecorded}")
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)
