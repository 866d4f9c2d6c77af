"""`rexecop runbook`: what to do about an intent, as its profile says."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.planning import named
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="runbook")
def command() -> None:
    """Runbooks: what people do about what an intent finds."""


@command.command(name="show", epilog="rexecop runbook show check_memory --profile site")
@click.argument("intent")
@click.option("--profile", help="The profile: a name, or a path to its `profile.yaml`.")
@click.pass_obj
def show(session: Session, intent: str, profile: str | None) -> None:
    """Print the runbook of INTENT."""
    from rexecop.app.offline import runbook

    of = named("profile", profile or session.settings.profile)
    text = runbook(of, intent)

    def draw(page: Page) -> None:
        for line in text.splitlines():
            page.line(line)

    session.answer({"profile": of, "intent": intent, "runbook": text}, draw, quiet=text)
