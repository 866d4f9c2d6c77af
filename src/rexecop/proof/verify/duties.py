"""Step 8: governance re-proved: who may say yes, how many did, in time, inside the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.quorum import Groups, ProvedBy, Tally, tally
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import Decision, Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.verify.evidence import PACK_ROLE, Evidence, Notes, pack_groups, place
from rexecop.proof.vocabulary import Established, Verdict

_OBJECTIONS: Final = {
    "self-approval": "E08a",
    "sponsor-approval": "E08a",
    "approver-unknown": "E08b",
    "approver-not-established": "E08b",
    "approver-key-invalid": "E08b",
    "key-enrolled-after-plan": "E08b",
    "key-shared-with-requester": "E08k",
    "key-enrolled-by-requester": "E08k",
    "approval-expired": "E08e",
    "approval-other-terms": "E08e",
    "approval-other-preview": "E08e",
    "approval-from-the-future": "E08e",
    "approver-not-in-group": "E08h",
    "nonce-repeated": "E08l",
    "nonce-missing": "E08l",
    "person-repeated": "E08l",
}


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 8."""
    intent, plan = evidence.first(Intent), evidence.first(Plan)
    decisions = evidence.of(Decision)
    for sealed, decision in decisions:
        if decision.errors and decision.terms.verdict is not Verdict.BLOCKED:
            notes.fault("E08j", f"{place(sealed)} had errors and did not block", sealed)
    _evaluated(evidence, decisions, notes)
    if intent is None or plan is None or plan[1].intent != intent[0].digest:
        return
    groups = _groups(evidence, decisions, notes)
    for sealed, ticket in evidence.of(Ticket):
        rests_on = next((found for other, found in decisions if other.digest == ticket.decision), None)
        if rests_on is not None:
            _ticket(sealed, ticket, rests_on, (intent[0], plan[0]), groups, evidence, notes)
    notes.duties = _duties(evidence, notes)


def _ticket(
    sealed: Sealed,
    ticket: Ticket,
    decision: Decision,
    case: tuple[Sealed, Sealed],
    groups: Groups | None,
    evidence: Evidence,
    notes: Notes,
) -> None:
    terms = decision.terms
    if terms.verdict is Verdict.BLOCKED:
        notes.fault("E08d", f"{place(sealed)} was minted although policy blocked the plan", sealed)
        return
    _window(sealed, ticket, terms, notes)
    approvals = [other for other, _ in evidence.of(Approval) if other.record.n < sealed.record.n]
    if terms.verdict is Verdict.ALLOWED and not terms.approvals:
        _denials(sealed, approvals, notes)
        return
    try:
        found = _count(evidence, case, terms, approvals, _or_recorded(groups, approvals), sealed)
    except ProofError as error:
        notes.fault("E08c", f"{place(sealed)}: {error.message}", sealed)
        return
    _judge(sealed, ticket, found, approvals, notes)


def _count(
    evidence: Evidence,
    case: tuple[Sealed, Sealed],
    terms: Terms,
    approvals: Sequence[Sealed],
    groups: Groups,
    ticket: Sealed,
) -> Tally:
    intent, plan = case
    return tally(
        intent=intent,
        plan=plan,
        terms=terms,
        preview=preview_digest(preview(intent, plan)),
        approvals=approvals,
        enrolments=evidence.enrolments,
        groups=groups,
        at=ticket.record.at,
    )


def _judge(sealed: Sealed, ticket: Ticket, found: Tally, approvals: Sequence[Sealed], notes: Notes) -> None:
    by_digest = {other.digest: other for other in approvals}
    for excluded in found.excluded:
        code = _OBJECTIONS.get(excluded.code)
        if code is not None and excluded.approval in ticket.approvals:
            notes.fault(code, excluded.reason, by_digest.get(excluded.approval))
    for person in found.denied_by:
        notes.fault("E08g", f"{place(sealed)} was minted although `{person:.64}` said no", sealed)
    counted = {entry.approval for entry in found.counted}
    notes.counted |= counted & set(ticket.approvals)
    if not found.satisfied and not found.denied_by:
        missing = ", ".join(f"{rule.count} of `{rule.group:.64}`" for rule in found.missing) or "a quorum"
        notes.fault("E08c", f"{place(sealed)} was minted without approval by {missing}", sealed)
    elif counted - set(ticket.approvals):
        notes.fault("E08m", f"{place(sealed)} leaves out an approval that counted", sealed)


def _denials(sealed: Sealed, approvals: Sequence[Sealed], notes: Notes) -> None:
    for other in approvals:
        record = other.record
        if isinstance(record, Approval) and not record.statement.approves:
            person = record.statement.approver.person
            notes.fault("E08g", f"{place(sealed)} was minted although `{person:.64}` said no", sealed)


def _window(sealed: Sealed, ticket: Ticket, terms: Terms, notes: Notes) -> None:
    early = terms.not_before is not None and ticket.not_before < terms.not_before
    late = terms.not_after is not None and ticket.expires > terms.not_after
    if early or late:
        notes.fault("E08f", f"{place(sealed)} is valid outside the window of its terms", sealed)


def _groups(evidence: Evidence, decisions: Sequence[tuple[Sealed, Decision]], notes: Notes) -> Groups | None:
    """Return who is in which group by the included packs, or None; what approvals recorded must agree."""
    named = {pack.digest for _, decision in decisions for pack in decision.packs}
    included = evidence.inputs(PACK_ROLE)
    packs = {digest: included[digest] for digest in named if digest in included}
    groups = _members(packs, evidence) if named and len(packs) == len(named) else None
    if groups is None:
        if evidence.of(Approval):
            notes.skip("who is in which group", "no policy pack that lists its groups is included")
        return None
    for sealed, approval in evidence.of(Approval):
        person = approval.statement.approver.person
        foreign = [group for group in approval.groups if person not in groups.get(group, frozenset())]
        if foreign:
            notes.fault("E08h", f"{place(sealed)}: `{person:.64}` is not in `{foreign[0]:.64}`", sealed)
    return groups


def _members(packs: Mapping[Digest, bytes], evidence: Evidence) -> Groups | None:
    if evidence.members is None:
        return pack_groups(list(packs.values()))
    try:
        return evidence.members(packs)
    except RexecopError:
        return None


def _or_recorded(groups: Groups | None, approvals: Sequence[Sealed]) -> Groups:
    """Return `groups`, or those the instance found the approvers in when it recorded them."""
    if groups is not None:
        return groups
    found: dict[str, frozenset[str]] = {}
    for sealed in approvals:
        if isinstance(record := sealed.record, Approval):
            for group in record.groups:
                found[group] = found.get(group, frozenset()) | {record.statement.approver.person}
    return found


def _evaluated(evidence: Evidence, decisions: Sequence[tuple[Sealed, Decision]], notes: Notes) -> None:
    if not decisions:
        return
    if evidence.evaluate is None:
        notes.skip("the decision itself", "no policy evaluator is at hand")
        return
    packs = evidence.inputs(PACK_ROLE)
    for sealed, decision in decisions:
        named: dict[Digest, bytes] = {
            pack.digest: packs[pack.digest] for pack in decision.packs if pack.digest in packs
        }
        if len(named) != len(decision.packs):
            notes.skip("the decision itself", "the policy pack is not included")
            continue
        try:
            found = evidence.evaluate(decision, named)
        except RexecopError as error:
            notes.skip("the decision itself", error.message)
            continue
        # A plan that cannot keep an obligation is blocked beyond what policy says; a no is never too strict.
        blocked = decision.terms.verdict is Verdict.BLOCKED
        if not blocked and terms_digest(found) != terms_digest(decision.terms):
            notes.fault("E08i", f"{place(sealed)} says other terms than its policy", sealed)


def _duties(evidence: Evidence, notes: Notes) -> ProvedBy | None:
    """Return what separates who asked from who approved."""
    intent = evidence.intent
    if intent is None or not notes.counted:
        return None
    if notes.intent_proved:
        return ProvedBy.KEYS
    sessions = (Established.OIDC, Established.TOKEN, Established.OS_USER)
    return ProvedBy.SESSIONS if intent.by.established in sessions else ProvedBy.ASSERTED
