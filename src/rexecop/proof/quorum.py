"""Quorum: which approvals count. One function, used to mint tickets and re-proved by verifiers.

An approval counts when its statement names this operation, plan, terms and preview; is
signed by the very key it names, enrolled for its approver before the plan and not by
the requester, or unsigned by whom an identity provider vouches for where the terms take
that; has not expired; and comes from neither the requester, nor the agent's
sponsor, nor anyone sharing the requester's key. Persons count, not keys: over all rules
together each person fills one place, so "1 of a, 1 of b" takes two people even when
one of them is in both groups. A vote said for another person under a delegation is that
person's, in that person's groups, and both must be people who may; together they are one
person, whoever of them speaks first. A `no` of someone who could have said yes denies the
plan, whatever terms it named and even after it expired, until the same person takes it
back; a yes may be taken back as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.delegation import Setting, delegated_objection, persons_of, takes_back, vote_objection
from rexecop.proof.eligibility import (
    key_objection,
    person_objection,
    session_objection,
    signature_objection,
)
from rexecop.proof.errors import ChainBroken
from rexecop.proof.kinship import Objection, Register, person_key
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval, ApprovalStatement
from rexecop.proof.records.decision import ApprovalLimit, ApprovalRule, Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.standing import standing_objection
from rexecop.proof.steps import step_terms
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Verdict

COUNTED_MAX: Final = 128  # No quorum is larger; seating people costs more than linear time.

Groups = Mapping[str, frozenset[str]]
"""Group name to the persons in it."""


class ProvedBy(StrEnum):
    """What the identity of the counted approvers rests on."""

    KEYS = "keys"
    SESSIONS = "sessions"
    ASSERTED = "asserted"


_PROVED: Final[Mapping[frozenset[bool], ProvedBy]] = {
    frozenset(): ProvedBy.ASSERTED,
    frozenset((True,)): ProvedBy.KEYS,
    frozenset((False,)): ProvedBy.SESSIONS,
    frozenset((True, False)): ProvedBy.SESSIONS,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """An approval that counts: it is the vote of `person`; `groups` are the required groups they are in.

    `said_by` is that person, or who said it for them, by `credential`: a key, or where it is not
    `signed` a subject of an identity provider.
    """

    approval: Digest
    person: str
    said_by: str
    credential: str
    signed: bool
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the approvals of a plan come to.

    `missing` are the places still open. `satisfied` is True only when terms ask for
    approvals, every place is filled, and nobody entitled said no. With
    `membership_checked` False the groups were not known, and the groups each
    approval was recorded with were taken as they stand.
    """

    counted: tuple[Counted, ...]
    excluded: tuple[Objection, ...]
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
    instance: Sequence[Sealed] = (),
    step: CallStep | None = None,
    call: Digest | None = None,
) -> Tally:
    """Return which of `approvals` count at `at`, and whether they are enough.

    `instance` are the instance's own records, which show what was approved beforehand and who gave
    whom their vote. With `step` those of its filled call `call` are counted, else those of the
    whole plan. The order of `approvals` does not matter and repeating one changes nothing.

    Raises:
        ChainBroken: `plan` is not the plan of `intent`.
    """
    asked, planned = _pair(intent, plan)
    named, terms = terms_digest(terms), terms if step is None else step_terms(terms, step)
    case = _Case(
        setting=Setting(
            asked=asked,
            planned=planned,
            terms=terms,
            register=Register(asked, enrolments, terms),
            chain=instance,
        ),
        plan_digest=plan.digest,
        terms_digest=named,
        required=tuple(dict.fromkeys(rule.group for rule in terms.approvals)),
        preview=preview,
        groups=groups,
        at=at,
        step=None if step is None else step.id,
        call=call,
    )
    counted: list[Counted] = []
    excluded: list[Objection] = []
    denied_by: dict[str, str] = {}
    seen = _Seen()
    unique = {sealed.digest: sealed for sealed in approvals}
    withdrawn = _withdrawn(case, unique)
    for sealed in sorted(unique.values(), key=lambda sealed: (sealed.record.n, sealed.digest)):
        found: Counted | Objection | str | None = withdrawn.get(sealed.digest)
        if sealed.digest not in withdrawn:
            found = _judge(case, sealed, seen)
        if isinstance(found, str):
            denied_by.setdefault(person_key(found), found)
        elif isinstance(found, Counted):
            counted.append(found)
        elif found is not None:
            excluded.append(replace(found, approval=sealed.digest))
    missing = unfilled(terms.approvals, [item.groups for item in counted])
    asks = terms.verdict is Verdict.APPROVAL_REQUIRED and bool(terms.approvals)
    asks = asks and all(rule.count > 0 for rule in terms.approvals)  # A rule for nobody is no rule.
    return Tally(
        counted=tuple(counted),
        excluded=tuple(excluded),
        denied_by=tuple(denied_by.values()),
        missing=missing,
        satisfied=asks and not missing and not denied_by,
        proved_by=_PROVED[frozenset(one.signed for one in counted)],
        membership_checked=groups is not None,
    )


def approver_objection(
    approver: Principal,
    *,
    intent: Sealed,
    plan: Sealed,
    terms: Terms,
    enrolments: Sequence[Enrolment],
    at: datetime,
    behalf: str | None = None,
    instance: Sequence[Sealed] = (),
    signs: bool = True,
    approves: bool = True,
) -> Objection | None:
    """Return why `approver` may not decide about `plan` under `terms` at `at`, or None when they may.

    With `behalf` it is about deciding for that person, who gave their vote as `instance` shows. Who
    does not sign is not asked for a key; whether it is a yes matters for them alone.

    Raises:
        ChainBroken: `plan` is not the plan of `intent`.
    """
    asked, planned = _pair(intent, plan)
    register = Register(asked, enrolments, terms)
    found = person_objection(approver, asked, terms)
    if not signs:
        return found or session_objection(approver, terms, approves=approves)
    found = found or key_objection(approver, planned, register, at)
    if found is not None or behalf is None:
        return found
    setting = Setting(asked=asked, planned=planned, terms=terms, register=register, chain=instance)
    return vote_objection(approver, behalf, setting, at, at)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """Everything approvals of one plan are judged by."""

    setting: Setting
    plan_digest: Digest
    terms_digest: Digest
    required: tuple[str, ...]
    preview: Digest
    groups: Groups | None
    at: datetime
    step: str | None
    call: Digest | None

    def is_in(self, record: Approval, group: str) -> bool:
        """Return whether the person whose vote it is is in `group`."""
        if self.groups is None:
            return group in record.groups
        return record.statement.voter in self.groups.get(group, ())

    def concerns(self, record: Approval, group: str) -> bool:
        """Return whether that person, or who speaks for them, is in `group`."""
        if self.is_in(record, group) or record.statement.on_behalf_of is None:
            return self.is_in(record, group)
        if self.groups is None:
            return group in record.delegate_groups
        return record.statement.approver.person in self.groups.get(group, ())

    def knows_delegate(self, record: Approval) -> bool:
        """Return whether who speaks for somebody is in any group, as agents never are."""
        if record.statement.on_behalf_of is None:
            return True
        if self.groups is None:
            return bool(record.delegate_groups)
        return any(record.statement.approver.person in people for people in self.groups.values())


@dataclass(slots=True)
class _Seen:
    """What the approvals counted so far have used up."""

    nonces: set[str] = field(default_factory=set)
    persons: set[str] = field(default_factory=set)
    count: int = 0
    limited: Counter[str] = field(default_factory=Counter)


def _pair(intent: Sealed, plan: Sealed) -> tuple[Intent, Plan]:
    asked, planned = intent.record, plan.record
    if not isinstance(asked, Intent) or not isinstance(planned, Plan):
        raise ChainBroken("approvals are counted for a plan of an intent, and one of them is not")
    if planned.intent != intent.digest or planned.operation != asked.operation:
        raise ChainBroken("the plan does not name the intent that approvals are counted for")
    return asked, planned


def _withdrawn(case: _Case, given: Mapping[Digest, Sealed]) -> dict[Digest, Objection | None]:
    """Return why each approval that was taken back does not count, and None for each that took one back."""
    found: dict[Digest, Objection | None] = {}
    for sealed in given.values():
        record = sealed.record
        if not isinstance(record, Approval) or record.statement.withdraws is None:
            continue
        said, name = record.statement, record.statement.withdraws
        other = given.get(name)
        taken = other.record if other is not None else None
        if not isinstance(taken, Approval) or taken.n >= record.n or taken.statement.withdraws is not None:
            continue
        mine = takes_back(said, taken.statement)
        if mine and not said.approves and _objection(case, record) is None:
            words = f"`{said.said_by}` took it back"
            found |= {sealed.digest: None, name: Objection("approval-withdrawn", words)}
    return found


def _judge(case: _Case, sealed: Sealed, seen: _Seen) -> Counted | Objection | str:
    """Return the counted approval, why it does not count, or the person who said an entitled no.

    What is counted is added to `seen`.
    """
    record = sealed.record
    if not isinstance(record, Approval):
        return Objection("not-an-approval", f"record `{record.kind}` is not an approval")
    said = record.statement
    who = said.said_by
    if (wrong := _objection(case, record)) is not None:
        return wrong
    if said.withdraws is not None:
        return Objection("withdraws-nothing", f"`{who}` takes back what they did not give before")
    groups = tuple(group for group in case.required if case.is_in(record, group))
    if not groups:
        return Objection("approver-not-in-group", f"`{said.voter}` is in none of the groups that are asked")
    if not case.knows_delegate(record):
        return Objection("approver-not-in-group", f"`{said.approver.person}`, who speaks, is in no group")
    if not said.approves:
        return who
    nonce = said.nonce if record.use is None else f"{said.nonce} use {record.use}"
    if nonce in seen.nonces:
        return Objection("nonce-repeated", f"nonce `{nonce:.64}` was used by an earlier approval")
    seen.nonces.add(nonce)
    people = _used_up(record)
    if not seen.persons.isdisjoint(people):
        return Objection("person-repeated", f"`{who}` is counted already, or one of the two")
    if seen.count >= COUNTED_MAX:
        return Objection("approvals-too-many", f"{COUNTED_MAX} approvals are counted already")
    limits = [limit for limit in case.setting.terms.approval_limits if case.concerns(record, limit.group)]
    for limit in limits:
        if seen.limited[limit.group] >= limit.at_most:
            return Objection("conflict-of-interest", in_conflict(who, limit))
    seen.limited.update(limit.group for limit in limits)
    seen.persons |= people
    seen.count += 1
    return Counted(
        approval=sealed.digest,
        person=said.voter,
        said_by=who,
        credential=said.approver.credential,
        signed=not record.by_session,
        groups=groups,
    )


def _used_up(record: Approval) -> frozenset[str]:
    """Return what a vote uses up: its persons and, by session, the subject, whatever name it goes by."""
    people = persons_of(record.statement)
    return people | {record.statement.approver.credential} if record.by_session else people


def in_conflict(person: str, limit: ApprovalLimit) -> str:
    """Return why a yes of `person` does not count beyond `limit`, in words."""
    most = "nobody" if limit.at_most <= 0 else f"at most {limit.at_most}"
    return f"`{person}` is in `{limit.group}`, of which {most} may approve this"


def _objection(case: _Case, record: Approval) -> Objection | None:
    said, setting = record.statement, case.setting
    # What is no yes stands for as long as the plan does, so it is judged as of when it was given.
    moment = case.at if said.approves else record.at
    found = _statement_objection(case, record) or person_objection(
        said.approver, setting.asked, setting.terms
    )
    if record.by_session:
        return found or session_objection(said.approver, setting.terms, approves=said.approves)
    found = (
        found
        or key_objection(said.approver, setting.planned, setting.register, moment)
        or signature_objection(
            record.signature, encode(said), APPROVAL_NAMESPACE, said.approver, setting.register
        )
    )
    if found is not None or said.on_behalf_of is None:
        return found
    return delegated_objection(record, setting, moment)


def _statement_objection(case: _Case, record: Approval) -> Objection | None:
    said = record.statement
    if said.step != case.step or (said.approves and said.call != case.call):
        return Objection("approval-other-step", "the statement is about another step, or another call of it")
    if said.covers is not None:
        return _standing_objection(case, record)
    if {said.operation, record.operation} != {case.setting.planned.operation}:
        return Objection("approval-other-operation", "the statement names another operation")
    if said.plan != case.plan_digest:
        return Objection("approval-other-plan", "the statement names another plan")
    if record.at > case.at:
        return Objection("approval-from-the-future", "the approval is dated after it was used")
    if not said.approves:
        return None
    return _yes_objection(case, said)


def _standing_objection(case: _Case, record: Approval) -> Objection | None:
    said, setting = record.statement, case.setting
    if not said.approves or record.operation != setting.planned.operation or record.at > case.at:
        return Objection("standing-outside", "a standing approval is a yes to a plan made before")
    wrong = standing_objection(record, setting.asked, setting.planned, setting.chain, case.at)
    return wrong or _yes_objection(case, said)


def _yes_objection(case: _Case, said: ApprovalStatement) -> Objection | None:
    if said.terms != case.terms_digest:
        return Objection("approval-other-terms", "the statement names other terms")
    if said.covers is None and said.preview != case.preview:
        return Objection("approval-other-preview", "the statement names another preview")
    if case.at >= said.expires:
        return Objection("approval-expired", "the approval has expired")
    return None if said.nonce else Objection("nonce-missing", "the statement has an empty nonce")


def unfilled_by(said: Iterable[Approval], terms: Terms, named: Terms) -> tuple[ApprovalRule, ...]:
    """Return what `terms` ask that no yes of `said` to the terms `named` fills, as far as records say."""
    wanted = terms_digest(named)
    used: Counter[str] = Counter()
    persons: set[str] = set()
    kept: list[tuple[str, ...]] = []
    for one in said:
        people, groups = _used_up(one), {*one.groups, *one.delegate_groups}
        mine = [limit for limit in terms.approval_limits if limit.group in groups]
        counts = one.statement.approves and one.statement.terms == wanted and persons.isdisjoint(people)
        counts = counts and (terms.session_may_approve or not one.by_session)
        if counts and all(used[limit.group] < limit.at_most for limit in mine):
            persons |= people
            used.update(limit.group for limit in mine)
            kept.append(one.groups)
    return unfilled(terms.approvals, kept)


def unfilled(
    rules: Sequence[ApprovalRule], memberships: Sequence[tuple[str, ...]]
) -> tuple[ApprovalRule, ...]:
    """Return the places nobody fills when every person fills at most one, as many filled as can be.

    `memberships` holds the groups of each person who said yes.
    """
    holders: dict[tuple[int, int], int] = {}

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
    filled = Counter(index for index, _ in holders)
    return tuple(
        ApprovalRule(count=rule.count - filled[index], group=rule.group)
        for index, rule in enumerate(rules)
        if filled[index] < rule.count
    )
