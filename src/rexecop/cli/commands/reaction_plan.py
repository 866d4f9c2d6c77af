"""`rexecop reaction-plan`: plan what follows from what an operation observed."""

from __future__ import annotations

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.reacting import answer_reaction, observed, takes_observation
from rexecop.cli.session import Session
from rexecop.proof.vocabulary import READ_MODES, Mode

SAID_MAX = 1024  # As many reactions as any pack allows.
MODES = sorted(mode.value for mode in READ_MODES)


@click.command(cls=VerbCommand, name="reaction-plan")
@takes_observation
@click.option("--profile", help="Where the profile is, where it is not installed by its name.")
@click.option("--env", help="The environment of the operation: a path to its file.")
@click.option("--mode", type=click.Choice(MODES), default=Mode.READ_ONLY.value, help="read_only.")
@click.option("--depth", type=click.IntRange(0, SAID_MAX), default=0, help="At least so many reactions deep.")
@click.option(
    "--reaction-count", type=click.IntRange(0, SAID_MAX), default=0, help="At least so many followed before."
)
@click.option(
    "--visited-rule-digest", multiple=True, metavar="DIGEST", help="A rule that decided before; repeatable."
)
@click.pass_obj
def command(
    session: Session,
    /,
    operation: str | None,
    observation: str | None,
    target: str | None,
    profile: str | None,
    env: str | None,
    mode: str,
    depth: int,
    reaction_count: int,
    visited_rule_digest: tuple[str, ...],
) -> int:
    """Plan what the profile's rules ask for where facts are as an operation observed them.

    The same facts and rule are one operation, however often this is called. What is planned only reads;
    policy answers it like any request, and it is not started. Where no operation follows, this says why.
    How deep it is, and what followed before, is recorded; the last three options can only add to that.
    """
    from rexecop.app.reacting import Reacting, ReactionView, said_before

    where = env or session.settings.env
    if where is None:
        raise Usage("no env is named; give `--env`, the environment of the operation", missing="env")

    said = said_before(depth, reaction_count, visited_rule_digest)

    async def work(reacting: Reacting) -> ReactionView:
        found = observed(reacting, operation, observation, target)
        return await reacting.plan(found, profile, where, mode, said)

    return answer_reaction(session, session.drive(lambda instance: work(Reacting(instance))))
