"""`rexecop node`: a remote runtime node, which dials out to its instance; and what nodes said too late."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.pages import late_page
from rexecop.cli.parsing import VerbCommand, VerbGroup, VerbWithMore
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="node")
@click.option("--connect", required=True, metavar="URL", help="The instance's service, as https://HOST.")
@click.option("--key", required=True, metavar="FILE", help="This node's private key (Ed25519).")
@click.option("--instance", required=True, metavar="KEY", help="The instance's public key, a file or line.")
@click.option("--state", required=True, metavar="DIR", help="Where it remembers which permits it acted on.")
@click.pass_obj
def serve(session: Session, connect: str, key: str, instance: str, state: str) -> None:
    """Run programs here for an instance, by its permits, until interrupted.

    The node connects, and connects again when the connection is lost; nothing listens here.
    Both sides prove their keys. Needs the extra `node`.
    """
    from rexecop.app.nodes import NodeAsked, run_node

    asked = NodeAsked(url=connect, key=Path(key), instance=instance, state=Path(state))
    quiet = session.settings.quiet
    run_node(asked, lambda line: None if quiet else session.show(line))


@click.command(cls=VerbCommand, name="late", epilog="rexecop node late")
@click.pass_obj
def late(session: Session) -> None:
    """Print what nodes said of calls whose end nobody waited for, and how to settle them."""
    from rexecop.app.late import late_outcomes

    with session.instance() as instance:
        found = late_outcomes(instance)
    if found.unsigned:
        session.note(f"lines that no enrolled node has signed, left out: {found.unsigned}")
    quiet = "\n".join(step for one in found.late for step in one.next)
    session.answer(found, lambda page: late_page(page, found.late), quiet=quiet)


command: VerbGroup = VerbWithMore(serve, [late])
