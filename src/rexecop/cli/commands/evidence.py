"""`rexecop evidence show`: records as evidence."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.operands import takes_operation
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.records import evidence_page, record_page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="evidence")
def command() -> None:
    """Evidence: the records of operations, and what stands behind each."""


@command.command(name="show", epilog="rexecop evidence show @ --record 0")
@takes_operation
@click.option("--record", metavar="N|DIGEST", help="One record, whole, by its place or its digest.")
@click.option("--step", metavar="STEP", help="Only what was done for this step.")
@click.pass_obj
def show(session: Session, operation: str, record: str | None, step: str | None) -> None:
    """Print the records of an operation, and what rests on what; nothing is changed or recorded by it.

    A record stands below the one it rests on. Their signatures and their place in the log
    are judged by the keys enrolled here.
    """
    if record is not None and step is not None:
        raise Usage("`--record` shows one record, `--step` those of a step; give one of them")
    with session.reading() as reading:
        if record is not None:
            one = reading.evidence_record(operation, record)
            session.answer(one, lambda page: record_page(page, one), quiet=one.line.record.digest)
            return
        found = reading.evidence(operation, step)
    if step is not None and not found.records:
        raise Usage(
            f"no record is about a step `{step[:80]}`", next_steps=(f"rexecop evidence show {operation}",)
        )
    quiet = "\n".join(line.record.digest for line in found.records)
    session.answer(found, lambda page: evidence_page(page, found), quiet=quiet)
