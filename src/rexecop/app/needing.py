"""What needs a person now, as the index and what was found damaged say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.reviewing import reviews_due
from rexecop.app.watching import NEXT
from rexecop.operations.machine import DRIVABLE
from rexecop.operations.ports import Row
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Mode, State
from rexecop.store.reading import Reading as LedgerReading

EACH_MAX: Final = 200  # Of one kind at a time, the newest; `rexecop list --state` pages through all.


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedView:
    """Something that waits for a person: `why`, since when, and the `next` command.

    `operation_id` is None where it is about the ledger.
    """

    kind: str
    operation_id: str | None
    number: int | None
    what: str
    requester: str
    since: datetime | None
    why: str
    next: str


def needs(log: LedgerReading, alive: Callable[[str], bool], now: datetime) -> Iterator[NeedView]:
    """Yield what needs a person: the unknown, the damaged, overdue reviews, approvals, failures, the rest.

    Failed reads need nobody: what asked for them asks again.
    """
    for number, row in log.rows(state=State.INDETERMINATE, limit=EACH_MAX):
        yield _need("unknown outcome", number, row, "an effect may have happened", NEXT[State.INDETERMINATE])
    for state in sorted(DRIVABLE - {State.APPROVED}):
        for number, row in log.rows(state=state, limit=EACH_MAX):
            if not alive(row.operation):
                yield _need("left alone", number, row, f"`{state}`, and nobody drives it", "start {}")
    yield from _damaged(log)
    for due in reviews_due(log, now):
        what = f"{due.intent} on {due.target}"
        why = f"review {'is overdue since' if due.overdue else 'is due by'} {due.by:%Y-%m-%d %H:%MZ}"
        yield NeedView(
            kind="review",
            operation_id=due.operation_id,
            number=due.number,
            what=what,
            requester=due.requester,
            since=due.by if due.overdue else None,
            why=why,
            next=f"rexecop review done {due.number} --reason TEXT",
        )
    for state, kind in ((State.WAITING_FOR_APPROVAL, "approval"), (State.PAUSED, "paused")):
        for number, row in log.rows(state=state, limit=EACH_MAX):
            step = state is State.PAUSED and row.waiting
            yield _need(kind, number, row, row.waiting or str(state), "show {}" if step else NEXT[state])
    for number, row in log.rows(state=State.FAILED, limit=EACH_MAX):
        if row.mode in (Mode.APPLY, Mode.RECOVERY):
            yield _need(
                "failed", number, row, "a change failed: retry, undo or escalate it", NEXT[State.FAILED]
            )


def _need(kind: str, number: int, row: Row, why: str, next_: str) -> NeedView:
    return NeedView(
        kind=kind,
        operation_id=row.operation,
        number=number,
        what=f"{row.profile}/{row.intent} on {row.target}",
        requester=row.requester,
        since=row.updated,
        why=why,
        next=f"rexecop {next_.format(number)}",
    )


def _damaged(log: LedgerReading) -> Iterator[NeedView]:
    try:
        count = len(log.quarantined())
    except RexecopError as error:
        count, why = 1, error.message
    else:
        why = f"{count} records are damaged and set aside"
    if count:
        yield NeedView(
            kind="damaged",
            operation_id=None,
            number=None,
            what="the ledger",
            requester="",
            since=None,
            why=why,
            next="rexecop recover",
        )
