"""Signing profiles and saying who did: `profile sign` and `profile verify`."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.operands import path
from rexecop.cli.pages import signature_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="sign", epilog="rexecop profile sign site --key publisher.key")
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


@click.command(cls=VerbCommand, name="verify", epilog="rexecop profile verify site")
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
