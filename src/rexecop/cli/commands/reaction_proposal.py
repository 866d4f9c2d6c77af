"""`rexecop reaction-proposal`: what a program suggests, checked and shown, and never run."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.reacting import proposal_of, takes_proposal
from rexecop.cli.render import Page
from rexecop.cli.session import Session

EXAMPLE = "rexecop reaction-proposal submit --proposal p.json --decision reject --reviewer bob --reason seen"
DECISIONS = ("accept_for_planning", "reject")


@click.group(cls=VerbGroup, name="reaction-proposal")
def command() -> None:
    """Proposals by programs that nobody trusts; none of these commands plans or runs anything."""


@command.command(name="validate", epilog="rexecop reaction-proposal validate --proposal p.json")
@takes_proposal
@click.option("--observation", metavar="PATH", help="What it must be about, as JSON.")
@click.pass_obj
def validate(session: Session, profile: str | None, proposal: str, observation: str | None) -> None:
    """Check that a proposal is one, and that it asks for nothing but an intent that reads."""
    from rexecop.app.files import read_file
    from rexecop.app.proposing import validate as work
    from rexecop.app.reacting import BYTES_MAX

    seen = None if observation is None else read_file(Path(observation), bytes_max=BYTES_MAX)
    view = work(*proposal_of(session, profile, proposal), seen)
    session.answer(
        view, lambda page: page.title(view.proposal_digest, view.status), quiet=view.proposal_digest
    )


@command.command(name="review", epilog="rexecop reaction-proposal review --proposal p.json")
@takes_proposal
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
@takes_proposal
@click.option("--decision", type=click.Choice(DECISIONS), help="What you decided; else people are asked.")
@click.option("--reviewer", help="Who looked at it.")
@click.option("--reason", help="Why; at most 160 characters.")
@click.pass_obj
def submit(
    session: Session, /, profile: str | None, proposal: str, decision: str | None, **words: str | None
) -> None:
    """Lay a proposal before people, or keep what one of them decided about it.

    Without `--decision` it waits in `rexecop ops`. Nothing is planned by it, also where it is accepted.
    """
    from rexecop.app.proposing import REASON_MAX, hand_in
    from rexecop.app.proposing import submit as work

    for name, text in words.items():
        if (decision is None) is not (text is None):
            raise Usage(f"`--decision` and `--{name}` stand together, or neither does", missing=name)
        if text is not None and (not text.strip() or len(text) > REASON_MAX):
            raise Usage(f"`--{name}` has 1 to {REASON_MAX} characters", missing=name)
    data, named = proposal_of(session, profile, proposal)
    with session.instance() as instance:
        if decision is None:
            said = hand_in(instance, data, named)
        else:
            said = work(instance, data, named, decision, words["reviewer"] or "", words["reason"] or "")
    word = getattr(said, "decision", "waits for a person; next: rexecop ops")
    session.answer(said, lambda page: page.title(said.proposal, word), quiet=said.proposal)
