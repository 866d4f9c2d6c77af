"""`rexecop demo`: a tour of everything on this very machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.demo import DemoStep


@click.command(cls=VerbCommand, name="demo")
@click.option("--keep", metavar="DIR", help="Keep the root and the bundle here; else they are removed.")
@click.pass_obj
def command(session: Session, keep: str | None) -> int:
    """See an operation allowed, one approved and undone, one refused, and a tampered bundle caught.

    Needs no service, no network and no root. Everything happens in a scratch folder.
    """
    from rexecop.app.demo import run_demo

    people = session.settings.output == "table" and not session.settings.quiet

    def report(step: DemoStep) -> None:
        if people:
            session.answer(step, lambda page: step_page(page, step))

    result = run_demo(path(keep), report)

    def draw(page: Page) -> None:
        page.line()
        page.verdict(result.verdict, good=result.ok)
        if result.kept:
            page.row("bundle", result.bundle)
            trust = Path(result.bundle).with_name("trust")
            page.row("next", f"rexecop verify {result.bundle} --trust {trust}")

    session.answer(result, draw, quiet=result.bundle if result.kept else result.verdict)
    return Exit.DONE if result.ok else Exit.FAILED


def step_page(page: Page, step: DemoStep) -> None:
    """Draw one step of the tour."""
    page.title(f"{step.name}  {step.title}", "ok" if step.ok else "failed")
    for line in step.lines:
        page.item(line)
