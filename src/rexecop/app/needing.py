"""What needs a person now, as the index and what was found damaged say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.escalations import proposals_open, standing
from rexecop.app.reviewing import reviews_due
from rexecop.operations.machine import DRIVABLE
from rexecop.proof.vocabulary import READ_MODES, State
from rexecop.store.reading import Reading as LedgerReading

EACH_MAX: Final = 200  # Of one kind at a time, the newest; `rexecop list --state` pages through all.
LEFT: Final = "left alone"
FAILED: Final = "failed"
ESCALATED: Final = "escalated"
PROPOSED: Final = "proposal"
KINDS: Final = (
    (State.INDETERMINATE, "unknown outcome", "an effect may have happened", "reconcile {} --probe"),
    *((state, LEFT, "nobody drives it", "start {}") for state in sorted(DRIVABLE - {State.APPROVED})),
    (State.WAITING_FOR_APPROVAL, "approval", "it waits for approval", "approve {} --key FILE"),
    (State.PAUSED, "paused", "it was stopped between two steps", "status {}"),
    (State.FAILED, FAILED, "a change failed: try it again, undo it or hand it on", "why {}"),
)
"""State, kind, why it needs somebody, and the command that is likeliest next; what presses most first."""


@dataclass(frozen=True, slots=True)
class NeedView:
    """Something that waits for a person: `why`, since when, and the `next` command.

    `operation_id` and `number` are None where it is about the ledger.
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
    """Yield what needs a person. Failed reads need nobody: whoever asked for them asks again."""
    if count := len(log.quarantined()):
        why = f"{count} records are damaged and set aside"
        yield NeedView("damaged", None, None, "the ledger", "", None, why, "rexecop recover --from BACKUP")
    for due in reviews_due(log, now):
        what, command = f"{due.intent} on {due.target}", f"rexecop review done {due.number} --reason TEXT"
        why = f"its review {'is overdue since' if due.overdue else 'is due by'} {due.by:%Y-%m-%d %H:%MZ}"
        yield NeedView("review", due.operation_id, due.number, what, due.requester, None, why, command)
    yield from _left_to_people(log)
    for state, kind, why, command in KINDS:
        for number, row in log.rows(state=state, limit=EACH_MAX):
            if (kind == LEFT and alive(row.operation)) or (kind == FAILED and row.mode in READ_MODES):
                continue
            what, said = f"{row.profile}/{row.intent} on {row.target}", row.waiting or why
            following = f"rexecop {command.format(number)}"
            yield NeedView(kind, row.operation, number, what, row.requester, row.updated, said, following)


def _left_to_people(log: LedgerReading) -> Iterator[NeedView]:
    """Yield what reactions escalated, oldest first, and what programs propose."""
    found = sorted(standing(log), key=lambda one: one.since)
    for one in found[:EACH_MAX]:
        number, row = log.row(one.operation)
        ask = f"reaction-explain --reaction {one.reaction}" if one.reaction else f"why {number}"
        what, why = f"{row.profile}/{row.intent} on {one.target}", one.text.rstrip(".")
        yield NeedView(
            ESCALATED, one.operation, number, what, row.requester, one.since, why, f"rexecop {ask}"
        )
    for proposal in proposals_open(log):
        words = f"it suggests {proposal.suggests}, and nobody decided about it"
        command = f"rexecop reaction-proposal review --proposal {proposal.proposal}"
        what = f"proposal {proposal.name}"
        yield NeedView(PROPOSED, None, None, what, proposal.by, proposal.at, words, command)
