"""`rexecop mcp`: intents as tools of an agent, over standard input and output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import click

from rexecop.cli.errors import Usage
from rexecop.cli.extras import with_extra
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.planning import named
from rexecop.cli.session import Session

# The command line and the service are neighbours: neither imports the other. This one name is all it knows.
_SERVICE: Final = "rexecop.service.mcp.stdio"


@click.command(cls=VerbCommand, name="mcp")
@click.option("--agent", required=True, help="The agent that asks, as a policy pack names it.")
@click.option("--sponsor", help="Who answers for it; has to be whom the packs name.")
@click.option("--profile", help="The profile whose intents are tools: a name, or a path.")
@click.option("--env", help="The environment they are for: a path.")
@click.option(
    "--gateway", help="The file of a gateway that was accepted, instead of profile and environment."
)
@click.option("--catalog", help="A catalog of targets: it names profiles and environments of its own.")
@click.option("--wait", type=click.IntRange(1, 300), default=20, help="Seconds a call waits: 20.")
@click.pass_obj
def command(
    session: Session,
    agent: str,
    sponsor: str | None,
    profile: str | None,
    env: str | None,
    gateway: str | None,
    catalog: str | None,
    wait: int,
) -> None:
    """Serve an agent over MCP until its input ends. Needs the extra `mcp`.

    Standard output carries the protocol and nothing else.
    """
    settings, relays = session.settings, None
    if catalog is not None:
        if profile or env or gateway:
            raise Usage("`--catalog` names all of it; give it or `--profile`, `--env`, `--gateway`")
    elif gateway is not None:
        from rexecop.app.gateways import served

        settings, relays = served(settings, Path(gateway))
    else:
        profile, env = profile or settings.profile, env or settings.env
        settings = replace(settings, profile=named("profile", profile), env=named("env", env))
    service = with_extra(_SERVICE, "mcp", "mcp")
    targets = None if catalog is None else Path(catalog)
    service.serve(settings, agent=agent, sponsor=sponsor, wait_seconds=wait, relays=relays, catalog=targets)
