"""`rexecop schema`: JSON Schemas of the files that people write, for editors."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, as_json
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="schema")
@click.argument("name", metavar="FORMAT", required=False)
@click.option("--all", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Write every schema.")
@click.pass_obj
def command(session: Session, name: str | None, folder: Path | None) -> None:
    """List the formats that people write, or print the schema of FORMAT.

    With `--all` every schema goes into the new folder DIR, one file each.
    """
    from rexecop.app.written import format_schema, formats

    if name is not None and folder is not None:
        raise Usage("give a FORMAT or `--all DIR`, not both")
    if name is not None:
        schema = format_schema(name)
        session.answer(schema, lambda page: page.block(as_json(schema)), quiet=as_json(schema))
        return
    known = formats()
    if folder is not None:
        from rexecop.app.files import write_folder

        made = {f"{one.name}.json": as_json(format_schema(one.name)).encode() for one in known}
        write_folder(folder, made)
        names = [str(folder / file) for file in made]
        session.answer({"schemas": names}, lambda page: page.block("\n".join(names)), quiet="\n".join(names))
        return

    def draw(page: Page) -> None:
        page.table(("format", "written in"), [(one.name, one.where) for one in known], indent=0)

    session.answer({"formats": known}, draw, quiet="\n".join(one.name for one in known))
