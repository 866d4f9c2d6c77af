"""What a pack says and would say: `policy check`, `test`, `replay`."""

from __future__ import annotations

from pathlib import Path

import click

from rexecop.cli.exits import Exit
from rexecop.cli.parsing import VerbCommand
from rexecop.cli.policies import packs_answer, replay_page
from rexecop.cli.render import Page
from rexecop.cli.session import Session


@click.command(cls=VerbCommand, name="check", epilog="rexecop policy check house")
@click.argument("folder", metavar="[DIR]", required=False)
@click.pass_obj
def check(session: Session, folder: str | None) -> int:
    """Say what is in a pack, and everything that is wrong or doubtful in it.

    Without DIR it is about every pack in the root's `policy/`. Ends with 1 if there is an error.
    """
    from rexecop.app.packs import check_pack

    return packs_answer(session, tuple(check_pack(found) for found in _folders(session, folder)))


@click.command(cls=VerbCommand, name="test", epilog="rexecop policy test house")
@click.argument("folder", metavar="[DIR]", required=False)
@click.pass_obj
def test(session: Session, folder: str | None) -> int:
    """Run the golden cases in `tests/` of a pack: to this request, this answer.

    Without DIR those of every pack in the root's `policy/`. No case at all fails: nothing was tested.
    """
    from rexecop.app.packs import test_pack

    cases = [case for found in _folders(session, folder) for case in test_pack(found)]
    failed = sum(1 for case in cases if case.differences)
    good = bool(cases) and not failed

    def draw(page: Page) -> None:
        for case in cases:
            page.row("failed" if case.differences else "passed", f"{case.name}  {case.file}:{case.line}")
            for difference in case.differences:
                page.row("", difference)
        page.verdict(f"{folder or 'packs of the root'}: {len(cases)} cases, {failed} failed", good=good)

    session.answer({"pack": folder, "cases": cases, "failed": failed}, draw)
    return Exit.DONE if good else Exit.FAILED


@click.command(cls=VerbCommand, name="replay", epilog="rexecop policy replay house")
@click.argument("folder", metavar="DIR")
@click.pass_obj
def replay(session: Session, folder: str) -> None:
    """Say what the pack would have answered otherwise to every decision of this root.

    It is asked as if it were adopted: in the place of the pack of its name, beside the others.
    """
    from rexecop.app.policies import Policies

    with session.instance() as instance:
        view = Policies(instance).replay(Path(folder))
    session.answer(view, lambda page: replay_page(page, view), quiet=str(len(view.changes)))


def _folders(session: Session, named: str | None) -> tuple[Path, ...]:
    """Return the folder that was named, or those of the packs in the root."""
    from rexecop.app.packs import pack_folders

    return pack_folders(session.settings.root) if named is None else (Path(named),)
