"""Packs and the root: `policy shadow`, `adopt`."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.errors import Usage
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.policies import adopt_page, pack_page, replay_page
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="shadow", epilog="rexecop policy shadow house")
@click.argument("what", metavar="DIR|report", required=False)
@click.option("--off", is_flag=True, help="Take the candidate away.")
@click.pass_obj
def shadow(session: Session, what: str | None, off: bool) -> None:
    """Keep a candidate beside the packs in force, and report what it would have answered since then.

    A candidate decides nothing. DIR sets it, `report` (or nothing) reports; `./report` is a folder.
    """
    from rexecop.app.policies import Policies

    if off and what is not None:
        raise Usage("either `--off`, or a folder, or `report`")
    if off:
        session.drive(lambda instance: Policies(instance).shadow_off())
        return session.answer({"shadow": None}, lambda page: page.line("no candidate is set any more"))
    if what not in (None, "report"):
        pack = session.drive(lambda instance: Policies(instance).shadow(Path(str(what))))
        return session.answer(pack, lambda page: pack_page(page, pack), quiet=pack.digest or "")
    with session.instance() as instance:
        view = Policies(instance).shadow_report()
    return session.answer(view, lambda page: replay_page(page, view), quiet=str(len(view.changes)))


@click.command(cls=VerbCommand, name="adopt", epilog="rexecop policy adopt house --yes")
@click.argument("source", metavar="DIR|PROFILE")
@click.option("--yes", "-y", is_flag=True, help="Do not ask; for scripts.")
@click.pass_obj
def adopt(session: Session, source: str, yes: bool) -> None:
    """Put a pack in force, after showing what that changes.

    It takes the place of the pack of its name. From a PROFILE comes the pack it proposes, which
    grants nothing before.
    """
    from rexecop.app.policies import Policies

    session.require_answers(yes=yes)
    with session.instance() as instance:
        files = Policies(instance).source(source)
        seen = Policies(instance).preview(files)
    if not yes:
        page = Page(colour=False, width=session.width())
        adopt_page(page, seen)
        session.show(page.text())
    session.confirm("put this pack in force?", yes=yes)
    view = session.drive(lambda instance: Policies(instance).adopt(files))
    session.answer(view, lambda page: adopt_page(page, view), quiet=str(view.pack.digest))
