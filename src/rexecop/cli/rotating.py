"""`rexecop keys rotate`: another key in the place of one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from rexecop.cli.errors import Usage
from rexecop.cli.pages import keys_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

F = TypeVar("F", bound=Callable[..., None])


def takes_expiry(function: F) -> F:
    """Give a command `--expires`."""
    return click.option(
        "--expires", metavar="DATE", help="When it stops to count: a UTC date or RFC 3339 time."
    )(function)


@click.command(cls=VerbCommand, name="rotate", epilog="rexecop keys rotate --reason 'once a year'")
@click.option("--reason", help="Why; recorded.")
@click.option("--forget", is_flag=True, help="Delete the instance's old private key.")
@click.option("--person", help="Replace this person's key, not the instance's.")
@click.option(
    "--role",
    type=click.Choice(["approver", "requester", "witness", "node", "issuer", "publisher"]),
    help="In this role.",
)
@click.option("--key", metavar="PUBLIC", help="The person's new public key: a file, or its line.")
@takes_expiry
@click.pass_obj
def rotate(
    session: Session,
    reason: str | None,
    forget: bool,
    person: str | None,
    role: str | None,
    key: str | None,
    expires: str | None,
) -> None:
    """Put another key in the place of the instance's, or of a person's.

    The old key vouches for the new one, so whoever trusts it can follow. What it signed before stays signed.
    """
    if person is None:
        if role is not None or key is not None:
            raise Usage("`--role` and `--key` are about a person; name one with `--person`")
        view = session.drive(lambda i: i.key_rotate(forget=forget, reason=reason, expires=expires))
        kept = "deleted" if view.path is None else f"kept as `{view.path}`"
        session.note(
            f"the old private key was {kept}; hand out the new public key: `rexecop keys list --json`"
        )
    else:
        if key is None or forget:
            raise Usage("a person's key is replaced with `--person`, `--key`, and without `--forget`")
        new, who, what = key, person, role or "approver"
        view = session.drive(lambda i: i.key_replace(new, who, what, reason, expires))
    session.answer(view, lambda page: keys_page(page, (view,)), quiet=view.fingerprint)
