"""`rexecop keys`: keys of the instance and of its people."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.enrolling import note_unknown
from rexecop.cli.pages import keys_page
from rexecop.cli.parsing import VerbGroup
from rexecop.cli.rotating import rotate, takes_expiry
from rexecop.cli.session import Session

_ROLES = click.Choice(["approver", "requester", "instance", "witness", "node", "issuer", "publisher"])


@click.group(cls=VerbGroup, name="keys", commands=[rotate])
def command() -> None:
    """Keys: who may sign for what. Keys enrolled by a requester never count for his own operation."""


@command.command(name="list", epilog="rexecop keys list --allowed-signers > allowed_signers")
@click.option("--allowed-signers", is_flag=True, help="The approvers, as `ssh-keygen -Y verify` reads them.")
@click.pass_obj
def list_keys(session: Session, allowed_signers: bool) -> None:
    """Print every enrolled key."""
    with session.instance() as instance:
        found, text = instance.trusted_keys(), instance.allowed_signers() if allowed_signers else ""
    if allowed_signers:
        return session.answer({"allowed_signers": text}, lambda page: page.block(text), quiet=text)
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
    note_unknown(session, person, role)
    session.answer(key, lambda page: keys_page(page, (key,)), quiet=key.fingerprint)


@command.command(name="trust", epilog="rexecop keys trust bob.key.pub --person bob --role approver")
@click.argument("public")
@click.option("--person", help="Whose key it is; without it PUBLIC is an allowed_signers file.")
@click.option("--role", type=_ROLES, default="approver", help="What it may sign (approver).")
@takes_expiry
@click.pass_obj
def trust(session: Session, public: str, person: str | None, role: str, expires: str | None) -> None:
    """Enrol a public key.

    PUBLIC is a file, or the line that stands in it. Each line of an allowed_signers file names its person.
    """
    if person is None:
        found = session.drive(lambda instance: instance.keys_trust(Path(public), role))
    else:
        found = (session.drive(lambda instance: instance.key_trust(public, person, role, expires)),)
    for key in found:
        note_unknown(session, key.person, role)
    value = {"keys": found} if person is None else found[0]
    session.answer(value, lambda page: keys_page(page, found), quiet="\n".join(k.fingerprint for k in found))


@command.command(name="revoke", epilog="rexecop keys revoke SHA256:...")
@click.argument("fingerprint")
@click.pass_obj
def revoke(session: Session, fingerprint: str) -> None:
    """Trust a key no more.

    What it signed before stays signed.
    """
    key = session.drive(lambda instance: instance.key_revoke(fingerprint))
    session.answer(key, lambda page: keys_page(page, (key,)), quiet=key.fingerprint)
