"""`rexecop backup`: a copy that proves itself, and a root made from one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rexecop.cli.exits import Exit
from rexecop.cli.pages import backup_page, restore_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.proof.verify import TrustedKeys

_trusts: Callable[..., Callable[..., int | None]] = click.option(
    "--trust", metavar="DIR", help="A folder with keys you trust (those of the root, where there is one)."
)


@click.group(cls=VerbGroup, name="backup")
def command() -> None:
    """Backups: ledger, policy and configuration in one file that proves itself."""


@command.command(name="create", epilog="rexecop backup create nightly.backup")
@click.argument("file")
@click.option("--with-keys", is_flag=True, help="Put the private keys in: whoever has the file has them.")
@click.pass_obj
def create(session: Session, file: str, with_keys: bool) -> None:
    """Write a backup of the root in force; others go on writing meanwhile."""
    from rexecop.app.backup import create_backup

    view = create_backup(session.settings, Path(file), with_keys=with_keys)
    if with_keys:
        session.note(f"`{file}` HOLDS PRIVATE KEYS: whoever reads it can sign as this instance")
    session.answer(view, lambda page: backup_page(page, view), quiet=view.path)


@command.command(name="verify", epilog="rexecop backup verify nightly.backup --trust keys")
@click.argument("file")
@_trusts
@click.pass_obj
def verify(session: Session, file: str, trust: str | None) -> int:
    """Compute everything in a backup again: digests, records, log, checkpoint."""
    from rexecop.app.backup import verify_backup

    view = verify_backup(Path(file), _trusted(session, trust))
    session.answer(view, lambda page: backup_page(page, view), quiet=view.verdict)
    return Exit.DONE if view.wrong is None else Exit.EVIDENCE


@command.command(name="restore", epilog="rexecop backup restore nightly.backup --root restored")
@click.argument("file")
@click.option("--instance-key", metavar="FILE", help="The instance's private key, where the backup has none.")
@click.option("--reason", help="Why; recorded in the new epoch.")
@_trusts
@click.pass_obj
def restore(
    session: Session, file: str, instance_key: str | None, reason: str | None, trust: str | None
) -> None:
    """Make a new root of a backup.

    `--root` says where: nothing may be there. The log is proved again and goes on in a new epoch.
    """
    from rexecop.app.backup import restore_backup

    view = restore_backup(
        Path(file),
        session.settings.root,
        _trusted(session, trust),
        reason=reason,
        key=None if instance_key is None else Path(instance_key),
        storage=session.settings.storage,
    )
    session.answer(view, lambda page: restore_page(page, view), quiet=view.root)


def _trusted(session: Session, folder: str | None) -> TrustedKeys:
    from rexecop.app.verifying import trusted_keys

    return trusted_keys(None if folder is None else Path(folder), session.settings.root)
