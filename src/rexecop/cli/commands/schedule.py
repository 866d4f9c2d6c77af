"""`rexecop schedule`: what is planned by the clock."""

from __future__ import annotations

from typing import Final

import click

from rexecop.cli.exits import Exit
from rexecop.cli.linting import answer_findings
from rexecop.cli.pages import operation_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.room import coming_page, schedules_page
from rexecop.cli.session import Session

COUNT: Final = 5
COUNT_MAX: Final = 100


@click.group(cls=VerbGroup, name="schedule")
def command() -> None:
    """Schedules: what a worker plans by the clock, by `schedules.yaml` of the root."""


@command.command(name="list", epilog="rexecop schedule list --json")
@click.pass_obj
def list_schedules(session: Session) -> None:
    """Print every schedule, when it is due next, and what became of its last moments."""
    from rexecop.app.schedules import Schedules

    with session.instance() as instance:
        found = Schedules(instance).views()
    names = "\n".join(one.name for one in found)
    session.answer({"schedules": found}, lambda page: schedules_page(page, found), quiet=names)


@command.command(name="next", epilog="rexecop schedule next nightly --count 3")
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(1, COUNT_MAX), default=COUNT, metavar="N", help="So many (5).")
@click.pass_obj
def coming(session: Session, name: str | None, count: int) -> None:
    """Print the moments that come next, of all schedules or of NAME, in UTC and as local clocks show them."""
    from rexecop.app.schedules import Schedules

    with session.instance() as instance:
        found = Schedules(instance).coming(name, count)
    moments = "\n".join(f"{one.due:%Y-%m-%dT%H:%M:%SZ} {one.name}" for one in found)
    session.answer({"coming": found}, lambda page: coming_page(page, found), quiet=moments)


@command.command(name="lint", epilog="rexecop schedule lint")
@click.pass_obj
def lint(session: Session) -> int:
    """Say everything that is wrong in `schedules.yaml`, and whether what it asks for can be planned."""
    from rexecop.app.schedules import Schedules

    with session.instance() as instance:
        return answer_findings(session, "schedules.yaml", Schedules(instance).lint())


@command.command(name="run", epilog="rexecop schedule run nightly")
@click.argument("name")
@click.pass_obj
def run(session: Session, name: str) -> int:
    """Plan now what the schedule NAME asks for; with its `start: true` a worker starts it.

    It counts as none of its moments. A plan that policy refuses is recorded, and ends with 3.
    """
    from rexecop.app.schedules import Schedules

    view = session.drive(lambda instance: Schedules(instance).run(name))
    session.answer(view, lambda page: operation_page(page, view), quiet=view.operation_id)
    return Exit.DENIED if view.state == "blocked" else Exit.DONE
