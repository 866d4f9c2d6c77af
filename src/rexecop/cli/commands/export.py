"""`rexecop export`: evidence leaves the house."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.app.formats import FORMATS
from rexecop.cli.errors import Usage
from rexecop.cli.operands import log_bound, may_take_operation, path
from rexecop.cli.pages import export_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="export")
@may_take_operation
@click.option("--target", help="All changes of this target instead of an operation.")
@click.option("--all", "everything", is_flag=True, help="All changes of every target.")
@click.option("--since", metavar="CHECKPOINT", help="From this checkpoint on (a file, or a size of the log).")
@click.option("--until", metavar="CHECKPOINT", help="Up to this checkpoint, instead of now.")
@click.option(
    "--format", "form", type=click.Choice(tuple(FORMATS)), default="bundle", help="What to write (bundle)."
)
@click.option("--output", metavar="PATH", help="Where to write it (named after what it is of).")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.option("--witnessed", is_flag=True, help="Cut it at the newest checkpoint that a witness cosigned.")
@click.option("--stamped", is_flag=True, help="Cut it at the newest checkpoint that has a time stamp.")
@click.option("--schemas", metavar="DIR", help="Write the JSON Schemas of all formats there, no evidence.")
@click.pass_obj
def command(
    session: Session,
    operation: str | None,
    target: str | None,
    everything: bool,
    since: str | None,
    until: str | None,
    form: str,
    output: str | None,
    with_outputs: bool,
    witnessed: bool,
    stamped: bool,
    schemas: str | None,
) -> None:
    """Write what a stranger can check offline with `rexecop verify`; every export is recorded.

    It holds one OPERATION; or, with --target or --all, every change recorded between two
    checkpoints, and proof that there were no others. `--format report` is a page for people.
    """
    from rexecop.app.evidence import Asked

    if output in {"table", "json", "yaml"}:  # The format, here too; a file of that name is `./json`.
        session.flags["output"], output = output, None
    if schemas is not None:
        return _schemas(session, Path(schemas))
    if (operation is not None) + (target is not None) + everything != 1:
        raise Usage("name one operation, or `--target`, or `--all`", next_steps=("rexecop export @",))
    if operation is not None and until is not None:
        raise Usage("`--until` bounds a window; an operation is exported whole")
    if witnessed and stamped:
        raise Usage("it is cut at one checkpoint: give `--witnessed` or `--stamped`")
    asked = Asked(
        form=form,
        path=path(output),
        with_outputs=with_outputs,
        since=log_bound(since),
        until=log_bound(until),
        witnessed=witnessed,
        stamped=stamped,
    )
    if operation is not None:
        with session.instance() as instance:
            view = instance.export(operation, asked)
    else:
        view = session.drive(lambda instance: instance.export_window(target, asked))
    if view.unrecorded is not None:
        session.note(f"the ledger holds no record of this export: {view.unrecorded}")
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)


def _schemas(session: Session, folder: Path) -> None:
    from rexecop.app.files import write_folder
    from rexecop.app.schemas import schemas

    files = {name: as_json(schema).encode() for name, schema in schemas().items()}
    write_folder(folder, files)
    names = [str(folder / name) for name in files]
    session.answer({"schemas": names}, lambda page: page.block("\n".join(names)), quiet="\n".join(names))
