"""`rexecop env lint`: check an environment."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.linting import answer_findings
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="env")
def command() -> None:
    """Environments: targets, and where connectors reach them."""


@command.command(name="lint")
@click.argument("file")
@click.pass_obj
def lint(session: Session, file: str) -> int:
    """Say everything that is wrong in an environment file."""
    from rexecop.app.offline import lint_environment

    return answer_findings(session, file, lint_environment(Path(file)))
