"""`rexecop guest`: the agent inside a guest, and the grants by which it may be asked."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.granting import GRANTS, grant, listed, revoke
from rexecop.cli.parsing import VerbCommand, VerbGroup, VerbWithMore
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="guest")
@click.option("--socket", metavar="PATH", help="Listen on a Unix socket of this user's.")
@click.option("--listen", metavar="HOST:PORT", help="Listen behind TLS; port 0 is any free one.")
@click.option("--certificate", metavar="FILE", help="The certificate to show (PEM).")
@click.option("--key", metavar="FILE", help="Its private key (PEM).")
@GRANTS
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


command: VerbGroup = VerbWithMore(serve, [grant, revoke, listed])
