"""Attach grants of a guest: making, revoking and listing them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from rexecop.cli.pages import grants_page
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

GRANTS: Final = click.option("--grants", required=True, metavar="FILE", help="The file of attach grants.")


@click.command(cls=VerbCommand, name="grant", epilog="rexecop guest grant ops --hours 8 --grants grants.json")
@click.argument("name")
@click.option("--hours", type=click.IntRange(1, 24 * 366), default=24, help="How long it lasts (24).")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice(["run", "start", "interrupt", "tty", "user"]),
    help="What it is for (all); may be repeated.",
)
@GRANTS
@click.pass_obj
def grant(session: Session, name: str, hours: int, capabilities: tuple[str, ...], grants: str) -> None:
    """Make a grant and print its token, this once."""
    from rexecop.app.guests import GrantFile

    made = GrantFile(Path(grants)).issue(name, hours, capabilities)
    session.answer(made, lambda page: grants_page(page, (made,)), quiet=made.token or "")


@click.command(cls=VerbCommand, name="revoke", epilog="rexecop guest revoke ops --grants grants.json")
@click.argument("name")
@GRANTS
@click.pass_obj
def revoke(session: Session, name: str, grants: str) -> None:
    """Revoke a grant: what runs by it ends at once."""
    from rexecop.app.guests import GrantFile

    gone = GrantFile(Path(grants)).revoke(name)
    session.answer(gone, lambda page: grants_page(page, (gone,)), quiet=gone.name)


@click.command(cls=VerbCommand, name="grants", epilog="rexecop guest grants --grants grants.json")
@GRANTS
@click.pass_obj
def listed(session: Session, grants: str) -> None:
    """Print every grant that was made."""
    from rexecop.app.guests import GrantFile

    found = GrantFile(Path(grants)).view()
    quiet = "\n".join(one.name for one in found if one.state == "standing")
    session.answer({"grants": found}, lambda page: grants_page(page, found), quiet=quiet)
