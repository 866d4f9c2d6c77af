"""Making packs: `policy new`, `import`, `sign`."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.parsing import VerbCommand
from rexecop.cli.policies import pack_page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="new", epilog="rexecop policy new house")
@click.argument("folder", metavar="DIR")
@click.pass_obj
def new(session: Session, folder: str) -> None:
    """Write a commented pack to begin with into the new folder DIR; its name is the pack's."""
    from rexecop.app.identity import os_user
    from rexecop.app.packs import check_pack, new_pack

    new_pack(Path(folder), os_user().person)
    view = check_pack(Path(folder))
    session.answer(view, lambda page: pack_page(page, view), quiet=view.digest or "")


@click.command(cls=VerbCommand, name="import", epilog="rexecop policy import seed-policy.yaml house")
@click.argument("file")
@click.argument("folder", metavar="DIR")
@click.option(
    "--approvers", metavar="GROUP", default="approvers", help="Whose approval is asked for (approvers)."
)
@click.option("--profile", help="The profile whose calls are meant: the one that the environment names.")
@click.pass_obj
def import_(session: Session, file: str, folder: str, approvers: str, profile: str | None) -> None:
    """Write the pack that means what a GovEngine policy pack says, into the new folder DIR.

    FILE is YAML or JSON, or an environment with a `policy_pack`. What cannot be said is refused.
    """
    from rexecop.app.packs import check_pack, import_pack

    import_pack(Path(file), Path(folder), approvers, profile)
    view = check_pack(Path(folder))
    session.answer(view, lambda page: pack_page(page, view), quiet=view.digest or "")


@click.command(cls=VerbCommand, name="sign", epilog="rexecop policy sign house --key issuer.key")
@click.argument("folder", metavar="DIR")
@click.option("--key", metavar="FILE", required=True, help="Sign with this SSH private key.")
@click.pass_obj
def sign(session: Session, folder: str, key: str) -> None:
    """Sign the digest of a pack that passes every check; the signature is its `pack.sig`."""
    from rexecop.app.packs import check_pack, sign_pack

    sign_pack(Path(folder), Path(key))
    view = check_pack(Path(folder))
    session.answer(view, lambda page: pack_page(page, view), quiet=view.digest or "")
