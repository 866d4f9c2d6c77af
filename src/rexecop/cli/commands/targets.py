"""`rexecop targets`: the targets of a catalog."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session

_LIST = "rexecop targets list --catalog examples/catalogs/targets.readonly.example.yaml"
_SHOW = "rexecop targets show this-host --catalog examples/catalogs/targets.readonly.example.yaml"


@click.group(cls=VerbGroup, name="targets")
def command() -> None:
    """Targets of a catalog, as it describes them."""


@command.command(name="list", epilog=_LIST)
@click.option("--catalog", required=True, help="The catalog: a path to its file.")
@click.pass_obj
def list_targets(session: Session, catalog: str) -> None:
    """Print the targets of a catalog; nothing they refer to is read."""
    from rexecop.app.catalogs import open_catalog, target_lines

    found, _ = open_catalog(Path(catalog))
    lines = target_lines(found)

    def draw(page: Page) -> None:
        rows = [
            (one.id, one.target_kind, one.profile_ref, one.environment_ref, str(len(one.capabilities)))
            for one in lines
        ]
        page.table(("target", "kind", "profile", "environment", "capabilities"), rows, indent=0)

    answer = {"catalog": found.file, "digest": found.digest, "targets": lines}
    session.answer(answer, draw, quiet="\n".join(one.id for one in lines))


@command.command(name="show", epilog=_SHOW)
@click.argument("target")
@click.option("--catalog", required=True, help="The catalog: a path to its file.")
@click.pass_obj
def show(session: Session, target: str, catalog: str) -> None:
    """Print what a catalog says of TARGET, held against its profile and environment."""
    from rexecop.app.catalogs import open_catalog, place, target_line

    found, _ = open_catalog(Path(catalog))
    placed = place(found, target)
    line, profile, environment = target_line(placed.entry), placed.profile, placed.environment

    def draw(page: Page) -> None:
        page.title(line.id, line.target_kind)
        page.row("catalog", f"{placed.entry.where()} {found.digest}")
        page.row("profile", f"{profile.name} {profile.version} {profile.digest}")
        page.row("environment", f"{environment.id} {environment.digest}")
        page.row("there called", line.environment_target)
        page.row("has", ", ".join(line.capabilities) or "no capabilities")
        page.row("reached by", ", ".join(line.connector_refs) or "nothing")
        for name, value in line.classification.items():
            page.row(name, str(value))

    answer = {
        "catalog": found.file,
        "digest": found.digest,
        "target": line,
        "profile": {"name": profile.name, "version": profile.version, "digest": profile.digest},
        "environment": {"id": environment.id, "digest": environment.digest},
    }
    session.answer(answer, draw, quiet=line.id)
