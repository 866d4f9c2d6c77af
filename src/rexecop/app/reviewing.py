"""Reviews of what was done: which are due, and recording that somebody else looked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.app.authority import RootAuthority
from rexecop.app.errors import ReviewRefused
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.operations.ports import REVIEW_BY, Ledger
from rexecop.proof.principal import Principal
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.times import parse_time

PAGE: Final = 500  # Rows of the index read at one time.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewView:
    """One review that is due: of what, asked for by whom, until when."""

    operation_id: str
    number: int
    intent: str
    target: str
    requester: str
    by: datetime
    overdue: bool


def reviews_due(ledger: Ledger, now: datetime) -> Iterator[ReviewView]:
    """Yield every review that is due, of the newest operation first."""
    after = 0
    while rows := ledger.rows(waiting=REVIEW_BY, after=after, limit=PAGE):
        for number, row in rows:
            by = parse_time(row.waiting.removeprefix(REVIEW_BY))
            yield ReviewView(
                operation_id=row.operation,
                number=number,
                intent=f"{row.profile}/{row.intent}",
                target=row.target,
                requester=row.requester,
                by=by,
                overdue=by < now,
            )
        after = rows[-1][0]


def overdue_of(ledger: Ledger, person: str, now: datetime) -> ReviewView | None:
    """Return an overdue review of something that `person` asked for, if there is one."""
    return next((due for due in reviews_due(ledger, now) if due.overdue and due.requester == person), None)


async def record_review(
    world: World, authority: RootAuthority, operation: str, by: Principal, reason: str
) -> Session:
    """Record that `by` reviewed `operation` and found `reason`.

    Raises:
        ReviewRefused: it is their own operation, or policy does not know them.
        NothingToReview: no review is due. AppendConflict: something else was recorded meanwhile.
    """
    session = Session.load(world.store, world.clock, operation)
    intent = session.op.the_intent
    if by.person in (intent.by.person, intent.sponsor):
        raise ReviewRefused(
            f"`{by.person}` asked for operation `{operation}`, so somebody else reviews it",
            person=by.person,
            next_steps=(f"rexecop review done {operation} --reason TEXT --identity KEY",),
        )
    if authority.policy().entities.type_of(by.person) != "User":
        raise ReviewRefused(
            f"no policy pack knows `{by.person}` as a person, so their review counts for nothing",
            person=by.person,
            next_steps=("rexecop keys list",),
        )
    session.add(Command, by, verb=Verb.REVIEW, reason=reason)
    await session.flush()
    return session
