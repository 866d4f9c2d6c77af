"""`rexecop approve`: a yes, signed with one's own key."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session
from rexecop.cli.signing import sign, takes_signature


@click.command(cls=VerbCommand, name="approve")
@takes_signature
@click.pass_obj
def command(
    session: Session,
    operation: str,
    key: str | None,
    agent: bool,
    reason: str | None,
    yes: bool,
    label: str | None,
) -> int:
    """Sign a yes over the plan, its terms and its preview, with your own key.

    The plan is shown first. Whoever asked for the operation cannot approve it.
    """
    return sign(session, operation, approves=True, key=key, agent=agent, reason=reason, yes=yes, label=label)
