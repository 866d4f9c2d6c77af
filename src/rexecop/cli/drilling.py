"""`rexecop approve drill`: asking a group for a signed yes without effect, and who answered how fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from rexecop.cli.approving_beforehand import require_key
from rexecop.cli.operands import path, takes_reason
from rexecop.cli.parsing import VerbCommand, VerbWithMore
from rexecop.cli.render import Page, short
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.drilling import Drill, Member

_UNITS: Final = (("h", 3_600_000), ("min", 60_000), ("s", 1_000))


@click.command(
    cls=VerbCommand, name="drill", epilog="rexecop approve drill approvers --reason 'who is there'"
)
@click.argument("group")
@takes_reason
@click.pass_obj
def begin(session: Session, group: str, reason: str | None) -> None:
    """Ask everybody in GROUP for a signed yes that approves nothing; open for 24 hours.

    Nobody is written to: tell them. `drill answer` signs, `drill list` says who did and how fast.
    """
    from rexecop.app.drilling import Drills

    say(session, session.drive(lambda instance: Drills(instance, session.environ).begin(group, reason)))


@click.command(cls=VerbCommand, name="answer", epilog="rexecop approve drill answer --key approver.key --yes")
@click.argument("drill", required=False)
@click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
@click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def answer(session: Session, drill: str | None, key: str | None, agent: bool, yes: bool) -> None:
    """Sign that you are there; it can never be taken for an approval.

    DRILL is its digest, or the beginning of it; without it the newest that waits for you.
    """
    from rexecop.app.drilling import Drills

    require_key(key, agent=agent)
    with session.instance() as instance:
        statement, signer = Drills(instance, session.environ).asked(drill, key=path(key), agent=agent)
    if not session.settings.quiet:
        session.show(statement.in_words())
    session.confirm("sign that you are there?", yes=yes)
    say(session, session.drive(lambda instance: Drills(instance, session.environ).answer(statement, signer)))


@click.command(cls=VerbCommand, name="list", epilog="rexecop approve drill list")
@click.argument("drill", required=False)
@click.pass_obj
def list_drills(session: Session, drill: str | None) -> None:
    """Print who answered, how fast, and who did not: of every drill, newest first, or of DRILL alone."""
    from rexecop.app.drilling import Drills

    with session.instance() as instance:
        mine = Drills(instance, session.environ)
        found = mine.view() if drill is None else (mine.named(drill),)

    def draw(page: Page) -> None:
        for one in found:
            draw_drill(page, one)
        if not found:
            page.line("no drill was asked")

    session.answer({"drills": found}, draw, quiet="\n".join(one.drill for one in found))


drill = VerbWithMore(begin, [answer, list_drills])


def say(session: Session, found: Drill) -> None:
    """Print one drill."""
    session.answer(found, lambda page: draw_drill(page, found), quiet=found.drill)


def draw_drill(page: Page, found: Drill) -> None:
    """Draw what was asked, and what each member said to it."""
    there = sum(one.answered is not None for one in found.members)
    page.title(f"drill of {found.group}", found.state)
    page.row("drill", found.drill, whole=True)
    page.row("asked by", f"{found.asked_by} at {short(found.asked)}")
    if found.reason:
        page.row("reason", found.reason)
    page.row("open until", short(found.until))
    page.row("answered", f"{there} of {len(found.members)}")
    for one in found.members:
        page.line(f"  {one.person}: {_said(one)}")


def _said(member: Member) -> str:
    if member.after_ms is None:
        return "no answer" if member.has_key else "no answer, and no approver's key to give one with"
    unit, size = next((one for one in _UNITS if member.after_ms >= one[1]), _UNITS[-1])
    return f"yes after {member.after_ms // size} {unit}"
