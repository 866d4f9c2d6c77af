"""`rexecop node`: a remote runtime node, which dials out to its instance."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="node")
@click.option("--connect", required=True, metavar="URL", help="The instance's service, as https://HOST.")
@click.option("--key", required=True, metavar="FILE", help="This node's private key (Ed25519).")
@click.option("--instance", required=True, metavar="KEY", help="The instance's public key, a file or line.")
@click.option("--state", required=True, metavar="DIR", help="Where it remembers which permits it acted on.")
@click.pass_obj
def command(session: Session, connect: str, key: str, instance: str, state: str) -> None:
    """Run programs here for an instance, by its permits, until interrupted.

    The node connects, and connects again when the connection is lost; nothing listens here.
    Both sides prove their keys. Needs the extra `node`.
    """
    from rexecop.app.nodes import NodeAsked, run_node

    asked = NodeAsked(url=connect, key=Path(key), instance=instance, state=Path(state))
    quiet = session.settings.quiet
    run_node(asked, lambda line: None if quiet else session.show(line))
