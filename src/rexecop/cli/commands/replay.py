"""`rexecop replay`: drive a recorded operation once more, by what was recorded of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page, as_json
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.replay.drive import ReplayView


@click.command(cls=VerbCommand, name="replay")
@takes_operation
@click.pass_obj
def command(session: Session, operation: str) -> int:
    """Drive an operation again in memory, and compare every record; nothing is touched or recorded.

    Time, answers of targets, policy, profile and what people said are those recorded. Ends with 0
    where all records come out the same, with 1 at the first that does not, both sides shown.
    """
    with session.reading() as reading:
        view = asyncio.run(reading.replay(operation, session.settings.reconcile_margin_ms))
    session.answer(view, lambda page: _draw(page, view), quiet="same" if view.same else "differs")
    return Exit.DONE if view.same else Exit.FAILED


def _draw(page: Page, view: ReplayView) -> None:
    page.title(f"#{view.number}  {view.operation_id}", view.state)
    page.verdict(
        f"{'same' if view.same else 'differs'}: {view.records} records came out the same", good=view.same
    )
    page.row("given", f"{view.given} of them were taken as recorded: what was asked, and what people said")
    if view.same:
        return
    page.row("at", f"record {view.n}, {view.kind}")
    for line in view.differences:
        page.item(line)
    for name, side in (("recorded", view.recorded), ("replayed", view.replayed)):
        page.row(name, "nothing" if side is None else as_json(side, indent=None).strip())
