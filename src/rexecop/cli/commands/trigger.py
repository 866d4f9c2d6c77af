"""`rexecop trigger`: ask for a plan from a script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import given
from rexecop.cli.pages import operation_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session
from rexecop.cli.triggering import asked_by_flags
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    from rexecop.app.views import OperationView


@click.command(cls=VerbCommand, name="trigger")
@click.option("--file", "source", metavar="PATH", help="A JSON object; `-` is stdin, also without a flag.")
@click.option("--profile", help="The profile: a name, or a path to its `profile.yaml`.")
@click.option("--env", help="The environment: a path to its file.")
@click.option("--catalog", help="A catalog of targets: it names profile and environment of `--target`.")
@click.option("--intent", help="What should be done.")
@click.option("--target", help="What it should be done to.")
@click.option("--mode", type=click.Choice([m.value for m in Mode]), help="How far it may go: dry_run.")
@click.option("--param", "-p", multiple=True, metavar="K=V", help="`name=text`, or `name:=json`.")
@click.option("--reason", help="Why; recorded.")
@click.option("--idempotency-key", help="The same key and request give the same operation.")
@click.option("--start", "--auto-start", is_flag=True, help="Let it be started when it may; a worker does.")
@click.option("--auto-react", type=click.Choice(["plan_only"]), help="Plan what follows when it ended, too.")
@click.pass_obj
def command(
    session: Session, /, source: str | None, start: bool, param: tuple[str, ...], **typed: str | None
) -> int:
    """Plan what a script or another program asks for; nobody is asked, and nothing is approved.

    The request comes from flags, or as one JSON object: what to plan, or an event (a CloudEvent, with
    `--profile`, and `--env` or `--catalog`) about which the trigger rules of the profile decide. Who asks
    is the user of the system who runs this. A plan that policy refuses is recorded, and ends with 3.
    """
    flags = {name: value for name, value in typed.items() if value}
    # A script's stdin may be anything: it is read only where no flag says what is asked for.
    as_json = source is not None or not (flags or start or param or sys.stdin.isatty())
    if as_json:
        if param or flags.keys() - {"profile", "env", "catalog"}:
            raise Usage("a request comes from flags or as JSON, not from both")
        return _from_json(session, source or "-", flags, start=start)
    from rexecop.app.triggering import trigger

    asked, through = asked_by_flags(session, flags, param, start=start)
    return _answer(session, session.drive(lambda instance: trigger(instance, asked, catalog=through)))


def _answer(session: Session, view: OperationView) -> int:
    session.answer(view, lambda page: operation_page(page, view), quiet=view.operation_id)
    return Exit.DENIED if view.state == "blocked" else Exit.DONE


def _from_json(session: Session, source: str, flags: dict[str, str], *, start: bool) -> int:
    from rexecop.app.events import read_told, take_event
    from rexecop.app.triggering import BYTES_MAX, read_request, trigger

    data = given(source, BYTES_MAX)
    places = (flags.get("profile", session.settings.profile), flags.get("env", session.settings.env))
    told = read_told(data, *places, catalog=flags.get("catalog"), start=start)
    if told is None and (flags or start):
        words = "only an event takes `--profile`, `--env`, `--catalog` and `--start` beside it"
        raise Usage(f"{words}; a request says them")
    if told is None:
        asked = read_request(data)
        return _answer(session, session.drive(lambda instance: trigger(instance, asked)))
    found = session.drive(lambda instance: take_event(instance, told))
    if found.operation is not None and found.outcome == "planned":
        return _answer(session, found.operation)
    session.answer(found, lambda page: page.line(f"{found.outcome}: {found.reason}"), quiet=found.outcome)
    return Exit.DONE
