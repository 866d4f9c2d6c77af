"""`rexecop deny`: a no, signed with one's own key."""

from __future__ import annotations

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session
from rexecop.cli.signing import sign, takes_signature


@click.command(cls=VerbCommand, name="deny")
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
    """Sign a no over the plan, with your own key; it stands until you withdraw it.

    Whoever asked for the operation gives it up with `cancel` instead.
    """
    return sign(session, operation, approves=False, key=key, agent=agent, reason=reason, yes=yes, label=label)
