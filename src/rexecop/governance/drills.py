"""Drills: whether people who may be asked to approve are there, and how fast.

A drill asks a group for a signed yes that has no effect. Its statement is of a kind of
its own, signed in a namespace of its own, and names neither operation nor plan, so it
can never be shown as an approval. Drills are notes in the instance's own chain; what is
reported of them is read from there, and an answer counts only where its signature does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar, Final

from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError
from rexecop.proof.plaintext import quote
from rexecop.proof.principal import Principal
from rexecop.proof.records.instance import Note
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role

DRILL_NAMESPACE: Final = "drill@rexecop"
DRILL_TOPIC: Final = "approval-drill"
ANSWER_TOPIC: Final = "approval-drill-answer"
DRILL_OPEN: Final = timedelta(hours=24)  # As long as an approval is good; later nobody was there.


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillCall:
    """What is asked: a yes of each of `members`, who are all of `group` at that moment."""

    kind: ClassVar[str] = "approval-drill/1"

    group: str
    members: tuple[str, ...]
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStatement:
    """What a member signs: that they were there for the `drill` of that digest. It approves nothing."""

    kind: ClassVar[str] = "approval-drill-statement/1"

    instance: str
    drill: Digest
    group: str
    approver: Principal

    def in_words(self) -> str:
        """Return everything that is signed, as lines of plain text."""
        return (
            f"  signs        that you are there; it approves nothing\n  of instance  {quote(self.instance)}\n"
            f"  drill        {self.drill} of group {quote(self.group)}\n"
            f"  as           {quote(self.approver.person)} with key {self.approver.credential}\n"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillAnswer:
    """A statement and its signature (armored SSHSIG, namespace `drill@rexecop`)."""

    kind: ClassVar[str] = "approval-drill-answer/1"

    statement: DrillStatement
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One who was asked: when they answered and after how many milliseconds, or None.

    `has_key` is False for those who have no approver's key now: they could not answer.
    """

    person: str
    has_key: bool
    answered: datetime | None = None
    after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A drill as the chain shows it: `state` is `open`, `over`, or `answered` by everybody."""

    drill: Digest
    group: str
    asked_by: str
    asked: datetime
    until: datetime
    reason: str | None
    state: str
    members: tuple[Member, ...]

    def waits_for(self, person: str) -> bool:
        """Return whether an answer of `person` would be taken."""
        mine = (one for one in self.members if one.person == person)
        return self.state == "open" and any(one.answered is None for one in mine)


def drills(chain: Iterable[Sealed], enrolled: Sequence[Enrolment], now: datetime) -> tuple[Drill, ...]:
    """Return the drills that the instance's `chain` shows at `now`, oldest first."""
    found: dict[Digest, Drill] = {}
    for sealed in chain:
        note = sealed.record
        if not isinstance(note, Note) or note.topic not in (DRILL_TOPIC, ANSWER_TOPIC):
            continue
        try:
            if note.topic == DRILL_TOPIC:
                found[sealed.digest] = _begun(sealed.digest, note, enrolled, now)
            else:
                _count(decode(DrillAnswer, note.text.encode()), note, enrolled, found)
        except ProofError:
            continue  # Anybody may leave a remark: one that is no drill says nothing about any.
    return tuple(_ended(one, now) for one in found.values())


def _begun(digest: Digest, note: Note, enrolled: Sequence[Enrolment], now: datetime) -> Drill:
    call = decode(DrillCall, note.text.encode())
    keyed = {one.person for one in enrolled if one.role is Role.APPROVER and one.valid_at(now)}
    return Drill(
        drill=digest,
        group=call.group,
        asked_by=note.by.person,
        asked=note.at,
        until=note.at + DRILL_OPEN,
        reason=call.reason,
        state="open",
        members=tuple(Member(person=person, has_key=person in keyed) for person in call.members),
    )


def _count(
    answer: DrillAnswer, note: Note, enrolled: Sequence[Enrolment], found: dict[Digest, Drill]
) -> None:
    """Write the answer into the drill it names; only the first of each member counts, and only in time."""
    said = answer.statement
    drill = found.get(said.drill)
    if drill is None or (said.instance, said.group) != (note.operation, drill.group):
        return
    keys = _keys_of(said.approver, enrolled, note.at)
    signed_by = sshsig.verify(answer.signature, encode(said), DRILL_NAMESPACE).public
    if signed_by.line not in keys or not drill.asked <= note.at < drill.until:
        return
    after = (note.at - drill.asked) // timedelta(milliseconds=1)
    found[said.drill] = replace(
        drill,
        members=tuple(
            replace(one, answered=note.at, after_ms=after)
            if one.person == said.approver.person and one.answered is None
            else one
            for one in drill.members
        ),
    )


def _keys_of(approver: Principal, enrolled: Sequence[Enrolment], at: datetime) -> Iterator[str]:
    return (
        one.public
        for one in enrolled
        if (one.role, one.person, one.fingerprint) == (Role.APPROVER, approver.person, approver.credential)
        and one.valid_at(at)
    )


def _ended(drill: Drill, now: datetime) -> Drill:
    if all(one.answered is not None for one in drill.members):
        return replace(drill, state="answered")
    return replace(drill, state="over") if now >= drill.until else drill
