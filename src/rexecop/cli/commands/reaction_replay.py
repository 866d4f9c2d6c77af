"""`rexecop reaction-replay`: ask the rules again, of a reaction or of a day."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.reacting import reaction_page
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.offline import DayLine


@click.command(cls=VerbCommand, name="reaction-replay")
@click.option("--reaction", metavar="ID", help="A reaction that planned something.")
@click.option("--day", metavar="PATH", help="Observations in order, with what is expected of each.")
@click.option("--profile", help="Whose rules the day is tried by.")
@click.pass_obj
def command(session: Session, reaction: str | None, day: str | None, profile: str | None) -> int:
    """Ask the rules again, and touch nothing.

    A recorded reaction must follow again from the records (else 7); each observation of a day must lead
    to what the day expects (else 1).
    """
    if (reaction is None) is (day is None):
        raise Usage("name one: `--reaction ID`, or `--day PATH`", missing="reaction")
    if day is not None:
        return _day(session, Path(day), profile or session.settings.profile)
    from rexecop.app.reacting import Reacting

    with session.instance() as instance:
        found = Reacting(instance).replay(str(reaction))

    def draw(page: Page) -> None:
        reaction_page(page, found.view)
        for difference in found.differences:
            page.item(difference)
        page.verdict(f"{found.reaction_id}: {found.verdict}", good=not found.differences)

    session.answer(found, draw, quiet=found.verdict)
    return Exit.EVIDENCE if found.differences else Exit.DONE


def _day(session: Session, path: Path, profile: str | None) -> int:
    from rexecop.app.offline import replay_day

    if profile is None:
        raise Usage("whose rules? give `--profile`", missing="profile")
    followed = replay_day(profile, path)
    wrong = sum(1 for one in followed if one.differences)

    def draw(page: Page) -> None:
        page.table(
            ("observation", "target", "outcome", "rule", "why"), [_row(one) for one in followed], indent=0
        )
        for name, difference in ((one.name, text) for one in followed for text in one.differences):
            page.item(f"{name}: {difference}")
        page.verdict(f"{len(followed)} observations, {wrong} not as expected", good=not wrong)

    session.answer({"observations": followed, "wrong": wrong}, draw)
    return Exit.FAILED if wrong else Exit.DONE


def _row(one: DayLine) -> tuple[str, ...]:
    return one.name, one.target, f"{one.outcome} {one.intent or ''}".rstrip(), one.rule, one.why or ""
