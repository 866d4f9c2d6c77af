"""Approvals: what an approver signs, and who may be asked to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from rexecop.governance.errors import (
    ApprovalNotAsked,
    ApprovalRefused,
    ApproverNotInGroup,
    ConflictOfInterest,
)
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import Groups, approver_objection, in_conflict
from rexecop.proof.records.approval import ApprovalStatement
from rexecop.proof.records.decision import Terms, terms_digest
from rexecop.proof.times import whole_milliseconds
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Verdict

APPROVAL_VALID_MAX: Final = timedelta(days=7)  # After a week nobody remembers what was looked at.

_REFUSALS: Final[Mapping[str, type[ApprovalRefused]]] = {
    refusal.code: refusal for refusal in ApprovalRefused.__subclasses__()
}


def approval_statement(
    *,
    plan: Sealed,
    terms: Terms,
    preview: Digest,
    approver: Principal,
    approves: bool,
    nonce: str,
    now: datetime,
    valid_for: timedelta,
    reason: str | None,
    withdraws: Digest | None = None,
    step: str | None = None,
    call: Digest | None = None,
    behalf: str | None = None,
) -> ApprovalStatement:
    """Return the statement for `approver` to sign; it expires `valid_for` after `now`.

    With `withdraws` it takes back the approval of that digest, whatever `approves` says. With
    `step` it is about that step's filled call, whose digest is `call`. With `behalf` it is the
    vote of that person.

    Raises:
        ApprovalRefused: `valid_for` is not positive, or longer than `APPROVAL_VALID_MAX`.
    """
    if not timedelta(0) < valid_for <= APPROVAL_VALID_MAX:
        limit = APPROVAL_VALID_MAX.days
        raise ApprovalRefused(f"an approval is valid for up to {limit} days, not `{valid_for}`", limit=limit)
    return ApprovalStatement(
        operation=plan.record.operation,
        plan=plan.digest,
        terms=terms_digest(terms),
        preview=preview,
        approves=approves and withdraws is None,
        nonce=nonce,
        expires=whole_milliseconds(now + valid_for),
        approver=approver,
        reason=reason,
        withdraws=withdraws,
        step=step,
        call=call,
        on_behalf_of=behalf,
    )


def require_may_approve(
    approver: Principal,
    *,
    intent: Sealed,
    plan: Sealed,
    terms: Terms,
    enrolments: Sequence[Enrolment],
    groups: Groups,
    at: datetime,
    word: bool | None = True,
    behalf: str | None = None,
    instance: Sequence[Sealed] = (),
    signs: bool = True,
) -> None:
    """Return only if a yes or no by `approver` would count at `at`; `word` is None for taking one back.

    With `behalf` it is said for that person, who gave them their vote as `instance` shows; who does
    not sign needs no key. It spares an approver a signature for nothing; what counts the quorum decides.

    Raises:
        ApprovalRefused: as one of its subclasses, by the rule that is broken.
        ChainBroken: `plan` is not the plan of `intent`.
    """
    objection = approver_objection(
        approver,
        intent=intent,
        plan=plan,
        terms=terms,
        enrolments=enrolments,
        at=at,
        behalf=behalf,
        instance=instance,
        signs=signs,
        approves=bool(word),
    )
    if objection is not None:
        raise _REFUSALS[objection.code](objection.reason, person=approver.person)
    voter = approver.person if behalf is None else behalf
    if terms.verdict is not Verdict.APPROVAL_REQUIRED:
        raise ApprovalNotAsked(f"the operation is `{terms.verdict}`; there is nothing to approve")
    if word is None:
        return
    asked = [rule.group for rule in terms.approvals]
    if not any(voter in groups.get(group, frozenset()) for group in asked):
        words = ", ".join(f"`{group}`" for group in asked)
        raise ApproverNotInGroup(f"`{voter}` is in none of the groups that are asked: {words}", person=voter)
    if behalf is not None and not groups_of(approver.person, groups):
        raise ApproverNotInGroup(f"`{approver.person}` is in no group", person=approver.person)
    for limit in terms.approval_limits if word else ():
        for person in dict.fromkeys((approver.person, voter)) if limit.at_most <= 0 else ():
            if person in groups.get(limit.group, frozenset()):
                raise ConflictOfInterest(in_conflict(person, limit), person=person)


def groups_of(person: str, groups: Groups) -> tuple[str, ...]:
    """Return the names of the groups that `person` is in, sorted."""
    return tuple(sorted(name for name, people in groups.items() if person in people))
