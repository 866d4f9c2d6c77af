"""`rexecop artifact`: approval artifacts of the `/execute` contract, for tests and for issuers."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import click

from rexecop.cli.parsing import VerbGroup
from rexecop.cli.render import Page, as_json
from rexecop.cli.session import Session


@click.group(cls=VerbGroup, name="artifact")
def command() -> None:
    """Approval artifacts, which `rexecop serve` asks for in mode `clawshield`."""


@command.command(name="mint", epilog="rexecop artifact mint --action echo --tenant t1 --key approver.key")
@click.option("--action", required=True, metavar="NAME", help="The action that is approved.")
@click.option("--payload", default="{}", metavar="JSON", help="Its payload; an empty object.")
@click.option("--tenant", required=True, metavar="ID", help="Whose request it is.")
@click.option("--id", "name", metavar="ID", help="The approval's id; a new UUID.")
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Sign with this SSH private key (Ed25519). Else with the secret in `CLAWSHIELD_SECRET_KEY`.",
)
@click.option("--seconds", type=click.IntRange(1, 86_400), default=300, help="How long it is good for (300).")
@click.option("--concatenated", is_flag=True, help="Sign the fields as older issuers do.")
@click.pass_obj
def mint(
    session: Session,
    action: str,
    payload: str,
    tenant: str,
    name: str | None,
    key: Path | None,
    seconds: int,
    concatenated: bool,
) -> None:
    """Sign an approval of one request, and print it.

    With a shared secret it is good for 300 s from now, whatever `--seconds` says.
    """
    from rexecop.app.contract import minted

    lifetime = timedelta(seconds=seconds)
    artifact = minted(action, payload, tenant, name, key, lifetime, concatenated, os.environ)
    text = as_json(artifact, indent=None).strip()
    session.answer(artifact, lambda page: page.line(text), quiet=text)


@command.command(name="pem", epilog="rexecop artifact pem issuer.key")
@click.argument("key", type=click.Path(path_type=Path, dir_okay=False))
@click.pass_obj
def pem(session: Session, key: Path) -> None:
    """Print the public half of an SSH key (Ed25519) as `CLAWSHIELD_PUBLIC_KEY` takes it."""
    from rexecop.app.contract import pem_of

    text = pem_of(key)

    def draw(page: Page) -> None:
        for line in text.splitlines():
            page.line(line)

    session.answer({"pem": text}, draw, quiet=text)
