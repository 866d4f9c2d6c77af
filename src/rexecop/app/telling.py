"""When people are told, and what became of it: a note in the operation it is about.

Nobody waits longer than the root gives senders, nothing changes by it, and what is not taken is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rexecop.app.notices import EVERYBODY, RootNotices
from rexecop.engines.session import Session
from rexecop.engines.telling import GLASS, TOPIC, TURNED, WANTED, Delivery, note_delivery, notice_of
from rexecop.engines.world import World
from rexecop.governance.obligations import approvals_in_words
from rexecop.operations.errors import AppendConflict
from rexecop.operations.fold import Operation
from rexecop.operations.next import awaited_call
from rexecop.operations.recorded import typed
from rexecop.proof.call import call_digest
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.records.instance import Note
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.vocabulary import Mode, State, Verdict

_OVER: Final = (State.COMPLETED, State.FAILED)  # What was cut off found nothing of what it did not reach.
TRIES_MAX: Final = 4  # To note it: whoever is told may act before the note is written.


def expiry(op: Operation, step: str | None = None) -> datetime | None:
    """Return when a yes comes too late: what was said so far, or leave to run, has run out; None: never.

    With `step` it is a yes to that step of what runs, whose leave is its ticket.
    """
    if step is None:
        said, end = op.standing_approvals(), op.terms.not_after
    else:
        said = tuple(typed(sealed, Approval) for sealed in op.said_of(step))
        end = typed(op.sealed_ticket, Ticket).expires
    ends = [one.statement.expires for one in said if not one.statement.refuses]
    return min([*ends, *([end] if end is not None else [])], default=None)


class Telling:
    """Tells people of the operations of one instance."""

    def __init__(self, world: World, notices: RootNotices) -> None:
        self._world = world
        self.notices: Final = notices

    async def planned(self, op: Operation) -> None:
        """Tell of an emergency that policy lets pass, and whoever is to approve."""
        if op.the_intent.break_glass and op.terms.verdict is not Verdict.BLOCKED:
            asked = (rule.group for rule in op.terms.approvals)
            groups = sorted({*asked, *op.terms.obligations.notify, EVERYBODY})
            await self.tell(op, GLASS, groups, about="", text="the glass was broken")
        await self.waits(op)

    async def waits(self, op: Operation) -> None:
        """Tell whoever is to approve what waits for that, once for what is asked of them."""
        missing: Sequence[ApprovalRule] = ()
        about, step = "", None
        if op.state is State.WAITING_FOR_APPROVAL:
            about, missing = str(op.sealed_decision.digest), op.missing_approvals()
        elif op.state is State.PAUSED and (make := awaited_call(op)) is not None:
            about, missing = f"{make.step.id} {call_digest(make.call)}", op.missing_for(make.step)
            step = make.step.id
        if missing:
            text = f"waits for approval by {approvals_in_words(missing)}"
            groups = [rule.group for rule in missing]
            await self.tell(op, WANTED, groups, about=about, text=text, step=step)

    async def assessed(self, op: Operation) -> None:
        """Tell whom `notify.yaml` names of components that `op` found to have turned, once each way."""
        if op.state not in _OVER or op.the_intent.mode is Mode.DRY_RUN:
            return
        asked, world = op.the_intent, self._world
        intent = f"{asked.profile.name}/{asked.intent}"
        if not (watches := self.notices.watches(intent)):
            return
        from rexecop.app.checks import assessed
        from rexecop.app.turning import is_newest, standing, turned

        if not is_newest(world.store, asked.environment.id, intent, world.store.number(op.id)):
            return
        targets = assessed(world.store.journal(op.id).records, world.contents)
        told, at = standing(world.store), world.clock.now()
        for watch in watches:
            found = turned(watch, (asked.environment.id, intent, op.id), at, targets, told)
            if found.unwell or found.well:
                await self.tell(op, TURNED, [watch.group], about=found.words, text=found.words)
                found.post(world.store)

    async def tell(
        self,
        op: Operation,
        event: str,
        groups: Sequence[str],
        *,
        about: str,
        text: str,
        people: Sequence[str] = (),
        step: str | None = None,
    ) -> None:
        """Tell `groups` that have a sender of `event`, unless they were told of exactly that."""
        told = [group for group in groups if self.notices.tells(group)]
        if not told:
            return
        store, at = self._world.store, self._world.clock.now()
        number = store.number(op.id)
        notice = notice_of(
            op,
            number,
            event,
            told,
            about=about,
            text=text,
            at=at,
            people=people,
            step=step,
            expires=expiry(op, step),
        )
        said = (sealed.record for sealed in store.journal(op.id).records)
        if not any(isinstance(one, Note) and one.topic == TOPIC and notice.id in one.text for one in said):
            await self._noted(op.id, await self.notices.tell(notice))

    async def retry(self) -> tuple[Delivery, ...]:
        """Send what was not taken once more; each try is noted in the operation it is about.

        Raises:
            RootUnsafe, NotifyRefused, FileRefused: as `RootNotices.retry`.
        """
        found = await self.notices.retry()
        for delivery in found:
            await self._noted(delivery.notice.operation, (delivery,))
        return found

    async def _noted(self, operation: str | None, deliveries: Sequence[Delivery]) -> None:
        for _ in range(TRIES_MAX if operation is not None else 0):
            session = Session.load(self._world.store, self._world.clock, str(operation))
            for delivery in deliveries:
                note_delivery(session, delivery)
            try:
                await session.flush()
            except AppendConflict:
                continue
            return
