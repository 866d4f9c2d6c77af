"""`rexecop reconcile`: settle an unknown outcome."""

from __future__ import annotations

import click

from rexecop.cli.driving import report
from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="reconcile")
@takes_operation
@click.option("--probe", is_flag=True, help="Look at the target, with the plan's own probe.")
@click.option("--outcome", type=click.Choice(["happened", "not-happened"]), help="What you know.")
@click.option("--step", metavar="STEP", help="Of this step only, where several are unknown.")
@takes_reason
@click.pass_obj
def command(
    session: Session, operation: str, probe: bool, outcome: str | None, step: str | None, reason: str | None
) -> int:
    """Settle an outcome nobody knows: by looking, or by a person's word (then with `--reason`)."""
    if probe == (outcome is not None):
        raise Usage(
            "give either `--probe` or `--outcome happened|not-happened`",
            next_steps=(f"rexecop reconcile {operation} --probe",),
        )
    if outcome is not None and not reason:
        raise Usage("a statement needs `--reason`: how do you know", missing="reason")
    happened = None if outcome is None else outcome == "happened"
    view = session.drive(
        lambda instance: instance.reconcile(
            instance.resolve(operation), probe=probe, happened=happened, reason=reason, step=step
        )
    )
    report(session, view)
    return Exit.UNKNOWN if view.state == "indeterminate" else Exit.DONE
