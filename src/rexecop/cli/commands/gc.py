"""`rexecop gc`: what need not be kept for ever goes."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import click

from rexecop.cli.errors import Usage
from rexecop.cli.pages import collected_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

_AGE: Final = re.compile(r"([1-9][0-9]{0,4})([dh])")


@click.command(cls=VerbCommand, name="gc", epilog="rexecop gc --older-than 90d --apply --reason 'our rule 7'")
@click.option("--older-than", metavar="AGE", help="Outputs and idempotency keys too, of what ended before.")
@click.option("--apply", "really", is_flag=True, help="Take it; without this it is only counted.")
@click.option("--reason", help="Why outputs are erased; recorded.")
@click.pass_obj
def command(session: Session, older_than: str | None, really: bool, reason: str | None) -> None:
    """Count, or take, what need not be kept; records, receipts, inputs and checkpoints always stay.

    That is space that holds nothing, and what is left on the board by workers and operations that are gone.
    With an age, like 90d or 12h, also outputs and idempotency keys of operations that ended that long ago
    and wait for no review. The log says that outputs went; every proof stays whole.
    """
    from rexecop.app.collecting import Collector, Retaining

    age = None if older_than is None else _age(older_than)
    if reason is not None and not (really and age):
        raise Usage("a reason is recorded where outputs are erased: with `--older-than AGE --apply`")
    if really and age is not None and not (reason or "").strip():
        raise Usage(
            "that outputs are erased is recorded, with a reason",
            next_steps=(f"rexecop gc --older-than {older_than} --apply --reason TEXT",),
        )
    with session.counting("erased", "operations' outputs") as progress, session.instance() as instance:
        collector = Collector(instance, progress)
        if really:
            rule = f"older than {older_than}"
            view = collector.apply(Retaining(older_than=age, rule=rule, reason=reason or "") if age else None)
        else:
            view = collector.look(age)
    session.answer(view, lambda page: collected_page(page, view, older_than), quiet=str(view.outputs))


def _age(text: str) -> timedelta:
    found = _AGE.fullmatch(text)
    if found is None:
        raise Usage(f"`{text[:40]}` is no age; allowed: days or hours, like 90d or 12h")
    number = int(found[1])
    return timedelta(days=number) if found[2] == "d" else timedelta(hours=number)
