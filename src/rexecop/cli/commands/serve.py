"""`rexecop serve`: the HTTP service."""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session

# The command line and the service are neighbours: neither imports the other. This one name is all it knows.
_SERVICE: Final = "rexecop.service.server"


@click.command(cls=VerbCommand, name="serve")
@click.option("--host", default="127.0.0.1", help="The address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), default=5000, help="The port (5000).")
@click.option("--tenant", "tenants", multiple=True, metavar="NAME=ROOT", help="ROOT as well, below /t/NAME.")
@click.option("--allow-remote-demo", is_flag=True, help="Listen where others can reach demo mode.")
@click.pass_obj
def command(
    session: Session, host: str, port: int, tenants: tuple[str, ...], allow_remote_demo: bool
) -> None:
    """Answer HTTP until interrupted. Needs the extra `server`."""
    from rexecop.app.errors import ExtraMissing

    settings = session.settings
    try:
        service = import_module(_SERVICE)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("rexecop"):
            raise
        raise ExtraMissing(
            f"`serve` needs the extra `server` (`{error.name}` is not installed)",
            next_steps=("pip install -e '.[server]'  # in a clone",),
            extra="server",
        ) from error
    service.serve(
        settings,
        host=host,
        port=port,
        allow_remote_demo=allow_remote_demo,
        tenants=tenants,
        report=lambda line: None if settings.quiet else session.show(line),
    )
