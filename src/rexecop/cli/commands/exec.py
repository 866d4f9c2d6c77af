"""`rexecop exec`: one command on one target, planned, decided and recorded like any other operation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, Unpack

import click

from rexecop.cli.driving import carry_out, put_out
from rexecop.cli.pages import operation_page, view_exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import Asked, request, takes_request
from rexecop.cli.render import Page
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import Mode

if TYPE_CHECKING:
    pass

PROFILE: Final = "adhoc"
INTENTS: Final = ("look", "change", "destroy")  # What a command can be declared to be.


@click.command(cls=VerbCommand, name="exec")
@click.argument("target")
@click.argument("argv", nargs=-1, required=True, metavar="-- ARGV...")
@click.option("--as-a", "effect", type=click.Choice(INTENTS), default="look", help="What it is: look.")
@click.option("--reason", help="Why; recorded, and shown to approvers.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@takes_request
@click.pass_obj
def command(
    session: Session,
    target: str,
    argv: tuple[str, ...],
    effect: str,
    reason: str | None,
    yes: bool,
    **asked: Unpack[Asked],
) -> int:
    """Run one command on TARGET, and put out what it put out.

    No shell reads the words. A look is run where it can change nothing, as far as this machine
    can see to that; `--as-a change` and `--as-a destroy` ask for what policy wants of them.
    The environment grants it by a connector called `command`.
    """
    if asked["profile"] is None:
        asked["profile"] = PROFILE
    if asked["mode"] is None:
        asked["mode"] = Mode.READ_ONLY if effect == "look" else Mode.APPLY
    asks = request(session, effect, target, reason, asked)
    asks = replace(asks, parameters={**(asks.parameters or {}), "argv": list(argv)})
    view = carry_out(session, asks, yes=yes, watch=False)
    with session.reading() as reading:
        outputs = reading.outputs(view.operation_id, None)
    if session.settings.output == "table":
        put_out(outputs)

    def draw(page: Page) -> None:
        if view.receipt is None:
            operation_page(page, view)
        elif view.state != "completed":
            said = next((step.message for step in view.steps if step.message), view.state)
            page.verdict(f"#{view.number} {view.state}: {said}", good=False)

    answer = {"operation_id": view.operation_id, "state": view.state, "operation": view, "outputs": outputs}
    session.answer(answer, draw, quiet="")
    return view_exit(view)
