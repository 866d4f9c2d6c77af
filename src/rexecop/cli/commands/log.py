"""`rexecop log`: the ledger's Merkle log."""

from __future__ import annotations

import click

from rexecop.cli.commands.log_stamp import stamp
from rexecop.cli.operands import operation_name
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page, as_json
from rexecop.cli.session import Session

_SIZE = click.IntRange(0, 2**53)


@click.group(cls=VerbGroup, name="log", commands=[stamp])
def command() -> None:
    """The log that every record is in: checkpoints, and proofs that need no trust in this instance."""


@command.command(name="checkpoint", epilog="rexecop log checkpoint > kept.checkpoint")
@click.pass_obj
def checkpoint(session: Session) -> None:
    """Print a signed checkpoint.

    Keep it, and nobody can rewind the log unseen.
    """
    with session.instance() as instance:
        note = instance.log_checkpoint()
    session.answer({"checkpoint": note}, lambda page: page.block(note), quiet=note.rstrip("\n"))


@command.command(name="verify")
@click.pass_obj
def verify(session: Session) -> None:
    """Recompute the log from its bytes.

    The first record that does not fit is named.
    """
    with session.instance() as instance:
        found = instance.log_verify()
    session.answer(found, lambda page: draw_rows(page, found))


@command.command(name="prove", epilog="rexecop log prove @ 0 --json")
@click.argument("operation")
@click.argument("n", type=_SIZE)
@click.pass_obj
def prove(session: Session, operation: str, n: int) -> None:
    """Prove that a record is in the log.

    N is its place in OPERATION, from 0.
    """
    name = operation_name(operation)
    with session.instance() as instance:
        found = instance.log_prove(instance.resolve(name), n)
    session.answer(found, lambda page: draw_rows(page, found))


@command.command(name="consistency", epilog="rexecop log consistency 1 2 --json")
@click.argument("old", type=_SIZE)
@click.argument("new", type=_SIZE)
@click.pass_obj
def consistency(session: Session, old: int, new: int) -> None:
    """Prove that the log only grew.

    OLD and NEW are sizes: the log of NEW records begins with that of OLD ones.
    """
    with session.instance() as instance:
        found = instance.log_consistency(old, new)
    session.answer(found, lambda page: draw_rows(page, found))


def draw_rows(page: Page, found: object) -> None:
    """Draw an object as labelled rows."""
    if not isinstance(found, dict):
        page.block(as_json(found))
        return
    for name, value in found.items():
        if value is None:
            continue
        items = value.splitlines() if isinstance(value, str) else value
        items = items if isinstance(items, list | tuple) else [items]
        for index, item in enumerate(items):
            page.row(
                str(name) if index == 0 else "",
                item if isinstance(item, str) else as_json(item, indent=None).strip(),
            )
