"""`rexecop list`: operations, a page at a time."""

from __future__ import annotations

from typing import Final

import click

from rexecop.cli.operands import since
from rexecop.cli.pages import operations_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import State

LIMIT_MAX: Final = 1000  # A page that is still read at once; `--after` gives the next.


@click.command(cls=VerbCommand, name="list")
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only these.")
@click.option("--intent", metavar="NAME", help="Only this intent; `profile/intent` tells two apart.")
@click.option("--target", metavar="NAME", help="Only what was asked for on this target or group.")
@click.option("--requester", metavar="PERSON", help="Only what this person asked for.")
@click.option("--environment", metavar="ID", help="Only those of this environment.")
@click.option("--since", "past", metavar="TIME", help="Only those planned since: `2h`, `3d`, or a date.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=100, help="At most so many (100).")
@click.option("--after", type=click.IntRange(0, 10**9), default=0, help="Only those older than this number.")
@click.pass_obj
def command(
    session: Session,
    state: str | None,
    intent: str | None,
    target: str | None,
    requester: str | None,
    environment: str | None,
    past: str | None,
    limit: int,
    after: int,
) -> None:
    """Print operations, the newest first."""
    named = {"intent": intent, "target": target, "requester": requester, "environment": environment}
    where = {name: value for name, value in named.items() if value is not None}
    begin = None if past is None else since(past)
    with session.reading() as reading:
        lines = reading.list(state=state, after=after, limit=limit, where=where, since=begin)
    more = min((line.number for line in lines), default=0) if len(lines) == limit else None
    again = {"state": state, **where, "since": past}
    words = "".join(f" --{name} {value}" for name, value in again.items() if value is not None)

    def draw(page: Page) -> None:
        operations_page(page, lines)
        if more is not None:
            page.line(f"more: rexecop list{words} --after {more}")

    quiet = "\n".join(line.operation_id for line in lines)
    session.answer({"operations": lines, "next_after": more}, draw, quiet=quiet)
