"""`rexecop secrets doctor`: where secrets are."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="secrets")
def command() -> None:
    """Secrets: where references to them resolve."""


@command.command(name="doctor", epilog="rexecop secrets doctor --env environment.yaml")
@click.option("--env", help="The environment: a path to its file.")
@click.option("--catalog", help="A catalog of targets: every environment it names.")
@click.pass_obj
def doctor(session: Session, env: str | None, catalog: str | None) -> int:
    """Say where each reference resolves and what is in the way; no value is read."""
    import asyncio

    from rexecop.app.root import Root
    from rexecop.app.secrets_doctor import secrets_doctor

    named = env if catalog is not None else env or session.settings.env
    root = Root(session.settings.root)
    view = asyncio.run(secrets_doctor(root, Path(named) if named else None, session.environ, path(catalog)))

    def draw(page: Page) -> None:
        page.title("secrets", view.status)
        rows = [
            (
                item.reference,
                "failed" if item.problem else "ok",
                "; ".join(filter(None, (item.where, item.problem))),
            )
            for item in view.references
        ]
        page.table(("reference", "status", "where"), rows, whole=("reference", "status"), wrap=True)
        for problem in view.problems:
            page.item(problem)

    session.answer(view, draw, quiet=view.status)
    return Exit.FAILED if view.status == "failed" else Exit.DONE
