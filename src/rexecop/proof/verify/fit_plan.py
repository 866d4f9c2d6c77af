"""Step 7, first half: plan, decisions, approvals and tickets rest on one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest

from rexecop.proof.called import contradictions
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed
from rexecop.proof.origins import ARTIFACT_ROLE, EXECUTE
from rexecop.proof.publishing import SIGNATURE_ROLE
from rexecop.proof.reaction import OBSERVATION_ROLE, REACTION, RULE_ROLE
from rexecop.proof.records import Approval, Attempt, Decision, Intent, Plan, Ticket
from rexecop.proof.records.decision import PolicyRequest, RequestIntent, RequestTarget, terms_digest
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.request import (
    intents_within,
    policy_request,
    request_of_call,
    request_target,
    requested,
)
from rexecop.proof.scope import scope_root, undo_scope_root
from rexecop.proof.verify.evidence import PACK_ROLE, Evidence, Notes, Opened, call_steps, steps_by_id
from rexecop.proof.vocabulary import EFFECT_ORDER, Established, Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """What a plan has, by name."""

    plan: Plan
    steps: Mapping[str, Sequence[Step]]
    targets: Mapping[str, RequestTarget]


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 7 for everything that comes before the first attempt, and for tickets minted later."""
    asked, planned = evidence.first(Intent), evidence.first(Plan)
    if asked is None:
        return
    if planned is None:
        for sealed in evidence.records:
            orphan = isinstance(sealed.record, Decision | Approval | Ticket | Attempt)
            notes.when(orphan, "E07a", sealed, "rests on a plan that is not there")
        return
    _plan(asked, planned, notes)
    plan = planned[1]
    whole = policy_request(asked[1], plan, gate=Gate.PLAN, now=plan.at)
    targets = {one.id: request_target(one) for one in plan.targets}
    index = _Index(plan=plan, steps=steps_by_id(plan), targets=targets)
    for sealed, decision in evidence.of(Decision):
        _decision(sealed, decision, planned[0].digest, whole, index, notes)
    for sealed, approval in evidence.of(Approval):
        said = approval.statement
        other = said.operation != approval.operation or said.plan != planned[0].digest
        # A standing approval names what it covers, and is used by the engine; step 8 judges it.
        other = approval.by.established is not Established.ENGINE if said.covers is not None else other
        notes.when(other, "E07d", sealed, "is of another operation or plan")
        other = not other and said.covers is None and approval.by != said.approver
        notes.when(other, "E07d", sealed, "was recorded for somebody else than its approver")
    for sealed, ticket in evidence.of(Ticket):
        _ticket(sealed, ticket, asked[1], planned, evidence.records[: sealed.record.n], notes)


def _plan(asked: tuple[Sealed, Intent], planned: tuple[Sealed, Plan], notes: Notes) -> None:
    sealed, plan = planned
    notes.when(plan.intent != asked[0].digest, "E07a", sealed, "names another intent")
    other = (plan.profile, plan.environment) != (asked[1].profile.digest, asked[1].environment.digest)
    notes.when(other, "E07a", sealed, "was made from another profile or environment")
    keys = [(step.target, step.id) for step in plan.steps]
    targets = [target.id for target in plan.targets]
    repeats = len(set(keys)) != len(keys) or len(set(targets)) != len(targets)
    notes.when(repeats, "E07b", sealed, "has a step or a target twice")
    for step in call_steps(plan):
        more = EFFECT_ORDER.index(step.call.effect) > EFFECT_ORDER.index(plan.effect)
        notes.when(more, "E07b", sealed, f"has effect `{plan.effect}`, and its step `{step.id}` does more")
        calls = (step.call, step.undo, step.probe.call if step.probe else None)
        other = any(call is not None and call.target != step.target for call in calls)
        notes.when(other, "E07b", sealed, f"has step `{step.id}` call another target than its own")
    for words in contradictions(plan):
        notes.when(True, "E07ag", sealed, words)


def _decision(
    sealed: Sealed, decision: Decision, digest: Digest, whole: PolicyRequest, index: _Index, notes: Notes
) -> None:
    request, step, call = decision.request, decision.request.step, decision.request.call
    notes.when(decision.plan != digest, "E07c", sealed, "is about another plan")
    meant = replace(whole, gate=request.gate, now=request.now, step=step, call=call)
    steps = index.steps.get(step, ()) if step is not None else ()
    if step is not None and request.gate is Gate.CALL:
        within, own = intents_within(whole, index.plan, steps), None
        if request.targets_planned is not None and len(request.targets) == 1:
            # Of its own target alone; without that number it was asked about all.
            own = index.targets.get(request.targets[0].id)
            own = own if own is not None and own.id in {one.target for one in steps} else None
        meant = request_of_call(whole, own, step, call, request.now, within)
    called = _as_often(meant.called, request.called)
    meant = replace(meant, recent=request.recent, called=called)
    other = [one.name for one in fields(request) if getattr(request, one.name) != getattr(meant, one.name)]
    notes.when(
        other, "E07c", sealed, f"was made on another request than asked and planned: {', '.join(other)}"
    )
    stray = bool(steps) != (request.gate is Gate.CALL)
    notes.when(stray, "E07c", sealed, f"was asked at gate `{request.gate}` about step `{request.step!s:.64}`")
    calls = [one for one in steps if isinstance(one, CallStep)]
    made = [requested(one) for found in calls for one in (found.call, found.undo) if one]
    foreign = call is not None and call not in made
    notes.when(foreign, "E07c", sealed, f"was asked about a call that step `{step!s:.64}` does not make")
    untimely = abs(sealed.record.at - request.now) > CLOCK_TOLERANCE
    notes.when(untimely, "E07c", sealed, "was made on the request of another time")


def _as_often(
    meant: tuple[RequestIntent, ...], asked: tuple[RequestIntent, ...]
) -> tuple[RequestIntent, ...]:
    """Return `meant` with the counts that were asked with, for no record of the operation holds them."""
    pairs = zip_longest(meant, asked[: len(meant)])
    return tuple(one if found is None else replace(one, recent=found.recent) for one, found in pairs)


def _ticket(
    sealed: Sealed,
    ticket: Ticket,
    asked: Intent,
    planned: tuple[Sealed, Plan],
    before: tuple[Sealed, ...],
    notes: Notes,
) -> None:
    decisions = [(other.digest, other.record) for other in before if isinstance(other.record, Decision)]
    rests_on = [found for found in decisions if found[1].request.gate is not Gate.CALL][-1:]
    if ticket.plan != planned[0].digest or [ticket.decision] != [digest for digest, _ in rests_on]:
        notes.when(True, "E07e", sealed, "names another plan or decision than the newest")
    else:
        other = ticket.terms != terms_digest(rests_on[0][1].terms)
        notes.when(other, "E07e", sealed, "names other terms than its decision")
    yes = {s.digest for s in before if isinstance(s.record, Approval) and s.record.statement.approves}
    other = not yes.issuperset(ticket.approvals) or len(set(ticket.approvals)) != len(ticket.approvals)
    notes.when(other, "E07f", sealed, "names an approval that is not a yes before it")
    other = (ticket.scope, ticket.undo_scope) != (scope_root(planned[1]), undo_scope_root(planned[1]))
    notes.when(other, "E07g", sealed, "covers other calls than the plan")
    other = ticket.mode is not asked.mode
    notes.when(other, "E07h", sealed, f"is for mode `{ticket.mode}`, asked was `{asked.mode}`")
    late = not ticket.not_before < ticket.expires or sealed.record.at >= ticket.expires
    notes.when(late, "E07i", sealed, "had expired when it was minted")


def check_bundle(opened: Opened, notes: Notes) -> None:
    """Step 7: every input is named by a record; parts named and left out are said."""
    roles = (
        *("profile", "environment", PACK_ROLE, SIGNATURE_ROLE),
        *(OBSERVATION_ROLE, RULE_ROLE, ARTIFACT_ROLE),
    )
    named: dict[str, set[Digest]] = {role: set() for role in roles}
    for sealed in opened.records:
        record = sealed.record
        if isinstance(record, Intent):
            named["profile"].add(record.profile.digest)
            named["environment"].add(record.environment.digest)
            event, rule = record.origin.event, record.origin.rule
            if record.origin.channel == REACTION and event is not None and rule is not None:
                named[OBSERVATION_ROLE].add(event)
                named[RULE_ROLE].add(rule)
            elif record.origin.channel == EXECUTE and event is not None:
                named[ARTIFACT_ROLE].add(event)
        elif isinstance(record, Plan) and record.signed is not None:
            named[SIGNATURE_ROLE].add(record.signed.signature)
        elif isinstance(record, Decision):
            named[PACK_ROLE].update(pack.digest for pack in record.packs)
        elif isinstance(record, Ticket | Attempt):
            named[PACK_ROLE].update(record.packs)
    for item in opened.contents.inputs:
        if item.digest not in named.get(item.role, ()):
            notes.fault("E07w", f"input `{item.role}` `{item.digest}` is named by no record")
    for role, digests in named.items():
        if digests - opened.inputs(role).keys():
            notes.skip(f"the {role}", "not everything that records name is included")
