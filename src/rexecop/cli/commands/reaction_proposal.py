"""`rexecop reaction-proposal`: what a program suggests, checked and shown, and never run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.reacting import proposal_of
from rexecop.cli.render import Page
from rexecop.cli.session import Session

F = TypeVar("F", bound=Callable[..., int | None])
EXAMPLE = "rexecop reaction-proposal submit --proposal p.json --decision reject --reviewer bob --reason seen"
DECISIONS = ("accept_for_planning", "reject")


@click.group(cls=VerbGroup, name="reaction-proposal")
def command() -> None:
    """Proposals by programs that nobody trusts; none of these commands plans or runs anything."""


def _takes_proposal(function: F) -> F:
    profile = click.option("--profile", help="The profile it is about.")
    return profile(click.option("--proposal", metavar="PATH", required=True, help="A JSON object.")(function))


@command.command(name="validate", epilog="rexecop reaction-proposal validate --proposal p.json")
@_takes_proposal
@click.pass_obj
def validate(session: Session, profile: str | None, proposal: str) -> None:
    """Check that a proposal is one, and that it asks for nothing but an intent that reads."""
    from rexecop.app.proposing import validate as work

    view = work(*proposal_of(session, profile, proposal))
    session.answer(
        view, lambda page: page.title(view.proposal_digest, view.status), quiet=view.proposal_digest
    )


@command.command(name="review", epilog="rexecop reaction-proposal review --proposal p.json")
@_takes_proposal
@click.pass_obj
def review(session: Session, profile: str | None, proposal: str) -> None:
    """Show what a proposal suggests and rests on, without the words of whoever wrote it."""
    from rexecop.app.proposing import validate as work

    view = work(*proposal_of(session, profile, proposal))

    def draw(page: Page) -> None:
        page.title(view.proposal_id, view.status)
        page.row("suggests", f"{view.suggested_outcome} {view.intent_ref or ''}".rstrip())
        page.row("reaction", view.reaction_id)
        page.row("rests on", ", ".join(view.evidence_refs))
        page.row("digest", view.proposal_digest)
        page.row("may", "nothing: it is not trusted, and what it suggests is asked for like anything else")

    session.answer(view, draw, quiet=view.proposal_digest)


@command.command(name="submit", epilog=EXAMPLE)
@_takes_proposal
@click.option("--decision", type=click.Choice(DECISIONS), required=True, help="What you decided.")
@click.option("--reviewer", required=True, help="Who looked at it.")
@click.option("--reason", required=True, help="Why; at most 160 characters.")
@click.pass_obj
def submit(
    session: Session, profile: str | None, proposal: str, decision: str, reviewer: str, reason: str
) -> None:
    """Keep what a person decided about a proposal. Nothing is planned by it, also where it is accepted."""
    from rexecop.app.proposing import REASON_MAX
    from rexecop.app.proposing import submit as work

    for name, text in (("reviewer", reviewer), ("reason", reason)):
        if not text.strip() or len(text) > REASON_MAX:
            raise Usage(f"`--{name}` has 1 to {REASON_MAX} characters", missing=name)
    data, named = proposal_of(session, profile, proposal)
    with session.instance() as instance:
        said = work(instance, data, named, decision, reviewer, reason)
    session.answer(said, lambda page: page.title(said.proposal, said.decision), quiet=said.decision)
