"""`rexecop keys`: keys of the instance and of its people."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.commands.keys_rotate import rotate, takes_expiry
from rexecop.cli.pages import keys_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.session import Session

_ROLES = click.Choice(["approver", "requester", "instance", "witness", "node"])


@click.group(cls=VerbGroup, name="keys")
def command() -> None:
    """Keys: who may sign for what. Keys enrolled by a requester never count for his own operation."""


command.add_command(rotate)


@command.command(name="list")
@click.pass_obj
def list_keys(session: Session) -> None:
    """Print every enrolled key."""
    with session.instance() as instance:
        found = instance.trusted_keys()
    quiet = "\n".join(key.fingerprint for key in found)
    session.answer({"keys": found}, lambda page: keys_page(page, found), quiet=quiet)


@command.command(name="new", epilog="rexecop keys new bob.key --person bob --role approver")
@click.argument("file")
@click.option("--person", required=True, help="Whose key it is.")
@click.option("--role", type=_ROLES, default="approver", help="What it may sign (approver).")
@takes_expiry
@click.pass_obj
def new(session: Session, file: str, person: str, role: str, expires: str | None) -> None:
    """Make a key pair and enrol it.

    FILE is where the private key goes (mode 0600).
    """
    key = session.drive(lambda instance: instance.key_new(person, role, Path(file), expires))
    _note_unknown(session, person, role)
    session.answer(key, lambda page: keys_page(page, (key,)), quiet=key.fingerprint)


def _note_unknown(session: Session, person: str, role: str) -> None:
    """Say that policy does not know a person who is to ask or approve: it would deny what they ask."""
    if role not in {"approver", "requester"}:
        return
    with session.instance() as instance:
        file = instance.unknown_to_policy(person)
    if file is not None:
        session.note(f"no policy pack names `{person}`, so all they do is denied; add them to `{file}`")


@command.command(name="trust", epilog="rexecop keys trust bob.key.pub --person bob --role approver")
@click.argument("public")
@click.option("--person", required=True, help="Whose key it is.")
@click.option("--role", type=_ROLES, default="approver", help="What it may sign (approver).")
@takes_expiry
@click.pass_obj
def trust(session: Session, public: str, person: str, role: str, expires: str | None) -> None:
    """Enrol a public key.

    PUBLIC is a file, or the line that stands in it.
    """
    key = session.drive(lambda instance: instance.key_trust(public, person, role, expires))
    _note_unknown(session, person, role)
    session.answer(key, lambda page: keys_page(page, (key,)), quiet=key.fingerprint)


@command.command(name="revoke", epilog="rexecop keys revoke SHA256:...")
@click.argument("fingerprint")
@click.pass_obj
def revoke(session: Session, fingerprint: str) -> None:
    """Trust a key no more.

    What it signed before stays signed.
    """
    key = session.drive(lambda instance: instance.key_revoke(fingerprint))
    session.answer(key, lambda page: keys_page(page, (key,)), quiet=key.fingerprint)
