"""`rexecop export`: cut a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import log_bound, may_take_operation, path
from rexecop.cli.pages import export_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import as_json
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.views import ExportView

Writer = Callable[["Instance", str, Path | None, bool], "ExportView"]


def _bundle(instance: Instance, operation: str, to: Path | None, with_outputs: bool) -> ExportView:
    return instance.export(operation, to, with_outputs=with_outputs)


def _cose(instance: Instance, operation: str, to: Path | None, with_outputs: bool) -> ExportView:
    from rexecop.app.cose_export import export_cose

    if with_outputs:
        raise Usage("`--format cose` holds published records and no outputs")
    return export_cose(instance, operation, to)


def _sclite(instance: Instance, operation: str, to: Path | None, with_outputs: bool) -> ExportView:
    from rexecop.app.sclite.exchange import export_folder

    return export_folder(instance, operation, to, with_outputs=with_outputs)


FORMATS: Final[Mapping[str, Writer]] = {"bundle": _bundle, "cose": _cose, "sclite": _sclite}


@click.command(cls=VerbCommand, name="export")
@may_take_operation
@click.option("--target", help="All changes of this target instead of an operation.")
@click.option("--all", "everything", is_flag=True, help="All changes of every target.")
@click.option("--since", metavar="CHECKPOINT", help="From this checkpoint on (a file, or a size of the log).")
@click.option("--until", metavar="CHECKPOINT", help="Up to this checkpoint, instead of now.")
@click.option("--output", metavar="PATH", help="Where to write it (named after the operation).")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="bundle", help="What to write.")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.option("--stamped", is_flag=True, help="Cut it at the newest checkpoint that has a time stamp.")
@click.option(
    "--schemas", metavar="DIR", help="Write the JSON Schemas of all formats there, and nothing else."
)
@click.pass_obj
def command(
    session: Session,
    operation: str | None,
    target: str | None,
    everything: bool,
    since: str | None,
    until: str | None,
    output: str | None,
    form: str,
    with_outputs: bool,
    stamped: bool,
    schemas: str | None,
) -> None:
    """Write one file that a stranger can check offline with `rexecop verify`.

    It holds one OPERATION; or, with --target or --all, every change that was recorded
    between two checkpoints, and the proof that there were no others.
    """
    # `--output json` means the format here too; a file of that name is written `./json`.
    if output in {"table", "json", "yaml"}:
        session.flags["output"] = output
        output = None
    if schemas is not None:
        _schemas(session, Path(schemas))
        return
    if (operation is not None) + (target is not None) + everything != 1:
        raise Usage("name one operation, or `--target`, or `--all`", next_steps=("rexecop export @",))
    if operation is not None and until is not None:
        raise Usage("`--until` bounds a window; an operation is exported whole")
    if stamped and (operation is None or form != "bundle"):
        raise Usage("`--stamped` is for the bundle of one operation")
    begin, end = log_bound(since), log_bound(until)
    if operation is not None and form == "bundle":
        with session.instance() as instance:
            view = instance.export(
                operation, path(output), with_outputs=with_outputs, since=begin, stamped=stamped
            )
    elif operation is not None:
        with session.instance() as instance:
            view = FORMATS[form](instance, instance.resolve(operation), path(output), with_outputs)
    else:
        view = session.drive(
            lambda instance: instance.export_window(
                target, path(output), with_outputs=with_outputs, since=begin, until=end
            )
        )
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)


def _schemas(session: Session, folder: Path) -> None:
    from rexecop.app.files import write_folder
    from rexecop.app.schemas import schemas

    files = {name: as_json(schema).encode() for name, schema in schemas().items()}
    write_folder(folder, files)
    names = [str(folder / name) for name in files]
    text = "\n".join(names)
    session.answer({"schemas": names}, lambda page: page.block(text), quiet=text)
