"""What the operations room looks like to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rexecop.cli.render import Page, short

if TYPE_CHECKING:
    from rexecop.app.room import LockLine, QueueView, RuntimeView
    from rexecop.app.schedules import Coming, ScheduleView
    from rexecop.app.triggering import DeadLetter
    from rexecop.app.views import OperationLine


def queue_page(page: Page, view: QueueView) -> None:
    """Draw who waits to be started, and for what."""
    if view.drained is not None:
        page.line(f"{view.drained}; {view.running} still run")
    if not view.queue:
        page.line("nothing waits to be started")
        return
    rows = [
        (str(one.place), *_operation(one.operation), one.waits or "its turn has come") for one in view.queue
    ]
    heads = ("", "operation", "intent", "target", "asked by", "waits for")
    page.table(heads, rows, whole=("", "operation"), wrap=True)


def locks_page(page: Page, locks: Sequence[LockLine]) -> None:
    """Draw every lock that stands."""
    if not locks:
        page.line("no target is locked")
        return
    rows = [(one.target, one.held, *_operation(one.operation), one.operation.state) for one in locks]
    heads = ("locked", "held", "operation", "intent", "target", "asked by", "state")
    page.table(heads, rows, whole=("held", "operation", "state"))


def runtime_page(page: Page, view: RuntimeView) -> None:
    """Draw how the root works now."""
    page.title("runtime", "failed" if view.unwritable else "ok")
    page.row("ledger", view.unwritable or "can be written")
    workers = ", ".join(f"pid {one.pid} since {short(one.since)}" for one in view.workers)
    page.row("workers", workers or "none; `rexecop worker run` is one")
    page.row("running", f"{view.running} of {view.capacity or 'any number'} that may")
    if view.states:
        page.row("begun", _counts(view.states))
    if view.untended:
        page.row("untended", f"{view.untended}: a worker goes on with them, or `rexecop why` says who must")
    if view.drained:
        page.row("drained", view.drained)
    page.row("waiting", _counts(view.waiting) or "nothing")
    if view.oldest is not None:
        page.row("oldest", f"waits since {short(view.oldest)}")


def _operation(line: OperationLine) -> tuple[str, str, str, str]:
    return f"#{line.number}", line.intent, line.target, line.requester


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def letters_page(page: Page, letters: Mapping[str, DeadLetter]) -> None:
    """Draw the dead letters."""
    if not letters:
        page.line("no trigger lies in the dead letters")
        return
    rows = [(name[:8], one.name, short(one.at), one.message) for name, one in letters.items()]
    page.table(("name", "file", "since", "why"), rows, whole=("name", "since"), wrap=True)


def schedules_page(page: Page, schedules: Sequence[ScheduleView]) -> None:
    """Draw the schedules."""
    if not schedules:
        page.line("`schedules.yaml` of the root asks for nothing")
        return
    rows = [
        (one.name, one.recurrence, one.zone, f"{one.intent} {one.target}", _next_words(one), _last_words(one))
        for one in schedules
    ]
    page.table(("name", "when", "zone", "what", "next", "last"), rows, whole=("name", "next"), wrap=True)


def _next_words(one: ScheduleView) -> str:
    return "disabled" if not one.enabled else short(one.next) if one.next is not None else "never again"


def _last_words(one: ScheduleView) -> str:
    words = [f"#{one.number}"] if one.number is not None else []
    words += [f"{len(one.waits)} wait"] if one.waits else []
    words += [f"not {short(one.passed.moment)}: {one.passed.why}"] if one.passed else []
    return "; ".join(words)


def coming_page(page: Page, coming: Sequence[Coming]) -> None:
    """Draw the moments that come next."""
    if not coming:
        page.line("nothing comes")
        return
    rows = [(f"{one.due:%Y-%m-%d %H:%M:%S}Z", one.local, one.name) for one in coming]
    page.table(("due", "for", "name"), rows, whole=("due", "for"))
