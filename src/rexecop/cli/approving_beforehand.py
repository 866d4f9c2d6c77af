"""Giving a standing approval: what may be done again is shown with its bounds, then signed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from rexecop.app.plain import moment
from rexecop.cli.errors import ParameterBad, Usage
from rexecop.cli.operands import path, takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.standing import StandingView


@click.command(
    cls=VerbCommand,
    name="new",
    epilog="rexecop standing new @ --uses 10 --until 2030-01-31 --key approver.key --yes",
)
@takes_operation
@click.option("--uses", type=int, required=True, help="How many plans it is for.")
@click.option("--until", required=True, help="The date or time (with its zone) at which it ends.")
@click.option("--allow", multiple=True, metavar="NAME=RANGE", help="Widen a parameter: `1..10` or `a|b|c`.")
@click.option("--target", "targets", multiple=True, help="Another target it is for.")
@click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
@click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
@takes_reason
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def new(
    session: Session,
    operation: str,
    uses: int,
    until: str,
    allow: Sequence[str],
    targets: Sequence[str],
    key: str | None,
    agent: bool,
    reason: str | None,
    yes: bool,
) -> None:
    """Approve beforehand: plans like the operation's, on its targets, with its parameters as they are.

    Whoever gives it must be one who may approve that operation; it never counts for their own requests.
    """
    from rexecop.app.standing import Standing

    require_key(key, agent=agent)

    def asked(instance: Instance) -> Standing:
        return Standing(
            uses=uses,
            until=instance.moment(until),
            allow=_ranges(allow),
            targets=tuple(targets),
            reason=reason,
        )

    with session.instance() as instance:
        wanted = asked(instance)
        found = instance.resolve(operation)
        if not session.settings.quiet:
            session.show(f"{instance.preview(found)}\nwhat may be done again\n")
            session.show(instance.standing_coverage(found, wanted))
    session.confirm("approve all of that beforehand?", yes=yes)
    say(session, session.drive(lambda one: one.standing_new(found, wanted, key=path(key), agent=agent)))


def require_key(key: str | None, *, agent: bool) -> None:
    """Return only if exactly one of key file and agent is named.

    Raises:
        Usage: it is not.
    """
    if agent == (key is not None):
        raise Usage("name the key that signs: either `--key FILE` or `--agent`")


def _ranges(pairs: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, wide = pair.partition("=")
        if not separator or not wide or name in found:
            raise ParameterBad(f"`{pair[:80]}` is not `name=1..10` or `name=a|b`, once for each name")
        found[name] = wide
    return found


def say(session: Session, view: StandingView) -> None:
    """Print one standing approval."""
    session.answer(view, lambda page: draw_standing(page, view), quiet=view.standing)


def draw_standing(page: Page, view: StandingView) -> None:
    """Draw what a standing approval covers and how much of it is left."""
    page.title(view.standing, view.state)
    page.row("given by", view.person)
    page.row("used", f"{view.used} of {view.uses}")
    page.row("until", moment(view.until))
    page.block(view.covers)
