"""`rexecop log witness`: asking for cosignatures, giving and keeping them, over files and pipes."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.operands import given
from rexecop.cli.pages import rows_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import emit
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="witness")
def command() -> None:
    """Witnesses say how much of a log they saw, so that nobody can unsay it (C2SP tlog-witness)."""


@command.command(name="request", epilog="rexecop log witness request > request")
@click.option("--since", type=click.IntRange(0, 2**53), help="Size that the witness last saw.")
@click.pass_obj
def request(session: Session, since: int | None) -> None:
    """Print the request to cosign the newest checkpoint.

    Without `--since` it starts from the newest checkpoint that a witness cosigned.
    """
    with session.instance() as instance:
        text = instance.witness_request(since)
    session.answer({"request": text}, lambda page: page.block(text), quiet=text)


@command.command(
    name="sign",
    epilog="rexecop log witness sign request --key w1.key --name w1 --state seen --trust logs > answer",
)
@click.argument("file", default="-", metavar="[FILE|-]")
@click.option("--key", required=True, metavar="FILE", help="The witness's private key.")
@click.option("--name", required=True, help="The name it signs under.")
@click.option("--state", required=True, metavar="FILE", help="Where it remembers what it saw.")
@click.option("--trust", required=True, metavar="DIR", help="The keys of the logs it knows.")
@click.pass_obj
def sign(session: Session, file: str, key: str, name: str, state: str, trust: str) -> None:
    """Cosign a request, if it continues what this witness saw before, and print the signature line.

    A request from another size is refused; the size this witness last saw is then printed instead.
    """
    from rexecop.app.witness import cosign
    from rexecop.proof.errors import WitnessStale
    from rexecop.proof.witness import REQUEST_BYTES_MAX

    data = given(file, REQUEST_BYTES_MAX)
    try:
        line = cosign(data, key=Path(key), name=name, state=Path(state), trust=session.trusted(trust))
    except WitnessStale as stale:
        emit(f"{stale.facts['size']}\n")
        raise
    session.answer({"cosignature": line}, lambda page: page.block(line), quiet=line)


@command.command(name="add", epilog="rexecop log witness add answer")
@click.argument("file", default="-", metavar="[FILE|-]")
@click.pass_obj
def add(session: Session, file: str) -> None:
    """Keep what a witness answered: checkpoints, tiles and bundles carry it from then on."""
    from rexecop.app.witness import ANSWER_BYTES_MAX

    answer = given(file, ANSWER_BYTES_MAX)
    with session.instance() as instance:
        view = instance.witness_add(answer)
    found = {"size": view.size, "witnesses": view.witnesses}
    session.answer(found, lambda page: rows_page(page, found), quiet=str(view.size))
