"""`rexecop profile`: look at profiles and check them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.linting import answer_cases, answer_findings
from rexecop.cli.operands import path
from rexecop.cli.pages import profile_page, signature_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="profile")
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
    from rexecop.app.offline import show_profile
    from rexecop.app.publishing import signature_of

    signed = signature_of(profile, None, session.settings.root)
    found = replace(show_profile(profile), signature=signed)

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
    from rexecop.app.offline import lint_profile
    from rexecop.app.publishing import signature_of

    findings = lint_profile(profile)
    broken = any(finding.severity == "error" for finding in findings)
    signed = None if broken else signature_of(profile, None, session.settings.root)
    return answer_findings(session, profile, findings, signed)


@command.command(name="sign", epilog="rexecop profile sign site --key publisher.key")
@click.argument("profile")
@click.option("--key", metavar="FILE", required=True, help="Sign with this SSH private key.")
@click.pass_obj
def sign(session: Session, profile: str, key: str) -> None:
    """Sign the digest of a profile without errors; the signature is its `profile.sig`.

    PROFILE is a name or a path. No root is needed.
    """
    from rexecop.app.publishing import sign_profile, signature_of

    sign_profile(profile, Path(key))
    view = signature_of(profile, None, session.settings.root)
    session.answer(view, lambda page: signature_page(page, view), quiet=view.digest)


@command.command(name="verify", epilog="rexecop profile verify site")
@click.argument("profile")
@click.option("--trust", metavar="DIR", help="The keys you trust; without it those of the root, if any.")
@click.pass_obj
def verify(session: Session, profile: str, trust: str | None) -> int:
    """Say who signed a profile, and end with 7 unless a publisher did whose key is trusted now.

    PROFILE is a name or a path.
    """
    from rexecop.app.publishing import signature_of

    view = signature_of(profile, path(trust), session.settings.root)
    session.answer(view, lambda page: signature_page(page, view), quiet=view.state)
    return Exit.DONE if view.state == "trusted" else Exit.EVIDENCE


@command.command(name="test", epilog="rexecop profile test hello")
@click.argument("profile")
@click.pass_obj
def test(session: Session, profile: str) -> int:
    """Run a profile's golden cases: given these replies, this plan, these facts, this verdict; and its days.

    PROFILE is a name or a path. A profile without cases fails: nothing was tested.
    """
    from rexecop.app.offline import test_profile

    return answer_cases(session, profile, test_profile(profile))
