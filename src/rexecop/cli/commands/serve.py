"""`rexecop serve`: the HTTP service."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from rexecop.cli.extras import with_extra
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

# The command line and the service are neighbours: neither imports the other. This one name is all it knows.
_SERVICE: Final = "rexecop.service.server"
_FILE: Final = click.Path(path_type=Path)


@click.command(cls=VerbCommand, name="serve")
@click.option("--host", default="127.0.0.1", help="The address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, help="The port (5000).")
@click.option("--tenant", "tenants", multiple=True, metavar="NAME=ROOT", help="ROOT as well, below /t/NAME.")
@click.option("--work/--no-work", default=None, help="Carry out what is queued, too, in every root served.")
@click.option("--allow-remote-demo", is_flag=True, help="Listen where others can reach demo mode.")
@click.option(
    "--sign-in-link/--no-sign-in-link",
    default=None,
    help="Print a link to sign in at the console once: where somebody sits at a terminal.",
)
@click.option("--allow-host", "names", metavar="NAME", multiple=True, help="Another name to answer to.")
@click.option("--tls-cert", metavar="FILE", type=_FILE, help="Serve TLS; SIGHUP reads the files again.")
@click.option("--tls-key", metavar="FILE", type=_FILE, help="The key of the certificate.")
@click.option("--tls-client-ca", metavar="FILE", type=_FILE, help="Let in only clients of this authority.")
@click.option("--behind-proxy", metavar="PEER", help="The address whose X-Forwarded headers are believed.")
@click.option("--drain-seconds", type=click.FloatRange(0, 300), default=0, help="Answer on when stopped.")
@click.pass_obj
def command(
    session: Session,
    host: str,
    port: int,
    tenants: tuple[str, ...],
    work: bool | None,
    allow_remote_demo: bool,
    sign_in_link: bool | None,
    names: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    behind_proxy: str | None,
    drain_seconds: float,
) -> None:
    """Answer HTTP until interrupted. Needs the extra `server`."""
    if (tls_cert is None) != (tls_key is None) or (tls_client_ca is not None and tls_cert is None):
        raise click.UsageError("TLS takes `--tls-cert` and `--tls-key`, and with them `--tls-client-ca`")
    settings = session.settings
    settings = settings if work is None else replace(settings, work=work)
    service = with_extra(_SERVICE, "serve", "server")
    shown = service.Tls(cert=tls_cert, key=tls_key, client_ca=tls_client_ca) if tls_cert else None
    facing = service.Facing(tls=shown, names=names, proxy=behind_proxy, drain_seconds=drain_seconds)
    service.serve(
        settings,
        host=host,
        port=port,
        allow_remote_demo=allow_remote_demo,
        tenants=tenants,
        # Elsewhere it would stand in a journal that others read.
        sign_in_link=sys.stderr.isatty() if sign_in_link is None else sign_in_link,
        facing=facing,
        report=lambda line: None if settings.quiet else session.show(line),
    )
