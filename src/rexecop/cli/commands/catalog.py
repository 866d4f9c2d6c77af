"""`rexecop catalog lint`: check a catalog of targets."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.linting import answer_findings
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="catalog")
def command() -> None:
    """Catalogs: which targets there are, and what they are meant for."""


@command.command(name="lint")
@click.argument("file")
@click.pass_obj
def lint(session: Session, file: str) -> int:
    """Say everything that is wrong in a catalog, and between it and what it names."""
    from rexecop.app.catalogs import lint_catalog

    return answer_findings(session, file, lint_catalog(Path(file)))
