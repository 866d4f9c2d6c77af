"""`rexecop gateway`: an MCP server or HTTP API of others behind policy, approvals and receipts."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="gateway")
def command() -> None:
    """Put a server or API of others behind policy, without changing it; `rexecop mcp --gateway` serves it."""


@command.command(name="accept", epilog="rexecop gateway accept notes.yaml --yes")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--yes", is_flag=True, help="Accept what is offered without asking.")
@click.pass_obj
def accept(session: Session, file: Path, yes: bool) -> None:
    """Show what an MCP server or HTTP API offers, and hold it to what is said of that from now on."""
    from rexecop.app import gateways

    session.require_answers(yes=yes)
    gateway = gateways.read_gateway(file)
    offered, files = session.drive(lambda instance: gateways.look(instance, gateway))

    def draw(page: Page) -> None:
        rows = [(one.name, one.effect, one.news or "as before", one.description[:60]) for one in offered]
        page.table(("tool", "does", "is", "says"), rows, indent=0)

    if not yes:
        page = Page(colour=False, width=session.width())
        draw(page)
        session.show(page.text())
    session.confirm(f"Accept these tools of `{gateway.name}`?", yes=yes)
    gateways.accept(session.settings, gateway, files)
    session.answer({"gateway": gateway.name, "tools": offered}, draw, quiet=gateway.name)
