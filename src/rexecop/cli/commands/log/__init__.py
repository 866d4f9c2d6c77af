"""`rexecop log`: the ledger's Merkle log."""

from __future__ import annotations

import click

from rexecop.cli.commands.log import checking, publishing, stamp, witness
from rexecop.cli.parsing import VerbGroup


@click.group(cls=VerbGroup, name="log")
def command() -> None:
    """The log that every record is in: checkpoints, and proofs that need no trust in this instance."""


for verb in (
    publishing.checkpoint,
    checking.verify,
    checking.prove,
    checking.consistency,
    checking.check,
    publishing.export,
    publishing.publish,
    witness.command,
    stamp.stamp,
):
    command.add_command(verb)
