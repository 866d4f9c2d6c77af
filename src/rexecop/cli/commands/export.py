"""`rexecop export`: cut a bundle."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import log_bound, may_take_operation, path
from rexecop.cli.pages import export_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="export")
@may_take_operation
@click.option("--target", help="All changes of this target instead of an operation.")
@click.option("--all", "everything", is_flag=True, help="All changes of every target.")
@click.option("--since", metavar="CHECKPOINT", help="From this checkpoint on (a file, or a size of the log).")
@click.option("--until", metavar="CHECKPOINT", help="Up to this checkpoint, instead of now.")
@click.option("--output", metavar="FILE", help="Where to write it (`OPERATION.rxb`); a format word is one.")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.option("--stamped", is_flag=True, help="Cut it at the newest checkpoint that has a time stamp.")
@click.pass_obj
def command(
    session: Session,
    operation: str | None,
    target: str | None,
    everything: bool,
    since: str | None,
    until: str | None,
    output: str | None,
    with_outputs: bool,
    stamped: bool,
) -> None:
    """Write one file that a stranger can check offline with `rexecop verify`.

    It holds one OPERATION; or, with --target or --all, every change that was recorded
    between two checkpoints, and the proof that there were no others.
    """
    if (operation is not None) + (target is not None) + everything != 1:
        raise Usage("name one operation, or `--target`, or `--all`", next_steps=("rexecop export @",))
    if operation is None and stamped:
        raise Usage("`--stamped` is for one operation; a window is cut at the newest checkpoint")
    if operation is not None and until is not None:
        raise Usage("`--until` bounds a window; an operation is exported whole")
    # `--output json` means the format here too; a file of that name is written `./json`.
    if output in {"table", "json", "yaml"}:
        session.flags["output"] = output
        output = None
    begin, end = log_bound(since), log_bound(until)
    if operation is not None:
        with session.instance() as instance:
            view = instance.export(
                operation, path(output), with_outputs=with_outputs, since=begin, stamped=stamped
            )
    else:
        view = session.drive(
            lambda instance: instance.export_window(
                target, path(output), with_outputs=with_outputs, since=begin, until=end
            )
        )
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)
