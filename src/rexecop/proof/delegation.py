"""Delegations: whether a vote that somebody says for another person counts as that person's.

Who gives a vote away signs for whom, until when and for what; the instance's own chain
shows it given and not taken back. A vote said under it is the giver's, in the giver's
groups, and uses up both people: whoever of the two speaks, one person more has spoken.
It is never passed on, for nobody can sign for the giver but the giver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.eligibility import key_objection, person_objection, signature_objection
from rexecop.proof.kinship import Objection, Register, person_key
from rexecop.proof.principal import Principal
from rexecop.proof.records import Approval, Delegation, Intent, Plan
from rexecop.proof.records.approval import ApprovalStatement
from rexecop.proof.records.decision import Terms
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE, DelegationStatement
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Established

DELEGATION_VALID_MAX: Final = timedelta(days=60)  # A long leave; for longer, groups are changed.


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A delegation of the instance's chain; `revoked` is when it was taken back."""

    sealed: Sealed
    record: Delegation
    revoked: datetime | None


def delegations(chain: Sequence[Sealed], at: datetime) -> tuple[Given, ...]:
    """Return every delegation that the instance's `chain` shows at `at`, in order.

    One that was taken back stays so, also where somebody records the same statement again.
    """
    given: dict[Digest, tuple[Sealed, Delegation]] = {}
    revoked: dict[tuple[str, str], datetime] = {}
    for sealed in chain:
        record = sealed.record
        if not isinstance(record, Delegation) or record.at > at:
            continue
        name = record.statement.withdraws
        if name is None:
            given[sealed.digest] = sealed, record
        elif name in given and (gave := _name(given[name][1]))[0] == _name(record)[0]:
            revoked.setdefault(gave, record.at)
    return tuple(
        Given(sealed=sealed, record=record, revoked=revoked.get(_name(record)))
        for sealed, record in given.values()
    )


def _name(record: Delegation) -> tuple[str, str]:
    return person_key(record.statement.giver.person), record.statement.nonce


def persons_of(said: ApprovalStatement) -> frozenset[str]:
    """Return the keys of the persons that a vote uses up: who says it, and for whom."""
    return frozenset((person_key(said.approver.person), person_key(said.voter)))


def takes_back(said: ApprovalStatement, taken: ApprovalStatement) -> bool:
    """Return whether who says `said` may take `taken` back.

    Everybody takes back what is their own vote, whoever said it; a delegate only what they said, and
    without a key nobody what was signed.
    """
    how = said.approver.established
    weaker = how is not Established.KEY and taken.approver.established is not how
    return not weaker and is_vote_of(said.voter, taken, said.speaker)


def is_vote_of(person: str, said: ApprovalStatement, speaker: str | None) -> bool:
    """Return whether `said` is the vote of `person`; with `speaker` also whether they said it for them."""
    if person_key(said.voter) != person_key(person):
        return False
    return speaker is None or person_key(said.approver.person) == person_key(speaker)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a delegated vote is judged by: what was asked, on which terms, and the instance's own chain."""

    asked: Intent
    planned: Plan
    terms: Terms
    register: Register
    chain: Sequence[Sealed]


def delegated_objection(record: Approval, setting: Setting, moment: datetime) -> Objection | None:
    """Return why what `record` says for another person does not count for the plan, or None.

    The delegation must stand when the vote is recorded; the giver's key counts like that of
    whoever votes themselves at `moment`.
    """
    said = record.statement
    if said.covers is not None:
        return _none("nobody approves beforehand for another person")
    return vote_objection(said.approver, said.voter, setting, record.at, moment)


def vote_objection(
    approver: Principal, giver: str, setting: Setting, at: datetime, moment: datetime
) -> Objection | None:
    """Return why a vote for `giver` that `approver` says at `at` does not count at `moment`, or None."""
    found = resting_on(approver.person, giver, setting.asked, setting.planned, setting.chain, at)
    if isinstance(found, Objection):
        return found
    said, given = found.record.statement, found.record
    enrolment = setting.register.enrolment_of(said.giver)
    wrong = person_objection(said.giver, setting.asked, setting.terms)
    wrong = wrong or key_objection(said.giver, setting.planned, setting.register, moment)
    if wrong is not None:
        return wrong
    if enrolment is None or not enrolment.valid_at(given.at):
        return _none(f"`{giver:.64}` gave it with a key that did not count then")
    signed = (given.signature, encode(said), DELEGATION_NAMESPACE, said.giver, setting.register)
    wrong = signature_objection(*signed)
    return None if wrong is None else Objection("delegation-signature-wrong", wrong.reason)


def resting_on(
    delegate: str, giver: str, asked: Intent, planned: Plan, chain: Sequence[Sealed], at: datetime
) -> Given | Objection:
    """Return the newest delegation by which `delegate` has the vote of `giver` at `at`, or why there is none.

    Who gave it with which key, and whether it is signed, is not looked at.
    """
    words = f"`{giver:.64}` gave `{delegate:.64}` no vote"
    for given in reversed(delegations(chain, at)):
        said = given.record.statement
        if (said.giver.person, said.delegate) != (giver, delegate):
            continue
        if (wrong := _void(given, asked, planned, at)) is None:
            return given
        words = wrong
    return _none(words)


def _void(given: Given, asked: Intent, planned: Plan, at: datetime) -> str | None:
    """Return why a delegation gives nothing for the plan at `at`, in words, or None."""
    record, said = given.record, given.record.statement
    gave = f"what `{said.giver.person:.64}` gave `{said.delegate:.64}`"
    if record.by != said.giver or said.instance != record.operation:
        return f"{gave} was recorded by somebody else, or given elsewhere"
    if given.revoked is not None:
        return f"{gave} was taken back at {format_time(given.revoked)}"
    if said.until - record.at > DELEGATION_VALID_MAX:
        return f"{gave} is for longer than {DELEGATION_VALID_MAX.days} days"
    if at >= said.until:
        return f"{gave} ended at {format_time(said.until)}"
    if person_key(said.giver.person) == person_key(said.delegate):
        return f"{gave} is their own vote"
    return None if _inside(said, asked, planned) else f"{gave} is not for this operation"


def _inside(said: DelegationStatement, asked: Intent, planned: Plan) -> bool:
    intents = (asked.intent, *(one.intent for one in planned.called))
    named = all(not {one, f"{asked.profile.name}/{one}"}.isdisjoint(said.intents) for one in intents)
    return (
        (not said.environments or asked.environment.id in said.environments)
        and (not said.intents or named)
        and (not said.effects or planned.effect in said.effects)
    )


def _none(words: str) -> Objection:
    return Objection("delegation-missing", words)
