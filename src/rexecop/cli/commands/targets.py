"""`rexecop targets`: the targets of a catalog."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.pages import fields_table
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="targets")
def command() -> None:
    """Targets of a catalog, as it describes them."""


@command.command(name="list", epilog="rexecop targets list --catalog targets.yaml")
@click.option("--catalog", required=True, help="The catalog: a path to its file.")
@click.pass_obj
def list_targets(session: Session, catalog: str) -> None:
    """Print the targets of a catalog; nothing they refer to is read."""
    from rexecop.app.catalogs import open_catalog

    found, _ = open_catalog(Path(catalog))
    entries = tuple(found.targets.values())

    def draw(page: Page) -> None:
        rows = [(one.id, one.kind, one.profile_ref, one.environment_ref) for one in entries]
        page.table(("target", "kind", "profile", "environment"), rows, indent=0)

    answer = {"catalog": found.file, "digest": found.digest, "targets": [one.shown for one in entries]}
    session.answer(answer, draw, quiet="\n".join(one.id for one in entries))


@command.command(name="show", epilog="rexecop targets show this-host --catalog targets.yaml")
@click.argument("target")
@click.option("--catalog", required=True, help="The catalog: a path to its file.")
@click.pass_obj
def show(session: Session, target: str, catalog: str) -> None:
    """Print what a catalog says of TARGET, held against its profile and environment."""
    from rexecop.app.catalogs import open_catalog, place

    found, _ = open_catalog(Path(catalog))
    placed = place(found, target)
    digests = {"profile": placed.profile.digest, "environment": placed.environment.digest}
    answer = {"catalog": found.file, "digest": found.digest, "target": placed.entry.shown, "digests": digests}

    def draw(page: Page) -> None:
        page.title(target, placed.entry.kind)
        fields_table(page, answer)

    session.answer(answer, draw, quiet=target)
