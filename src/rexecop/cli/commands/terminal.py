"""`rexecop terminal`: a governed session, where each line is one operation."""

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
from rexecop.proof.vocabulary import Mode


@click.command(cls=VerbCommand, name="terminal")
@click.argument("target")
@click.option("--reason", help="Why; recorded with every line, and shown to approvers.")
@takes_request
@click.pass_obj
def command(session: Session, target: str, reason: str | None, **asked: Unpack[Asked]) -> int:
    """Open a governed session on TARGET: each line is one command, decided and recorded by itself.

    A line that policy wants approved waits under its number while the session goes on. Lines are
    also read from a pipe; `--json` prints one object for each.
    """
    if asked["profile"] is None:
        asked["profile"] = PROFILE
    if asked["mode"] not in (None, Mode.DRY_RUN):
        raise Usage("a line says itself what it is; `--mode` takes only `dry_run` here")
    asks = replace(request(session, "look", target, reason, asked), channel="terminal")
    dry = asked["mode"] is not None
    return session.drive(lambda instance: Prompt(session, instance, asks, dry=dry).serve(), begins=True)
