"""`rexecop trigger`: ask for a plan from a script."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import parameters
from rexecop.cli.pages import operation_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    from rexecop.app.triggering import Request


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
@click.option("--start", is_flag=True, help="Let it be started when it may; a worker does.")
@click.pass_obj
def command(
    session: Session, /, source: str | None, start: bool, param: tuple[str, ...], **typed: str | None
) -> int:
    """Plan what a script or another program asks for; nobody is asked, and nothing is approved.

    The request comes from flags, or as one JSON object. Who asks is the user of the system who runs
    this. A plan that policy refuses is recorded, and ends with 3.
    """
    flags = {name: value for name, value in typed.items() if value}
    # A script's stdin may be anything: it is read only where no flag says what is asked for.
    as_json = source is not None or not (flags or start or param or sys.stdin.isatty())
    if source is not None and (flags or start or param):
        raise Usage("a request comes from flags or as JSON, not from both")
    asked = _from_json(source) if as_json else _from_flags(session, flags, param, start=start)

    from rexecop.app.triggering import trigger

    view = session.drive(lambda instance: trigger(instance, asked))
    session.answer(view, lambda page: operation_page(page, view), quiet=view.operation_id)
    return Exit.DENIED if view.state == "blocked" else Exit.DONE


def _from_json(source: str | None) -> Request:
    from rexecop.app.files import read_file
    from rexecop.app.triggering import BYTES_MAX, read_request

    if source is None or source == "-":
        return read_request(sys.stdin.buffer.read(BYTES_MAX + 1))
    return read_request(read_file(Path(source), bytes_max=BYTES_MAX))


def _from_flags(session: Session, flags: dict[str, str], param: tuple[str, ...], *, start: bool) -> Request:
    from rexecop.app.triggering import Request

    usual = {name: getattr(session.settings, name) for name in ("profile", "env", "target", "mode")}
    given = {name: str(value) for name, value in usual.items() if value is not None} | flags
    for name in ("profile", "env", "intent", "target"):
        if name not in given:
            raise Usage(f"no {name} is named; give `--{name}`, or the request as JSON", missing=name)
    return Request(parameters=parameters(param) or None, start=start, **given)
