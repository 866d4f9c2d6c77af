"""`rexecop diff`: what changed since an operation was planned."""

from __future__ import annotations

import click

from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="diff")
@takes_operation
@click.option("--profile", help="The profile now: a name, or a path; else the one of the plan, by name.")
@click.option("--env", help="The environment now: a path to its file; else that of the catalog.")
@click.option("--observe", is_flag=True, help="Look at the targets again, by a read that is recorded.")
@click.pass_obj
def command(session: Session, operation: str, profile: str | None, env: str | None, observe: bool) -> None:
    """Print what changed since the plan: profile, environment, targets, policy, and the facts it rests on.

    No target is touched without `--observe`. The plan itself still runs as it was approved; drift of
    the facts it pinned stops it, and policy is asked again before every change.
    """
    view = session.drive(lambda instance: instance.diff(operation, profile, env, observe=observe))

    def draw(page: Page) -> None:
        page.title(f"#{view.number}  {view.operation_id}", view.state)
        for line in view.compared:
            page.row(line.verdict, line.what)
            for text in line.lines:
                page.row("", text)
        for text in view.makes:
            page.row("will make", text)

    session.answer(view, draw, quiet="changed" if view.changed else "same")
