"""Telling people: the port senders stand behind, and the end of an operation whose terms oblige to tell.

A notice says that something happened and where to look. It holds no parameter, output or reason,
so that it may go where evidence may not. What became of it is a note in the operation's records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final, Protocol

from rexecop.engines.closing import close
from rexecop.engines.session import Session
from rexecop.operations.fold import Operation
from rexecop.proof.canonical import canonical_bytes, digest_of
from rexecop.proof.plaintext import escape
from rexecop.proof.records.instance import Note
from rexecop.proof.records.receipt import ObligationMet
from rexecop.proof.signer import Signer
from rexecop.proof.times import format_time

TOPIC: Final = "notice"  # Of the notes that say what became of notices.
WANTED: Final = "approval-wanted"
REMINDED: Final = "approval-reminder"
ESCALATED: Final = "approval-escalation"
GLASS: Final = "break-glass"
ENDED: Final = "operation-ended"
TURNED: Final = "components-turned"
TEST: Final = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What `groups` (and of them `people`, where somebody is meant) are told: `event` of `operation`.

    Whoever gets one `id` twice was told once. `text` is one line for people; `command` is what an
    approver types, by `expires` where the yes comes too late afterwards, and `link` the page with
    what is signed. Neither says yes for anybody.
    """

    kind: ClassVar[str] = "notice/1"

    id: str
    event: str
    at: datetime
    text: str
    groups: tuple[str, ...]
    people: tuple[str, ...] = ()
    operation: str | None = None
    number: int | None = None
    intent: str | None = None
    target: str | None = None
    state: str | None = None
    requester: str | None = None
    command: str | None = None
    expires: datetime | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of `notice` at `sender`: `failed` says why it was not taken in so many `tries`, or None."""

    kind: ClassVar[str] = "delivery/1"

    notice: Notice
    sender: str
    failed: str | None
    tries: int = 1

    @property
    def words(self) -> str:
        """The same for people."""
        how = "accepted" if self.failed is None else f"not sent: {self.failed}"
        return f"{', '.join(self.notice.groups)} by {self.sender}: {how}"


class Notices(Protocol):
    """Whoever can be told, by the senders that the root names."""

    def tells(self, group: str) -> bool:
        """Return whether a sender is named for `group`."""
        ...

    async def tell(self, notice: Notice) -> tuple[Delivery, ...]:
        """Give `notice` to every sender of its groups, and return what became of it.

        It never raises for what a sender does, and takes no longer than the time the root gives it.
        """
        ...


def notice_of(
    op: Operation,
    number: int,
    event: str,
    groups: Sequence[str],
    *,
    about: str,
    text: str,
    at: datetime,
    people: Sequence[str] = (),
    step: str | None = None,
    expires: datetime | None = None,
) -> Notice:
    """Return the notice that `groups` get of `event` of `op`; `about` is what makes it another one.

    Who is asked for a yes, to all of it or to `step`, is told what to type, and by when.
    """
    intent, named = op.the_intent, tuple(sorted(groups))
    key = canonical_bytes([op.id, event, about, list(named), sorted(people)])
    command = None
    if event in (WANTED, REMINDED, ESCALATED):
        command = f"rexecop approve {number}" + (f" --step {step}" if step is not None else "")
        by = f" by {format_time(expires)}" if expires is not None else ""
        text = f"{text}; to answer{by}: {command}"
    return Notice(
        id=f"ntc_{digest_of(key).removeprefix('sha256:')[:32]}",
        event=event,
        at=at,
        text=escape(f"#{number} {intent.intent} on {intent.target}: {text}"),
        groups=named,
        people=tuple(sorted(people)),
        operation=op.id,
        number=number,
        intent=f"{intent.profile.name}/{intent.intent}",
        target=intent.target,
        state=str(op.state),
        requester=intent.by.person,
        command=command,
        expires=expires,
    )


def note_delivery(session: Session, delivery: Delivery) -> None:
    """Hold what became of a notice at one sender as the next record."""
    notice = delivery.notice
    session.add(Note, topic=TOPIC, text=f"{notice.event} to {delivery.words} ({notice.id})")


async def conclude(session: Session, signer: Signer, notices: Notices | None) -> bool:
    """Tell whom the terms oblige to tell of the end, then write its receipt, as `close` does.

    Return False where somebody else wrote meanwhile: what is next may be something else.

    Raises:
        As `Session.flush_or_reload`.
    """
    op = session.op
    groups = op.obligations.notify if op.leaves else ()
    if not groups:
        close(session, signer)
        return True
    # Nobody is told of what could still be lost.
    if not await session.flush_or_reload():
        return False
    deliveries: tuple[Delivery, ...] = ()
    if notices is not None:
        number = session.store.number(op.id)
        about, text = f"end {len(op.receipts)}", f"ended {op.state}"
        notice = notice_of(op, number, ENDED, groups, about=about, text=text, at=session.now())
        deliveries = await notices.tell(notice)
        for delivery in deliveries:
            note_delivery(session, delivery)
    close(session, signer, told=_told(groups, deliveries))
    return True


def _told(groups: Sequence[str], deliveries: Sequence[Delivery]) -> ObligationMet:
    """A group was told where a sender of it accepted the notice."""
    reached = {group for one in deliveries if one.failed is None for group in one.notice.groups}
    missing = [group for group in groups if group not in reached]
    said = "; ".join(one.words for one in deliveries) or "no sender is named"
    how = said if not missing else f"not told: {', '.join(missing)}; {said}"
    return ObligationMet(name="notify", met=not missing, how=how)
