"""`rexecop halt`: stop everything, or what has to do with one name, until somebody lifts it."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.pages import halts_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="halt")
@click.option(
    "--scope",
    metavar="SCOPE",
    help="`all`, or target:, group:, intent:, environment: or requester: and a name (all).",
)
@click.option("--reason", help="Why; recorded.")
@click.option("--lift", is_flag=True, help="Lift the halt of that scope.")
@click.pass_obj
def command(session: Session, scope: str | None, reason: str | None, lift: bool) -> None:
    """Stop every further permit within SCOPE, also of operations under way in other processes.

    A call that runs is not broken off. Running work is left paused, for a person to resume
    after the lift; undoing waits too, and only a probe may still look. Without options it
    prints the halts that stand. Who halted may lift that; what others halted, the groups
    that a policy pack names under `lift_halt`.
    """
    if reason is None and (lift or scope is not None):
        raise Usage("a halt and its lift are recorded with a reason; add `--reason TEXT`")
    with session.instance() as instance:
        if reason is not None and not lift:
            others = [f"`{one}`" for one in instance.lifters() if one != instance.identity().principal.person]
            named = ", ".join(others) or "nobody else, by the packs in force"
            session.note(f"lifting it is for you and {named}")
        found = instance.halts() if reason is None else instance.halt(scope or "all", reason, lift=lift)
    quiet = "\n".join(one.scope for one in found)
    session.answer({"halts": found}, lambda page: halts_page(page, found), quiet=quiet)
