"""`rexecop log stamp`: time stamps for checkpoints."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page, minute
from rexecop.cli.session import Session
from rexecop.proof.base64text import encode_base64


@click.group(cls=VerbGroup, name="stamp")
def stamp() -> None:
    """Time stamps: an authority's word that the log had this size and root by a time."""


@stamp.command(name="request", epilog="rexecop log stamp request > q.tsq")
@click.pass_obj
def request(session: Session) -> None:
    """Write what to send to a time stamp authority for the newest checkpoint.

    It is an RFC 3161 request, in bytes; with `--json` in base64.
    """
    plain = session.settings.output == "table"
    if plain and sys.stdout.isatty():
        raise Usage("a request is bytes and no text; send it to a file: `rexecop log stamp request > q.tsq`")
    size, asked = session.drive(lambda instance: instance.stamp_request())
    if plain:
        sys.stdout.buffer.write(asked)
        sys.stdout.flush()
        if not session.settings.quiet:
            session.note(f"this asks about the log of {size} records; then: `rexecop log stamp add ANSWER`")
        return
    session.answer({"checkpoint_size": size, "request": encode_base64(asked)}, lambda page: None)


@stamp.command(name="add", epilog="rexecop log stamp add a.tsr")
@click.argument("file")
@click.pass_obj
def add(session: Session, file: str) -> None:
    """Keep an authority's answer beside the checkpoint it is of.

    FILE is what it sent. `rexecop export` puts it into bundles.
    """
    view = session.drive(lambda instance: instance.stamp_add(Path(file)))

    def draw(page: Page) -> None:
        page.row("stamped", f"{minute(view.at)} by {view.authority}")
        page.row("checkpoint", f"log of {view.checkpoint_size} records")

    session.answer(view, draw, quiet=view.digest)
