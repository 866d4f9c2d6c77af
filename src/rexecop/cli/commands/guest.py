"""`rexecop guest`: the agent inside a guest, and the grants by which it may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from rexecop.cli.errors import Usage
from rexecop.cli.pages import grants_page
from rexecop.cli.parsing import VerbCommand, VerbGroup, VerbWithMore
from rexecop.cli.session import Session

_GRANTS: Final = click.option("--grants", required=True, metavar="FILE", help="The file of attach grants.")


@click.command(cls=VerbCommand, name="guest")
@click.option("--socket", metavar="PATH", help="Listen on a Unix socket of this user's.")
@click.option("--listen", metavar="HOST:PORT", help="Listen behind TLS; port 0 is any free one.")
@click.option("--certificate", metavar="FILE", help="The certificate to show (PEM).")
@click.option("--key", metavar="FILE", help="Its private key (PEM).")
@_GRANTS
@click.pass_obj
def serve(
    session: Session,
    socket: str | None,
    listen: str | None,
    certificate: str | None,
    key: str | None,
    grants: str,
) -> None:
    """Run programs here for who shows a grant, until interrupted.

    Whoever attaches runs programs as the user this runs as, within the limits and the
    isolation class that each call names. When a grant is revoked, what it runs ends.
    """
    from rexecop.app.guests import GrantFile, GuestAddress, serve_guest

    if (socket is None) == (listen is None):
        raise Usage("name one place to listen: `--socket PATH` or `--listen HOST:PORT`")
    if socket is not None:
        address = GuestAddress(socket=Path(socket))
    else:
        host, _, port = (listen or "").rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise Usage(f"`{listen}` is not like `HOST:PORT`")
        if certificate is None or key is None:
            raise Usage("`--listen` needs `--certificate FILE` and `--key FILE`")
        files = {"certificate": Path(certificate), "key": Path(key)}
        address = GuestAddress(host=host.strip("[]"), port=int(port), **files)
    quiet = session.settings.quiet
    serve_guest(address, GrantFile(Path(grants)), lambda line: None if quiet else session.show(line))


@click.command(cls=VerbCommand, name="grant", epilog="rexecop guest grant ops --hours 8 --grants grants.json")
@click.argument("name")
@click.option("--hours", type=click.IntRange(1, 24 * 366), default=24, help="How long it lasts (24).")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    type=click.Choice(["run", "start", "interrupt"]),
    help="What it is for (all); may be repeated.",
)
@_GRANTS
@click.pass_obj
def grant(session: Session, name: str, hours: int, capabilities: tuple[str, ...], grants: str) -> None:
    """Make a grant and print its token, this once."""
    from rexecop.app.guests import GrantFile

    made = GrantFile(Path(grants)).issue(name, hours, capabilities)
    session.answer(made, lambda page: grants_page(page, (made,)), quiet=made.token or "")


@click.command(cls=VerbCommand, name="revoke", epilog="rexecop guest revoke ops --grants grants.json")
@click.argument("name")
@_GRANTS
@click.pass_obj
def revoke(session: Session, name: str, grants: str) -> None:
    """Revoke a grant: what runs by it ends at once."""
    from rexecop.app.guests import GrantFile

    gone = GrantFile(Path(grants)).revoke(name)
    session.answer(gone, lambda page: grants_page(page, (gone,)), quiet=gone.name)


@click.command(cls=VerbCommand, name="grants", epilog="rexecop guest grants --grants grants.json")
@_GRANTS
@click.pass_obj
def listed(session: Session, grants: str) -> None:
    """Print every grant that was made."""
    from rexecop.app.guests import GrantFile

    found = GrantFile(Path(grants)).view()
    quiet = "\n".join(one.name for one in found if one.state == "standing")
    session.answer({"grants": found}, lambda page: grants_page(page, found), quiet=quiet)


command: VerbGroup = VerbWithMore(serve, [grant, revoke, listed])
