"""`rexecop trigger`: ask for a plan from a script."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import given, parameters
from rexecop.cli.pages import operation_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    from rexecop.app.triggering import Request
    from rexecop.app.views import OperationView


@click.command(cls=VerbCommand, name="trigger")
@click.option("--file", "source", metavar="PATH", help="A JSON object; `-` is stdin, also without a flag.")
@click.option("--profile", help="The profile: a name, or a path to its `profile.yaml`.")
@click.option("--env", help="The environment: a path to its file.")
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
    `--profile` and `--env`) about which the trigger rules of the profile decide. Who asks is the user of
    the system who runs this. A plan that policy refuses is recorded, and ends with 3.
    """
    flags = {name: value for name, value in typed.items() if value}
    # A script's stdin may be anything: it is read only where no flag says what is asked for.
    if source is not None or not (flags or start or param or sys.stdin.isatty()):
        if param or flags.keys() - {"profile", "env"}:
            raise Usage("a request comes from flags or as JSON, not from both")
        return _from_json(session, source or "-", flags, start=start)
    from rexecop.app.triggering import trigger

    asked = _from_flags(session, flags, param, start=start)
    return _answer(session, session.drive(lambda instance: trigger(instance, asked)))


def _answer(session: Session, view: OperationView) -> int:
    session.answer(view, lambda page: operation_page(page, view), quiet=view.operation_id)
    return Exit.DENIED if view.state == "blocked" else Exit.DONE


def _from_json(session: Session, source: str, flags: dict[str, str], *, start: bool) -> int:
    from rexecop.app.events import read_told, take_event
    from rexecop.app.triggering import BYTES_MAX, read_request, trigger

    data = given(source, BYTES_MAX)
    places = (flags.get("profile", session.settings.profile), flags.get("env", session.settings.env))
    told = read_told(data, *places, start=start)
    if told is None and (flags or start):
        raise Usage("only an event takes `--profile`, `--env` and `--start` beside it; a request says them")
    if told is None:
        asked = read_request(data)
        return _answer(session, session.drive(lambda instance: trigger(instance, asked)))
    found = session.drive(lambda instance: take_event(instance, told))
    if found.operation is not None and found.outcome == "planned":
        return _answer(session, found.operation)
    session.answer(found, lambda page: page.line(f"{found.outcome}: {found.reason}"), quiet=found.outcome)
    return Exit.DONE


def _from_flags(session: Session, flags: dict[str, str], param: tuple[str, ...], *, start: bool) -> Request:
    from rexecop.app.triggering import AutoReact, Request

    reacts = AutoReact(flags.pop("auto_react")) if "auto_react" in flags else None
    usual = {name: getattr(session.settings, name) for name in ("profile", "env", "target", "mode")}
    named = {name: str(value) for name, value in usual.items() if value is not None} | flags
    for name in ("profile", "env", "intent", "target"):
        if name not in named:
            raise Usage(f"no {name} is named; give `--{name}`, or the request as JSON", missing=name)
    return Request(parameters=parameters(param) or None, start=start, auto_react=reacts, **named)
