"""Saying yes or no with one's own key: `approve` and `deny` differ in one word."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from rexecop.cli.driving import report
from rexecop.cli.errors import Usage
from rexecop.cli.operands import path, takes_operation, takes_reason
from rexecop.cli.session import Session

F = TypeVar("F", bound=Callable[..., int | None])


def takes_signature(function: F) -> F:
    """Give a command the operation, the key and the answer to its question."""
    for option in (
        click.option("--by", "label", help="A label beside the key; establishes nothing."),
        click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts."),
        takes_reason,
        click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent."),
        click.option("--key", metavar="FILE", help="Sign with this SSH private key."),
    ):
        function = option(function)
    return takes_operation(function)


def sign(
    session: Session,
    operation: str,
    *,
    approves: bool,
    key: str | None,
    agent: bool,
    reason: str | None,
    yes: bool,
    label: str | None,
) -> int:
    """Show the preview, ask, sign it, and print where the operation stands then.

    Raises:
        Usage: not exactly one of key file and agent is named.
        ConfirmationNeeded, Declined: see `Session.confirm`.
    """
    if agent == (key is not None):
        raise Usage("name the key that signs: either `--key FILE` or `--agent`")
    if label is not None:
        session.flags["as"] = label
        session.forget_settings()
    with session.instance() as instance:
        found = instance.resolve(operation)
        preview = instance.preview(found)
    if not session.settings.quiet:
        session.show(preview)
    session.confirm(f"{'approve' if approves else 'deny'} exactly this?", yes=yes)
    view = session.drive(
        lambda instance: instance.approve(found, key=path(key), agent=agent, approves=approves, reason=reason)
    )
    report(session, view)
    return 0
