"""`rexecop policy`: packs of rules, before and while they are in force."""

from __future__ import annotations

import click

from rexecop.cli.commands.policy import adopting, checking, making
from rexecop.cli.parsing import VerbGroup


@click.group(cls=VerbGroup, name="policy")
def command() -> None:
    """Policy packs: check, test, try them on what was decided, and put them in force."""


for verb in (
    making.new,
    checking.check,
    checking.test,
    checking.replay,
    adopting.shadow,
    adopting.adopt,
    making.import_,
    making.sign,
):
    command.add_command(verb)
