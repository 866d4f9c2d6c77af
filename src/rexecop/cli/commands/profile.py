"""`rexecop profile`: look at profiles and check them."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.linting import answer_cases, answer_findings
from rexecop.cli.pages import profile_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.publishing import sign, verify
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="profile", commands=[sign, verify])
def command() -> None:
    """Profiles: what can be asked for, and how it is done."""


@command.command(name="list")
@click.pass_obj
def list_profiles(session: Session) -> None:
    """Print the installed profiles."""
    from rexecop.app.offline import list_profiles as found_profiles

    found = found_profiles()

    def draw(page: Page) -> None:
        page.table(("profile", "version", "from"), [(p.name, p.version, p.source) for p in found], indent=0)

    session.answer({"profiles": found}, draw, quiet="\n".join(p.name for p in found))


@command.command(name="show", epilog="rexecop profile show hello")
@click.argument("profile")
@click.pass_obj
def show(session: Session, profile: str) -> None:
    """Print what a profile offers.

    PROFILE is a name or a path.
    """
    from rexecop.app.publishing import show_signed

    found = show_signed(profile, session.settings.root)

    session.answer(
        found,
        lambda page: profile_page(page, found),
        quiet="\n".join(intent.name for intent in found.intents),
    )


@command.command(name="new", epilog="rexecop profile new site")
@click.argument("folder", metavar="DIR")
@click.pass_obj
def new(session: Session, folder: str) -> None:
    """Write a profile that works into the new folder DIR; its name is the profile's."""
    from rexecop.app.offline import new_profile

    found = new_profile(Path(folder))

    session.answer(found, lambda page: profile_page(page, found), quiet=folder)


@command.command(name="lint", epilog="rexecop profile lint hello")
@click.argument("profile")
@click.pass_obj
def lint(session: Session, profile: str) -> int:
    """Say everything that is wrong in a profile.

    PROFILE is a name or a path.
    """
    from rexecop.app.publishing import lint_signed

    return answer_findings(session, profile, *lint_signed(profile, session.settings.root))


@command.command(name="test", epilog="rexecop profile test hello")
@click.argument("profile")
@click.pass_obj
def test(session: Session, profile: str) -> int:
    """Run a profile's golden cases: given these replies, this plan, these facts, this verdict; and its days.

    PROFILE is a name or a path. A profile without cases fails: nothing was tested.
    """
    from rexecop.app.offline import test_profile

    return answer_cases(session, profile, test_profile(profile))
