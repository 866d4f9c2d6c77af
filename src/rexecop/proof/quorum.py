"""Quorum: which approvals count. One function, used to mint tickets and re-proved by verifiers.

An approval counts when its statement names this operation, plan, terms and preview; is
signed by the very key it names, enrolled for its approver before the plan and not by
the requester; has not expired; and comes from neither the requester, nor the agent's
sponsor, nor anyone sharing the requester's key. Persons count, not keys: over all rules
together each person fills one place, so "1 of a, 1 of b" takes two people even when
one of them is in both groups. A `no` of someone who could have said yes denies the
plan for good, whatever terms it named and even after it expired.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.errors import ChainBroken, ProofError
from rexecop.proof.principal import Principal
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval, ApprovalStatement
from rexecop.proof.records.decision import ApprovalRule, Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Established, Role, Verdict

COUNTED_MAX: Final = 128  # No quorum is larger; seating people costs more than linear time.

Groups = Mapping[str, frozenset[str]]
"""Group name to the persons in it."""


class ProvedBy(StrEnum):
    """What the identity of the counted approvers rests on."""

    KEYS = "keys"
    SESSIONS = "sessions"
    ASSERTED = "asserted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An approval that counts; `groups` are the required groups its person is in."""

    approval: Digest
    person: str
    fingerprint: str
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why an approval, or an approver, does not count."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """An approval that does not count, and why."""

    approval: Digest
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the approvals of a plan come to.

    `missing` are the places still open. `satisfied` is True only when terms ask for
    approvals, every place is filled, and nobody entitled said no. With
    `membership_checked` False the groups were not known, and the groups each
    approval was recorded with were taken as they stand.
    """

    counted: tuple[Counted, ...]
    excluded: tuple[Excluded, ...]
    denied_by: tuple[str, ...]
    missing: tuple[ApprovalRule, ...]
    satisfied: bool
    proved_by: ProvedBy
    membership_checked: bool


def tally(
    *,
    intent: Sealed,
    plan: Sealed,
    terms: Terms,
    preview: Digest,
    approvals: Sequence[Sealed],
    enrolments: Sequence[Enrolment],
    groups: Groups | None,
    at: datetime,
) -> Tally:
    """Return which of `approvals` count at `at`, and whether they are enough.

    The order of `approvals` does not matter and repeating one changes nothing.

    Raises:
        ChainBroken: `plan` is not the plan of `intent`.
    """
    case = _case(intent, plan, terms, preview, enrolments, groups, at)
    counted: list[Counted] = []
    excluded: list[Excluded] = []
    denied_by: dict[str, str] = {}
    nonces: set[str] = set()
    persons: set[str] = set()
    unique = {sealed.digest: sealed for sealed in approvals}
    for sealed in sorted(unique.values(), key=lambda sealed: (sealed.record.n, sealed.digest)):
        found = _judge(case, sealed)
        if isinstance(found, Counted):
            found = _first_of_its_kind(sealed, found, nonces, persons)
        if isinstance(found, str):
            denied_by.setdefault(person_key(found), found)
        elif isinstance(found, Counted):
            counted.append(found)
        else:
            excluded.append(Excluded(approval=sealed.digest, code=found.code, reason=found.reason))
    missing = unfilled(terms.approvals, [item.groups for item in counted])
    return Tally(
        counted=tuple(counted),
        excluded=tuple(excluded),
        denied_by=tuple(denied_by.values()),
        missing=missing,
        satisfied=_asks_properly(terms) and not missing and not denied_by,
        proved_by=ProvedBy.KEYS if counted else ProvedBy.ASSERTED,
        membership_checked=groups is not None,
    )


def person_key(person: str) -> str:
    """Return what two spellings of one person have in common: case, width and outer spaces do not count."""
    return unicodedata.normalize("NFKC", person).strip().casefold()


def approver_objection(
    approver: Principal,
    *,
    intent: Sealed,
    plan: Sealed,
    enrolments: Sequence[Enrolment],
    at: datetime,
) -> Objection | None:
    """Return why `approver` may not decide about `plan` at `at`, or None when he may.

    Raises:
        ChainBroken: `plan` is not the plan of `intent`.
    """
    asked, planned = _pair(intent, plan)
    return _person_objection(approver, asked) or _key_objection(approver, asked, planned, enrolments, at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything approvals of one plan are judged by."""

    intent: Intent
    plan: Plan
    plan_digest: Digest
    terms: Digest
    required: tuple[str, ...]
    preview: Digest
    enrolments: Sequence[Enrolment]
    groups: Groups | None
    at: datetime


def _case(
    intent: Sealed,
    plan: Sealed,
    terms: Terms,
    preview: Digest,
    enrolments: Sequence[Enrolment],
    groups: Groups | None,
    at: datetime,
) -> _Case:
    asked, planned = _pair(intent, plan)
    return _Case(
        intent=asked,
        plan=planned,
        plan_digest=plan.digest,
        terms=terms_digest(terms),
        required=tuple(dict.fromkeys(rule.group for rule in terms.approvals)),
        preview=preview,
        enrolments=enrolments,
        groups=groups,
        at=at,
    )


def _pair(intent: Sealed, plan: Sealed) -> tuple[Intent, Plan]:
    asked, planned = intent.record, plan.record
    if not isinstance(asked, Intent) or not isinstance(planned, Plan):
        raise ChainBroken("approvals are counted for a plan of an intent, and one of them is not")
    if planned.intent != intent.digest or planned.operation != asked.operation:
        raise ChainBroken("the plan does not name the intent that approvals are counted for")
    return asked, planned


def _judge(case: _Case, sealed: Sealed) -> Counted | Objection | str:
    """Return the counted approval, why it does not count, or the person who said an entitled no."""
    record = sealed.record
    if not isinstance(record, Approval):
        return Objection(code="not-an-approval", reason=f"record `{record.kind}` is not an approval")
    statement = record.statement
    # A no stands for as long as the plan does, so it is judged as of when it was given.
    moment = case.at if statement.approves else record.at
    wrong = (
        _statement_objection(case, record)
        or _person_objection(statement.approver, case.intent)
        or _key_objection(statement.approver, case.intent, case.plan, case.enrolments, moment)
        or _signature_objection(record, case.enrolments)
    )
    if wrong is not None:
        return wrong
    groups = _groups_of(case, record)
    if not groups:
        return Objection(
            code="approver-not-in-group",
            reason=f"`{statement.approver.person}` is in none of the groups that are asked",
        )
    if not statement.approves:
        return statement.approver.person
    return Counted(
        approval=sealed.digest,
        person=statement.approver.person,
        fingerprint=statement.approver.credential,
        groups=groups,
    )


def _first_of_its_kind(
    sealed: Sealed, found: Counted, nonces: set[str], persons: set[str]
) -> Counted | Objection:
    """Return `found` unless its nonce or its person was counted already; note both."""
    assert isinstance(sealed.record, Approval)
    nonce, person = sealed.record.statement.nonce, person_key(found.person)
    if nonce in nonces:
        return Objection(code="nonce-repeated", reason=f"nonce `{nonce:.64}` was used by an earlier approval")
    nonces.add(nonce)
    if person in persons:
        return Objection(code="person-repeated", reason=f"`{found.person}` is counted already")
    if len(persons) >= COUNTED_MAX:
        return Objection(code="approvals-too-many", reason=f"{COUNTED_MAX} approvals are counted already")
    persons.add(person)
    return found


def _statement_objection(case: _Case, record: Approval) -> Objection | None:
    statement = record.statement
    if statement.operation != case.plan.operation or record.operation != case.plan.operation:
        return Objection(code="approval-other-operation", reason="the statement names another operation")
    if statement.plan != case.plan_digest:
        return Objection(code="approval-other-plan", reason="the statement names another plan")
    if record.at > case.at:
        return Objection(code="approval-from-the-future", reason="the approval is dated after it was used")
    return _yes_objection(case, statement) if statement.approves else None


def _yes_objection(case: _Case, statement: ApprovalStatement) -> Objection | None:
    if statement.terms != case.terms:
        return Objection(code="approval-other-terms", reason="the statement names other terms")
    if statement.preview != case.preview:
        return Objection(code="approval-other-preview", reason="the statement names another preview")
    if case.at >= statement.expires:
        return Objection(code="approval-expired", reason="the approval has expired")
    if not statement.nonce:
        return Objection(code="nonce-missing", reason="the statement has an empty nonce")
    return None


def _person_objection(approver: Principal, asked: Intent) -> Objection | None:
    person = person_key(approver.person)
    if not person:
        return Objection(code="approver-unknown", reason="the approver has no name")
    if person == person_key(asked.by.person):
        return Objection(code="self-approval", reason=f"`{approver.person}` asked for this operation")
    if approver.credential == asked.by.credential:
        return Objection(code="self-approval", reason="the operation was asked for with the same credential")
    if asked.sponsor is not None and person == person_key(asked.sponsor):
        return Objection(
            code="sponsor-approval",
            reason=f"`{approver.person}` is the sponsor of `{asked.by.person}`, who asked for this operation",
        )
    return None


def _key_objection(
    approver: Principal, asked: Intent, planned: Plan, enrolments: Sequence[Enrolment], moment: datetime
) -> Objection | None:
    if approver.established is not Established.KEY:
        return Objection(
            code="approver-not-established",
            reason=f"`{approver.person}` is known by {approver.established}, not by a key",
        )
    enrolment = _enrolment_of(approver, enrolments)
    if enrolment is None:
        return Objection(
            code="approver-unknown",
            reason=f"key `{approver.credential}` is not enrolled as an approver's key of `{approver.person}`",
        )
    if not enrolment.valid_at(moment):
        return Objection(
            code="approver-key-invalid",
            reason=f"key `{approver.credential}` had expired or was revoked",
        )
    if enrolment.since >= planned.at:
        return Objection(
            code="key-enrolled-after-plan",
            reason=f"key `{approver.credential}` was enrolled when the plan was made already",
        )
    return _kinship_objection(enrolment, asked, enrolments)


def _kinship_objection(
    enrolment: Enrolment, asked: Intent, enrolments: Sequence[Enrolment]
) -> Objection | None:
    """Object when who asked (or sponsors the asking agent) holds the key, or enrolled it, directly or not."""
    askers = {person_key(asked.by.person), person_key(asked.sponsor or asked.by.person)}
    for other in enrolments:
        if other.fingerprint == enrolment.fingerprint and person_key(other.person) in askers:
            return Objection(
                code="key-shared-with-requester",
                reason=f"key `{enrolment.fingerprint}` is also enrolled for `{other.person}`",
            )
    seen: set[str] = set()
    waiting = [enrolment]
    while waiting:
        current = waiting.pop()
        by = current.by
        if person_key(by.person) in askers or by.credential == asked.by.credential:
            return Objection(
                code="key-enrolled-by-requester",
                reason=f"key `{enrolment.fingerprint}` rests on an enrolment by `{by.person}`",
            )
        if by.credential not in seen:
            seen.add(by.credential)
            waiting.extend(other for other in enrolments if other.fingerprint == by.credential)
    return None


def _enrolment_of(approver: Principal, enrolments: Sequence[Enrolment]) -> Enrolment | None:
    # Of several enrolments of one key for one person the newest is what holds.
    for enrolment in reversed(enrolments):
        if (
            enrolment.role is Role.APPROVER
            and enrolment.fingerprint == approver.credential
            and enrolment.person == approver.person
        ):
            return enrolment
    return None


def _signature_objection(record: Approval, enrolments: Sequence[Enrolment]) -> Objection | None:
    enrolment = _enrolment_of(record.statement.approver, enrolments)
    try:
        signed_by = sshsig.verify(record.signature, encode(record.statement), APPROVAL_NAMESPACE)
        enrolled = None if enrolment is None else PublicKey.from_line(enrolment.public)
    except ProofError as error:
        return Objection(code="approval-signature-wrong", reason=error.message)
    if signed_by != enrolled or signed_by.fingerprint != record.statement.approver.credential:
        return Objection(
            code="approval-signature-wrong",
            reason=f"signed by key `{signed_by.fingerprint}`, which is not the key the statement names",
        )
    return None


def _groups_of(case: _Case, record: Approval) -> tuple[str, ...]:
    if case.groups is None:
        return tuple(group for group in case.required if group in record.groups)
    person = record.statement.approver.person
    return tuple(group for group in case.required if person in case.groups.get(group, frozenset()))


def _asks_properly(terms: Terms) -> bool:
    """Return whether terms ask for approvals at all; a rule for nobody is no rule."""
    return (
        terms.verdict is Verdict.APPROVAL_REQUIRED
        and bool(terms.approvals)
        and all(rule.count > 0 for rule in terms.approvals)
    )


def unfilled(
    rules: Sequence[ApprovalRule], memberships: Sequence[tuple[str, ...]]
) -> tuple[ApprovalRule, ...]:
    """Return the places nobody fills when every person fills at most one, as many filled as can be.

    `memberships` holds the groups of each person who said yes.
    """
    holders: dict[tuple[int, int], int] = {}
    filled = [0] * len(rules)

    def seat(person: int, tried: set[tuple[int, int]]) -> bool:
        for index, rule in enumerate(rules):
            if rule.group not in memberships[person]:
                continue
            # More places than people are never filled, so no more are looked at.
            for place in ((index, k) for k in range(min(rule.count, len(memberships)))):
                if place in tried:
                    continue
                tried.add(place)
                if place not in holders or seat(holders[place], tried):
                    holders[place] = person
                    return True
        return False

    for person in range(len(memberships)):
        seat(person, set())
    for index, _ in holders:
        filled[index] += 1
    return tuple(
        ApprovalRule(count=rule.count - have, group=rule.group)
        for rule, have in zip(rules, filled, strict=True)
        if have < rule.count
    )
