"""What reactions look like to people, and how the commands about them take what they rest on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.exits import Exit
from rexecop.cli.operands import operation_name
from rexecop.cli.render import Page
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.reacting import Reacting, ReactionView
    from rexecop.proof.reaction import Observation

F = TypeVar("F", bound=Callable[..., int | None])


def takes_observation(function: F) -> F:
    """Give a command `operation`, `observation` and `target`."""
    named = click.option("--operation", metavar="ID", help="The completed operation that looked.")
    file = click.option("--observation", metavar="PATH", help="The observation as JSON; recorded, too.")
    target = click.option("--target", help="Whose facts, where the operation has several targets.")
    return named(file(target(function)))


def takes_proposal(function: F) -> F:
    """Give a command `profile` and `proposal`."""
    profile = click.option("--profile", help="The profile it is about.")
    named = click.option(
        "--proposal", metavar="PATH", required=True, help="A JSON file, or a digest in `ops`."
    )
    return profile(named(function))


def observed(
    reacting: Reacting, operation: str | None, observation: str | None, target: str | None
) -> Observation:
    """Return the recorded observation that is named.

    Raises:
        Usage: none, or two are. ObservationRefused: the records have no such observation.
    """
    from rexecop.app.files import read_file
    from rexecop.app.reacting import BYTES_MAX, read_observation

    if (operation is None) is (observation is None):
        raise Usage("name what was observed: `--operation ID`, or `--observation PATH`", missing="operation")
    if operation is not None:
        return reacting.observation(operation_name(operation), target)
    said = read_observation(read_file(Path(str(observation)), bytes_max=BYTES_MAX))
    if target not in (None, said.source.target_id):
        raise Usage(f"the observation is of `{said.source.target_id:.60}`, not of `{target}`")
    return reacting.recorded(said)


def answer_reaction(session: Session, view: ReactionView) -> int:
    """Print what follows; end with 3 where policy refused what was planned."""
    child = view.child
    session.answer(view, lambda page: reaction_page(page, view), quiet=child.operation_id if child else "")
    return Exit.DENIED if child is not None and child.state == "blocked" and not view.repeated else Exit.DONE


def reaction_page(page: Page, view: ReactionView) -> None:
    """Draw what follows from an observation, every finding, and what was planned."""
    page.title(view.reaction_id, view.outcome)
    page.row("observed", f"{view.target}, by operation {view.parent}")
    page.row("rules", f"{view.pack}, reaction {view.depth} of its chain")
    if view.intent is not None:
        page.row("asks for", view.intent)
    if view.why is not None:
        page.row("why", view.why)
    rows = [
        ("*" if f.decides else "", f.rule, f.kind, f.severity, f"{f.outcome} {f.intent or ''}".rstrip())
        for f in view.findings
    ]
    page.table(("", "rule", "finding", "severity", "outcome"), rows)
    if view.child is not None:
        again = ", planned before" if view.repeated else ""
        page.row("operation", f"#{view.child.number}  {view.child.operation_id}  {view.child.state}{again}")
    if view.waits:
        page.row("waits", "for a person: `rexecop ops` shows it until it is reviewed, or all is well")
        page.row("next", f"rexecop review done {view.parent} --reason TEXT", whole=True)
    if view.child is not None and view.child.state == "approved":
        page.row("next", f"rexecop reaction-start --reaction {view.reaction_id}", whole=True)


def proposal_of(session: Session, profile: str | None, named: str) -> tuple[bytes, str]:
    """Return the proposal that is `named`, by its file or by the digest it waits under, and its profile.

    Raises:
        Usage: no profile is named. ProposalRefused: none waits. FileMissing, FileRefused: no such file.
    """
    from rexecop.app.files import read_file
    from rexecop.app.proposing import FILE_BYTES_MAX, handed_in

    if named.startswith("sha256:"):
        with session.instance() as instance:
            kept = handed_in(instance, named)
        return kept.text.encode(), profile or kept.profile
    found = profile or session.settings.profile
    if found is None:
        raise Usage("no profile is named; give `--profile`", missing="profile")
    # A proposal that is too large is refused as one, not as a file.
    return read_file(Path(named), bytes_max=FILE_BYTES_MAX, whole=False), found
