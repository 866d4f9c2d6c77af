"""From folded operations to the views people and programs see."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from rexecop.app import watching
from rexecop.app.views import (
    AwaitingView,
    DecisionView,
    OperationView,
    RecordView,
    RuleView,
    StepView,
    ValidationView,
)
from rexecop.engines.closing import validate
from rexecop.operations.course import Progress
from rexecop.operations.fold import Operation
from rexecop.operations.index import waiting_for
from rexecop.operations.machine import TERMINAL
from rexecop.operations.next import awaited_call
from rexecop.operations.ports import Damaged
from rexecop.operations.profile_model import Profile
from rexecop.proof.call import call_digest
from rexecop.proof.called import WITHIN
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import to_json
from rexecop.proof.halts import words
from rexecop.proof.plaintext import escape, quote
from rexecop.proof.preview import call_text
from rexecop.proof.records import Record
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command
from rexecop.proof.records.decision import ApprovalRule, Decision
from rexecop.proof.records.delegation import Delegation
from rexecop.proof.records.instance import Halt, Note, Trust
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CalledIntent, CallStep, Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.stretch import Stretch
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import Validation
from rexecop.proof.steps import step_terms
from rexecop.proof.vocabulary import State

STEPS_NAMED_MAX: Final = 20  # In one sentence; all of them are in the view.


def operation_view(
    op: Operation,
    number: int,
    *,
    alive: bool,
    now: datetime,
    damaged: tuple[Damaged, ...] = (),
    queued: str | None = None,
) -> OperationView:
    """Return the view of `op` at `now`; `alive` says whether a runner that may act drives it."""
    intent = op.the_intent
    state = observed_state(op, alive=alive)
    head = op.head
    if head is None or op.created is None:
        raise LookupError("an operation without records has no view")
    return OperationView(
        operation_id=op.id,
        number=number,
        state=str(state),
        profile=intent.profile.name,
        environment=intent.environment.id,
        intent=intent.intent,
        target=intent.target,
        mode=str(intent.mode),
        requester=intent.by.person,
        established=str(intent.by.established),
        created=op.created,
        updated=head.record.at,
        records=op.count,
        decision=decision_view(op),
        steps=tuple(_step_view(progress, op.undo.get(key)) for key, progress in op.steps.items()),
        calls=() if op.plan is None else tuple(map(_call_in_words, op.the_plan.called)),
        current_step_id=_current(op),
        validation=_verdict(op),
        reason=op.reason or None,
        waiting=queued or waiting_for(op) or None,
        approved_by=tuple(_said_by(one) for one in op.standing_approvals() if one.statement.approves),
        receipt=op.receipts[-1].digest if op.receipts else None,
        awaiting=awaiting_view(op),
        damaged=tuple(f"record {item.n}: {item.reason}" for item in damaged),
        next=next_commands(op, number, state),
        progress=watching.progress(op, now),
    )


def _said_by(record: Approval) -> str:
    return f"{record.statement.said_by}{'' if record.signature else ' (unsigned)'}"


def _call_in_words(one: CalledIntent) -> str:
    where = f"on {', '.join(one.targets[:3])}{' and more' if len(one.targets) > 3 else ''}"
    return f"{one.prefix}{WITHIN} is intent {one.intent} {where}, a {one.effect} of risk {one.risk}"


def observed_state(op: Operation, *, alive: bool) -> State:
    """Return the state, seeing that an attempt nobody is making any more may have happened."""
    return State.INDETERMINATE if op.in_flight and not alive and op.state not in TERMINAL else op.state


def next_commands(op: Operation, number: int, state: State) -> tuple[str, ...]:
    """Return the commands that may follow, the likeliest first."""
    undoable = op.plan is not None and bool(op.to_undo())
    refused = any(record.statement.refuses for record in op.standing_approvals())
    # One person's word settles one call, a probe looks for each.
    of = f" --step {next(iter(op.unknown.values())).step.id}" if len(op.unknown) > 1 else ""
    commands = {
        State.APPROVED: ("start", "show", "cancel"),
        State.WAITING_FOR_APPROVAL: ("show", "approve {} --key FILE", "why", "cancel"),
        State.BLOCKED: (
            "why",
            *(("deny {} --withdraw --key FILE",) if refused else ()),
            *(("rollback",) if undoable else ()),
            "export",
        ),
        State.PAUSED: (*(_of_step(op) or ("resume",)), "cancel"),
        State.INDETERMINATE: (
            "reconcile {} --probe",
            f"reconcile {{}}{of} --outcome not-happened --reason TEXT",
            "why",
        ),
        State.FAILED: (
            "why",
            *(("retry",) if op.may_retry else ()),
            *(("rollback",) if undoable else ()),
            "escalate",
        ),
        State.COMPLETED: ("validate", *(("rollback",) if undoable else ()), "export"),
        State.RUNNING: ("status", "start"),
        State.UNDOING: ("start", "why"),
        State.UNDONE: ("export",),
        State.CANCELLED: (*(("rollback",) if undoable else ()), "export"),
    }.get(state, ())
    if op.review_by is not None:
        commands = ("review done {} --reason TEXT", *commands)
    return tuple(
        f"rexecop {command.format(number)}" if "{}" in command else f"rexecop {command} {number}"
        for command in commands
    )


def _of_step(op: Operation) -> tuple[str, ...]:
    """Return what may be said of the step that waits, the likeliest first."""
    view = awaiting_view(op)
    if view is None or not (view.approvals_missing or view.refused_by):
        return ()
    what = "deny {} --withdraw" if view.refused_by else "approve {}"
    return ("show", f"{what} --step {view.step} --key FILE", "why")


def decision_view(op: Operation) -> DecisionView | None:
    """Return what policy last answered."""
    if op.decision is None:
        return None
    decision = op.the_decision
    waiting = op.state is State.WAITING_FOR_APPROVAL
    return DecisionView(
        verdict=str(decision.terms.verdict),
        reason=decision.reason,
        rules=tuple(rule.id for rule in decision.rules),
        packs=tuple(f"{pack.id} {pack.version}" for pack in decision.packs),
        approvals_required=_words(decision.terms.approvals),
        approvals_missing=_words(op.missing_approvals()) if waiting else (),
        obligations=to_json(decision.terms.obligations),
        errors=decision.errors,
    )


def _words(rules: tuple[ApprovalRule, ...]) -> tuple[str, ...]:
    return tuple(f"{rule.count} of {rule.group}" for rule in rules)


def _current(op: Operation) -> str | None:
    for progress in op.steps.values():
        if progress.in_flight is not None or not progress.settled:
            return progress.step.id
    last = list(op.steps)[-1:]
    return op.steps[last[0]].step.id if last else None


def _verdict(op: Operation) -> str | None:
    record = op.validation.record if op.validation is not None else None
    return str(record.verdict) if isinstance(record, Validation) else None


def _step_view(progress: Progress, undo: Progress | None) -> StepView:
    step = progress.step
    record = progress.outcome.record if progress.outcome is not None else None
    outcome = record if isinstance(record, Outcome) and progress.ended is not None else None
    call = step if isinstance(step, CallStep) else None
    return StepView(
        id=step.id,
        target=step.target,
        effect=str(call.call.effect) if call is not None else "compute",
        state=_step_state(progress, undo),
        attempts=progress.attempts,
        isolation=str(call.isolation) if call is not None else None,
        grade=str(call.grade) if call is not None and call.grade is not None else None,
        ended=str(progress.ended) if progress.ended is not None else None,
        error_class=outcome.error_class if outcome is not None else None,
        message=outcome.message if outcome is not None else None,
        status=outcome.status if outcome is not None else None,
        duration_ms=outcome.duration_ms if outcome is not None else None,
        facts=outcome.facts if outcome is not None else None,
    )


def _step_state(progress: Progress, undo: Progress | None) -> str:
    if undo is not None and (undo.in_flight is not None or undo.ended is not None):
        return "undoing" if undo.in_flight is not None else "undone" if undo.good else f"undo {undo.ended}"
    return "running" if progress.in_flight is not None else str(progress.ended or "pending")


def awaiting_view(op: Operation) -> AwaitingView | None:
    """Return the exact call that waits for approvals of its own, and whose."""
    make = awaited_call(op) if op.state is State.PAUSED else None
    if make is None:
        return None
    said = [item.record for item in op.said_of(make.step.id) if isinstance(item.record, Approval)]
    return AwaitingView(
        step=make.step.id,
        target=make.step.target,
        call=call_text(make.call),
        digest=call_digest(make.call),
        approvals_required=_words(step_terms(op.terms_in_force, make.step).approvals),
        approvals_missing=_words(op.missing_for(make.step)),
        approved_by=tuple(_said_by(one) for one in said if one.statement.approves),
        refused_by=tuple(one.statement.said_by for one in said if one.statement.refuses),
    )


def awaited_text(op: Operation) -> str:
    """Return the call that waits for approvals of its own, as text to read before one signs; else nothing."""
    view = awaiting_view(op)
    if view is None:
        return ""
    asked = escape(" and ".join(view.approvals_required))
    return f"step {quote(view.step)} needs approval by {asked}; its exact call {view.digest}:\n{view.call}\n"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - STEPS_NAMED_MAX} more" if len(found) > STEPS_NAMED_MAX else ""
    return ", ".join(f"`{name}`" for name in found[:STEPS_NAMED_MAX]) + more


def left_text(op: Operation) -> str:
    """Return what was done and what is left where people are asked anew on the way; else nothing."""
    if not op.leaves or op.state not in (State.WAITING_FOR_APPROVAL, State.APPROVED):
        return ""
    if op.undoing:
        undone = _listed(step.id for step in reversed(op.to_undo()))
        return f"policy came to ask for more; what is left to undo: {undone}"
    items = op.steps.values()
    done = _listed(item.step.id for item in items if item.settled) or "nothing"
    left = _listed(item.step.id for item in items if not item.settled)
    return f"policy came to ask for more on the way; done: {done}; what is left: {left}"


def record_view(sealed: Sealed) -> RecordView:
    """Return one line of history."""
    record = sealed.record
    return RecordView(
        n=record.n,
        kind=record.kind,
        at=record.at,
        by=f"{record.by.person} ({record.by.established})",
        digest=sealed.digest,
        summary=summary(record),
        body=to_json(record),
    )


def summary(record: Record) -> str:
    """Return what a record says in one line."""
    match record:
        case Intent():
            return f"{record.profile.name}/{record.intent} on {record.target} in {record.mode}"
        case Plan():
            steps, targets = counted(len(record.steps), "step"), counted(len(record.targets), "target")
            return f"{steps} on {targets}, effect {record.effect}"
        case Decision():
            return f"{record.terms.verdict} at {record.request.gate}: {record.reason}"
        case Approval():
            said, use = record.statement, record.use
            standing = "standing " if said.covers is not None else ""
            counted_use = f", use {use} of {said.covers.uses}" if said.covers is not None and use else ""
            of_step = f" to step {said.step}" if said.step is not None else ""
            unsigned = "" if record.signature else ", unsigned"
            return f"{standing}{said.in_a_word}{of_step} by {said.said_by}{counted_use}{unsigned}"
        case Ticket():
            return f"leave to run once in {record.mode}"
        case Attempt():
            permit = record.permit
            return (
                f"{record.phase} {permit.step} on {record.target}, try {permit.attempt}, {record.isolation}"
            )
        case Outcome():
            why = record.message or record.error_class
            return f"{record.step} {record.ended}{f': {why}' if why else ''}"
        case Command():
            return f"{record.verb}{f': {record.reason}' if record.reason else ''}"
        case Validation():
            return f"{record.verdict} over {counted(len(record.rules), 'rule')}"
        case Reconciliation():
            return f"{'happened' if record.happened else 'did not happen'}: {record.reason}"
        case Receipt():
            return str(record.state)
        case Stretch():
            return f"bytes {record.start} to {record.start + record.length} of {record.stream}"
        case Trust():
            return f"{'revoked' if record.revoked else 'enrolled'} {record.person} as {record.role}"
        case Halt():
            return f"lifted: {record.reason}" if record.lifted else words(record)
        case Delegation():
            gift = record.statement
            gave = "gave" if gift.withdraws is None else "took back what they gave"
            return f"{gift.giver.person} {gave} {gift.delegate}: {gift.reason}"
        case Note():
            return f"{record.topic}: {record.text}"
        case _:
            return ""


def counted(count: int, noun: str) -> str:
    """Return like `1 step` or `2 steps`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def validation_view(op: Operation, profile: Profile) -> ValidationView:
    """Return what all rules say of `op` now."""
    verdict, rules, _ = validate(op, profile)
    return ValidationView(
        operation_id=op.id,
        state=str(op.state),
        verdict=str(verdict),
        rules=tuple(
            RuleView(
                rule=rule.rule,
                verdict=str(rule.verdict),
                path=rule.path,
                expected=rule.expected,
                found=rule.found,
                details=rule.details,
            )
            for rule in rules
        ),
    )
