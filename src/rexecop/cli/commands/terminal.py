"""`rexecop terminal`: a governed session, where each line is one operation, or a recorded one."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import click

from rexecop.cli.commands.exec import PROFILE
from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.prompting import Prompt
from rexecop.cli.session import Session
from rexecop.cli.sitting import look_on, sit_at
from rexecop.proof.vocabulary import Mode


@click.command(cls=VerbCommand, name="terminal")
@click.argument("target", required=False)
@click.option("--operation", metavar="ID", help="Sit at the recorded session that was approved as ID.")
@click.option("--join", metavar="ID", help="Look on at a recorded session that runs.")
@click.option("--reason", help="Why; recorded with every line, and shown to approvers.")
@takes_request
@click.pass_obj
def command(
    session: Session,
    target: str | None,
    operation: str | None,
    join: str | None,
    reason: str | None,
    **asked: Unpack[Asked],
) -> int:
    """Open a governed session on TARGET: each line is one command, decided and recorded by itself.

    A line that policy wants approved waits under its number while the session goes on. Lines are
    also read from a pipe; `--json` prints one object for each.

    With `--operation` it is a recorded session instead: a terminal with a person at it, approved as
    a whole, of which everything shown is kept and no single line is decided on.
    """
    if sum(one is not None for one in (target, operation, join)) != 1:
        steps = ("rexecop terminal localhost", "rexecop terminal --operation @")
        raise Usage("name a target, or an operation by `--operation` or `--join`", next_steps=steps)
    if operation is not None:
        return sit_at(session, operation)
    if join is not None:
        return look_on(session, join)
    if asked["profile"] is None:
        asked["profile"] = PROFILE
    if asked["mode"] not in (None, Mode.DRY_RUN):
        raise Usage("a line says itself what it is; `--mode` takes only `dry_run` here")
    asks = replace(request(session, "look", target, reason, asked), channel="terminal")
    dry = asked["mode"] is not None
    return session.drive(lambda instance: Prompt(session, instance, asks, dry=dry).serve(), begins=True)
