"""`rexecop reaction-proposal`: what a program suggests, checked and shown, and never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session

F = TypeVar("F", bound=Callable[..., int | None])
DECISIONS = ("accept_for_planning", "reject")


@click.group(cls=VerbGroup, name="reaction-proposal")
def command() -> None:
    """Proposals by programs that nobody trusts; none of these commands plans or runs anything."""


def _takes_proposal(function: F) -> F:
    profile = click.option("--profile", help="The profile it is about.")
    return profile(click.option("--proposal", metavar="PATH", required=True, help="A JSON object.")(function))


@command.command(
    name="validate", epilog="rexecop reaction-proposal validate --profile tecrax --proposal p.json"
)
@_takes_proposal
@click.pass_obj
def validate(session: Session, profile: str | None, proposal: str) -> None:
    """Check that a proposal is one, and that it asks for nothing but an intent that reads."""
    from rexecop.app.proposing import validate as work

    view = work(_data(proposal), _named(session, profile))
    session.answer(
        view, lambda page: page.title(view.proposal_digest, view.status), quiet=view.proposal_digest
    )


@command.command(name="review", epilog="rexecop reaction-proposal review --profile tecrax --proposal p.json")
@_takes_proposal
@click.pass_obj
def review(session: Session, profile: str | None, proposal: str) -> None:
    """Show what a proposal suggests and rests on, without the words of whoever wrote it."""
    from rexecop.app.proposing import validate as work

    view = work(_data(proposal), _named(session, profile))

    def draw(page: Page) -> None:
        page.title(view.proposal_id, view.status)
        page.row("suggests", f"{view.suggested_outcome} {view.intent_ref or ''}".rstrip())
        page.row("reaction", view.reaction_id)
        page.row("rests on", ", ".join(view.evidence_refs))
        page.row("digest", view.proposal_digest)
        page.row("may", "nothing: it is not trusted, and what it suggests is asked for like anything else")

    session.answer(view, draw, quiet=view.proposal_digest)


@command.command(
    name="submit",
    epilog="rexecop reaction-proposal submit --profile tecrax --proposal p.json --decision reject "
    "--reviewer bob --reason 'seen already'",
)
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
    data, named = _data(proposal), _named(session, profile)
    with session.instance() as instance:
        said = work(instance, data, named, decision, reviewer, reason)
    session.answer(said, lambda page: page.title(said.proposal, said.decision), quiet=said.decision)


def _data(path: str) -> bytes:
    from rexecop.app.files import read_file
    from rexecop.app.proposing import FILE_BYTES_MAX

    return read_file(Path(path), bytes_max=FILE_BYTES_MAX)


def _named(session: Session, profile: str | None) -> str:
    found = profile or session.settings.profile
    if found is None:
        raise Usage("no profile is named; give `--profile`", missing="profile")
    return found
