"""`rexecop support`: something to give to whoever helps."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="support")
def command() -> None:
    """Support: what somebody needs to help, and nothing they must not see."""


@command.command(name="bundle", epilog="rexecop support bundle --redacted --output support.zip")
@click.option(
    "--redacted", is_flag=True, help="Without parameters, outputs, reasons and names: the only way."
)
@click.option("--output", metavar="FILE", default="support.zip", help="Where to write it (`support.zip`).")
@click.pass_obj
def bundle(session: Session, redacted: bool, output: str) -> None:
    """Write versions, checks, measurements, counts and skeletons of operations; signed, digest by digest."""
    from rexecop.app.support import write_support_bundle

    with session.instance() as instance:
        view = write_support_bundle(instance, Path(output), redacted=redacted)
    session.answer(
        view, lambda page: page.line(f"{view.path}: {view.bytes} bytes, {view.digest}"), quiet=view.path
    )
