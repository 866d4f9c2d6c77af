"""`rexecop log verify`, `prove`, `consistency` and `check`: what the log shows."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import held, operation_name, takes_trust
from rexecop.cli.pages import rows_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

_SIZE = click.IntRange(0, 2**53)


@click.command(cls=VerbCommand, name="verify", epilog="rexecop log verify --checkpoint kept.checkpoint")
@click.option("--tiles", metavar="DIR", help="Check a folder that `log export` wrote; no root is needed.")
@takes_trust
@click.pass_obj
def verify(session: Session, tiles: str | None, trust: str | None, checkpoint: str | None) -> int:
    """Recompute the log from its bytes and name the first thing that does not fit.

    Ends with 7 if there is one, or no trusted key signed the checkpoint.
    """
    from rexecop.app.logs import verify_tiles

    keys, earlier = session.trusted(trust), held(checkpoint)
    if tiles is None:
        with session.reading() as reading:
            found = reading.log_verify(trust=keys, held=earlier)
    else:
        with session.counting("checked") as progress:
            found = verify_tiles(Path(tiles), trust=keys, held=earlier, progress=progress)
    session.answer(found, lambda page: rows_page(page, found), quiet=str(found["verdict"]))
    return Exit.DONE if found["bad"] is None and (tiles is None or found["signer"]) else Exit.EVIDENCE


@click.command(cls=VerbCommand, name="prove", epilog="rexecop log prove @ 0 --json")
@click.argument("operation")
@click.argument("n", type=_SIZE)
@click.pass_obj
def prove(session: Session, operation: str, n: int) -> None:
    """Prove that a record is in the log.

    N is its place in OPERATION, from 0. `log check` checks what `--json` prints.
    """
    name = operation_name(operation)
    with session.instance() as instance:
        found = instance.log_prove(instance.resolve(name), n)
    session.answer(found, lambda page: rows_page(page, found))


@click.command(cls=VerbCommand, name="consistency", epilog="rexecop log consistency 1 2 --json")
@click.argument("old", type=_SIZE)
@click.argument("new", type=_SIZE, required=False)
@click.pass_obj
def consistency(session: Session, old: int, new: int | None) -> None:
    """Prove that the log only grew.

    OLD and NEW are sizes: the log of NEW records (all, if left out) begins with that of OLD ones.
    """
    with session.instance() as instance:
        found = instance.log_consistency(old, new)
    session.answer(found, lambda page: rows_page(page, found))


@click.command(cls=VerbCommand, name="check", epilog="rexecop log check proof.json --trust keys")
@click.argument("file")
@takes_trust
@click.pass_obj
def check(session: Session, file: str, trust: str | None, checkpoint: str | None) -> int:
    """Check a proof that `log prove` or `log consistency` printed with `--json`, offline."""
    from rexecop.app.logs import check_proof

    found = check_proof(Path(file), trust=session.trusted(trust), held=held(checkpoint))
    session.answer(found, lambda page: rows_page(page, found), quiet=str(found["verdict"]))
    return Exit.DONE if found["signer"] else Exit.EVIDENCE
