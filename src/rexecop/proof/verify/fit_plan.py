"""Step 7, first half: plan, decisions, approvals and tickets rest on one another."""

from __future__ import annotations

from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.decision import Decision, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.scope import scope_root, undo_scope_root
from rexecop.proof.verify.evidence import PACK_ROLE, Evidence, Notes, call_steps, place
from rexecop.proof.vocabulary import EFFECT_ORDER, Gate


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 7 for everything that comes before the first attempt, and for tickets minted later."""
    _inputs(evidence, notes)
    asked, planned = evidence.first(Intent), evidence.first(Plan)
    if asked is None:
        return
    if planned is None:
        for sealed in evidence.records:
            if isinstance(sealed.record, Decision | Approval | Ticket | Attempt):
                notes.fault("E07a", f"{place(sealed)} rests on a plan that is not there", sealed)
        return
    _plan(asked, planned, notes)
    for sealed, decision in evidence.of(Decision):
        _decision(sealed, decision, asked[1], planned, notes)
    for sealed, approval in evidence.of(Approval):
        statement = approval.statement
        if statement.operation != approval.operation or statement.plan != planned[0].digest:
            notes.fault("E07d", f"{place(sealed)} is of another operation or plan", sealed)
        elif approval.by != statement.approver:
            notes.fault("E07d", f"{place(sealed)} was recorded for somebody else than its approver", sealed)
    for sealed, ticket in evidence.of(Ticket):
        _ticket(sealed, ticket, asked[1], planned, evidence, notes)


def _plan(asked: tuple[Sealed, Intent], planned: tuple[Sealed, Plan], notes: Notes) -> None:
    sealed, plan = planned
    if plan.intent != asked[0].digest:
        notes.fault("E07a", f"{place(sealed)} names another intent", sealed)
    if (plan.profile, plan.environment) != (asked[1].profile.digest, asked[1].environment.digest):
        notes.fault("E07a", f"{place(sealed)} was made from another profile or environment", sealed)
    keys = [(step.target, step.id) for step in plan.steps]
    targets = [target.id for target in plan.targets]
    if len(set(keys)) != len(keys) or len(set(targets)) != len(targets):
        notes.fault("E07b", f"{place(sealed)} has a step or a target twice", sealed)
    for step in call_steps(plan):
        if EFFECT_ORDER.index(step.call.effect) > EFFECT_ORDER.index(plan.effect):
            notes.fault("E07b", f"step `{step.id}` does more than the plan's effect `{plan.effect}`", sealed)
        if step.call.target != step.target or (step.undo and step.undo.target != step.target):
            notes.fault("E07b", f"step `{step.id}` calls another target than its own", sealed)


def _decision(
    sealed: Sealed, decision: Decision, asked: Intent, planned: tuple[Sealed, Plan], notes: Notes
) -> None:
    if decision.plan != planned[0].digest:
        notes.fault("E07c", f"{place(sealed)} is about another plan", sealed)
    request, plan = decision.request, planned[1]
    stated = (request.principal, request.sponsor, request.profile, request.intent, request.environment)
    meant = (asked.by, asked.sponsor, asked.profile.name, asked.intent, asked.environment.id)
    if stated != meant:
        notes.fault("E07c", f"{place(sealed)} was made on another request than the intent", sealed)
    if request.mode is not asked.mode:
        notes.fault("E07c", f"{place(sealed)} was made for mode `{request.mode}`", sealed)
    if request.gate is Gate.CALL:
        return
    if request.effect is not plan.effect or [t.id for t in request.targets] != [t.id for t in plan.targets]:
        notes.fault(
            "E07c", f"{place(sealed)} was made on another effect or other targets than planned", sealed
        )


def _ticket(
    sealed: Sealed,
    ticket: Ticket,
    asked: Intent,
    planned: tuple[Sealed, Plan],
    evidence: Evidence,
    notes: Notes,
) -> None:
    before = evidence.records[: sealed.record.n]
    decisions = [
        other
        for other in before
        if isinstance(other.record, Decision) and other.record.request.gate is not Gate.CALL
    ]
    newest = decisions[-1] if decisions else None
    if ticket.plan != planned[0].digest or newest is None or ticket.decision != newest.digest:
        notes.fault("E07e", f"{place(sealed)} names another plan or decision than the newest", sealed)
    elif isinstance(newest.record, Decision) and ticket.terms != terms_digest(newest.record.terms):
        notes.fault("E07e", f"{place(sealed)} names other terms than its decision", sealed)
    approvals = {
        other.digest
        for other in before
        if isinstance(other.record, Approval) and other.record.statement.approves
    }
    if not approvals.issuperset(ticket.approvals) or len(set(ticket.approvals)) != len(ticket.approvals):
        notes.fault("E07f", f"{place(sealed)} names an approval that is not a yes before it", sealed)
    if (ticket.scope, ticket.undo_scope) != (scope_root(planned[1]), undo_scope_root(planned[1])):
        notes.fault("E07g", f"{place(sealed)} covers other calls than the plan", sealed)
    if ticket.mode is not asked.mode:
        notes.fault("E07h", f"{place(sealed)} is for mode `{ticket.mode}`, asked was `{asked.mode}`", sealed)
    if not ticket.not_before < ticket.expires or sealed.record.at >= ticket.expires:
        notes.fault("E07i", f"{place(sealed)} had expired when it was minted", sealed)


def _inputs(evidence: Evidence, notes: Notes) -> None:
    """Every input is named by a record; parts named and left out are said."""
    named = _named_inputs(evidence)
    for item in evidence.contents.inputs:
        if item.digest not in named.get(item.role, set()):
            notes.fault("E07w", f"input `{item.role}` `{item.digest}` is named by no record")
    for role, digests in named.items():
        if digests - evidence.inputs(role).keys():
            notes.skip(f"the {role}", "not everything that records name is included")


def _named_inputs(evidence: Evidence) -> dict[str, set[Digest]]:
    named: dict[str, set[Digest]] = {"profile": set(), "environment": set(), PACK_ROLE: set()}
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Intent):
            named["profile"].add(record.profile.digest)
            named["environment"].add(record.environment.digest)
        elif isinstance(record, Decision):
            named[PACK_ROLE].update(pack.digest for pack in record.packs)
        elif isinstance(record, Ticket | Attempt):
            named[PACK_ROLE].update(record.packs)
    return named
