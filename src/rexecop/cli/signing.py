"""Saying yes or no with one's own key: `approve` and `deny` differ in one word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rexecop.cli.driving import report
from rexecop.cli.errors import Usage
from rexecop.cli.operands import path, takes_operation, takes_reason
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.instance import Instance


def signing(name: str, help: str, *, approves: bool) -> click.Command:
    """Return the command that shows the preview, asks, and signs a yes, or a no, over it.

    It raises Usage where not exactly one of key file and agent is named, ApprovalRefused
    before anything is shown, and what `Session.confirm` raises.
    """

    @click.command(cls=VerbCommand, name=name, help=help)
    @takes_operation
    @click.option("--key", metavar="FILE", help="Sign with this SSH private key.")
    @click.option("--agent", is_flag=True, help="Sign with a key in the SSH agent.")
    @takes_reason
    @click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
    @click.option("--by", "label", help="A label beside the key; establishes nothing.")
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
        if agent == (key is not None):
            raise Usage("name the key that signs: either `--key FILE` or `--agent`")
        if label is not None:
            session.flags["as"] = label
            session.forget_settings()

        async def admitted(instance: Instance) -> tuple[str, str]:
            found = instance.resolve(operation)
            await instance.may_approve(found, key=path(key), agent=agent)
            return found, instance.preview(found)

        found, preview = session.drive(admitted)
        if not session.settings.quiet:
            session.show(preview)
        session.confirm(f"{'approve' if approves else 'deny'} exactly this?", yes=yes)
        view = session.drive(
            lambda instance: instance.approve(
                found, key=path(key), agent=agent, approves=approves, reason=reason
            )
        )
        report(session, view)
        return 0

    return command
