"""What policy packs look like to people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from rexecop.cli.exits import Exit
from rexecop.cli.render import Page, minute, short
from rexecop.cli.session import Session

if TYPE_CHECKING:
    from rexecop.app.packs import PackView
    from rexecop.app.policies import AdoptView, ReplayView
    from rexecop.proof.records.decision import PackRef

CHANGES_SHOWN_MAX: Final = 20  # Enough to see what kind they are of; `--json` has all.


def packs_answer(session: Session, packs: Sequence[PackView]) -> int:
    """Print what is in packs and what is wrong there; end with 1 if one has an error."""
    errors = sum(finding.severity == "error" for pack in packs for finding in pack.findings)

    def draw(page: Page) -> None:
        for pack in packs:
            pack_page(page, pack)

    quiet = "\n".join(pack.digest or "" for pack in packs)
    session.answer({"packs": packs, "errors": errors}, draw, quiet=quiet)
    return Exit.FAILED if errors or not packs else Exit.DONE


def pack_page(page: Page, pack: PackView) -> None:
    """Draw a pack and what was found in it."""
    errors = sum(finding.severity == "error" for finding in pack.findings)
    warnings = len(pack.findings) - errors
    page.title(f"{pack.id or pack.source} {pack.version or ''}".rstrip(), "failed" if errors else "ok")
    if pack.digest is not None:
        page.row("digest", pack.digest, whole=True)
        page.row("rules", ", ".join(pack.rules) or "none")
        page.row("requires", ", ".join(pack.requirements) or "nothing")
        people = [
            f"{name} ({', '.join(groups) or 'no group'})" for name, groups in (pack.people or {}).items()
        ]
        page.row("people", ", ".join(people) or "none")
        page.row("valid", pack.valid or "always")
        page.row("signed", pack.signature or "no")
        page.row("cases", str(pack.cases))
    for finding in pack.findings:
        page.line(f"{finding.file}:{finding.line}: {finding.severity} {finding.code}: {finding.message}")
    said = f"{errors} errors, {warnings} warnings" if pack.findings else "nothing to say"
    page.verdict(f"{pack.source}: {said}", good=not errors)


def replay_page(page: Page, view: ReplayView) -> None:
    """Draw what a candidate answers otherwise, counted and listed."""
    page.title(f"under {_named(view.candidate)}")
    if view.since is not None:
        page.row("set", f"{short(view.since)} by {view.set_by}")
    page.row("decisions", str(view.decisions))
    changed = f": {view.stricter} stricter, {view.wider} wider, {view.both} in part either"
    page.row("otherwise", f"{len(view.changes)}{changed if view.changes else ''}")
    if view.unread:
        page.row("unread", f"{view.unread} operations have damaged records and were left out")
    for line in view.changes[-CHANGES_SHOWN_MAX:]:
        page.line(
            f"#{line.number}  {minute(line.at)}  {line.gate}  {line.requester}  {line.kind}  {line.asked}"
        )
        page.row("", line.words)


def adopt_page(page: Page, view: AdoptView) -> None:
    """Draw what adopting a pack changes, or changed."""
    page.title(_named(view.pack), "in force" if view.adopted else "")
    page.row("folder", view.folder, whole=True)
    page.row("replaces", _named(view.replaces) if view.replaces else "nothing that can be read")
    for label, names in (("rules +", view.added), ("rules -", view.removed), ("rules ~", view.changed)):
        if names:
            page.row(label, ", ".join(names))
    for label, lines in (("people", view.people), ("actions", view.actions)):
        for index, words in enumerate(lines):
            page.row(label if index == 0 else "", words)
    for words in view.warnings:
        page.row("warning", words)
    replay_page(page, view.replay)


def _named(pack: PackRef) -> str:
    return f"{pack.id} {pack.version}"
