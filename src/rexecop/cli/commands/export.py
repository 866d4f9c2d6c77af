"""`rexecop export`: evidence of one operation, as a bundle or in other people's formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import may_take_operation, path
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
@click.option("--output", metavar="PATH", help="Where to write it (named after the operation).")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="bundle", help="What to write.")
@click.option("--with-outputs", is_flag=True, help="Put the kept outputs in as well.")
@click.option(
    "--schemas", metavar="DIR", help="Write the JSON Schemas of all formats there, and nothing else."
)
@click.pass_obj
def command(
    session: Session,
    operation: str | None,
    output: str | None,
    form: str,
    with_outputs: bool,
    schemas: str | None,
) -> None:
    """Write what a stranger can check offline with `rexecop verify`, or with tools that are not ours."""
    # `--output json` means the format here too; a file of that name is written `./json`.
    if output in {"table", "json", "yaml"}:
        session.flags["output"] = output
        output = None
    if schemas is not None:
        _schemas(session, Path(schemas))
        return
    if operation is None:
        raise Usage("no operation is named", next_steps=("rexecop list", "rexecop export @"))
    with session.instance() as instance:
        view = FORMATS[form](instance, instance.resolve(operation), path(output), with_outputs)
    session.answer(view, lambda page: export_page(page, view), quiet=view.path)


def _schemas(session: Session, folder: Path) -> None:
    from rexecop.app.files import write_folder
    from rexecop.app.schemas import schemas

    files = {name: as_json(schema).encode() for name, schema in schemas().items()}
    write_folder(folder, files)
    names = [str(folder / name) for name in files]
    text = "\n".join(names)
    session.answer({"schemas": names}, lambda page: page.block(text), quiet=text)
