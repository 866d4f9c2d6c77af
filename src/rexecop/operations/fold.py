"""The state of an operation as a fold over its records.

The driver, `status`, recovery and the auditor all use this one reading. `apply`
believes nothing but records; whether a record may follow is asked of the table in
`machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

from rexecop.governance.obligations import merge_obligations
from rexecop.operations.commands import COMMANDS
from rexecop.operations.course import Course, Key, Progress
from rexecop.operations.machine import TERMINAL, Event, allows, move, refusal
from rexecop.operations.recorded import present, typed
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.delegation import is_vote_of
from rexecop.proof.errors import ChainBroken
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import unfilled_by
from rexecop.proof.records import Record
from rexecop.proof.records.approval import Approval, ApprovalStatement
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import ApprovalRule, Decision, Obligations, Terms
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan, Step
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import RuleVerdict, Validation
from rexecop.proof.steps import is_asking, step_terms
from rexecop.proof.vocabulary import Ended, Gate, Mode, Phase, State, Verdict

R = TypeVar("R", bound=Record)


@dataclass(slots=True)
class Operation:
    """Everything the records of one operation say, and the state that follows from it."""

    id: str = ""
    state: State = State.CREATED
    reason: str = ""
    count: int = 0
    head: Sealed | None = None
    created: datetime | None = None
    newest: datetime | None = None
    intent: Sealed | None = None
    plan: Sealed | None = None
    decision: Sealed | None = None
    admission: Sealed | None = None
    ticket: Sealed | None = None
    leaves: list[Sealed] = field(default_factory=list)
    validation: Sealed | None = None
    approvals: list[Sealed] = field(default_factory=list)
    step_approvals: list[Sealed] = field(default_factory=list)
    paused_by: Principal | None = None
    recounted: int = 0
    receipts: list[Sealed] = field(default_factory=list)
    steps: dict[Key, Progress] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    undo_wave: int | None = None
    undo_left: list[CallStep] | None = field(default=None, compare=False)
    undo: dict[Key, Progress] = field(default_factory=dict)
    looks: dict[Key, list[Progress]] = field(default_factory=dict)
    in_flight: dict[Digest, Progress] = field(default_factory=dict)
    unknown: dict[Digest, Progress] = field(default_factory=dict)
    unsettled: dict[Digest, Sealed] = field(default_factory=dict)
    ends: list[Ended] = field(default_factory=list)
    tries: int = 0
    changing: bool = False
    receipt_due: bool = False
    pause_asked: bool = False
    cancel_asked: bool = False
    undoing: bool = False
    review_by: datetime | None = None

    def apply(self, sealed: Sealed) -> None:
        """Take in the next record.

        Raises:
            IllegalMove: the record cannot follow.
            ChainBroken: it names a step or an attempt that the records before it do not have.
            NothingToUndo: it orders to undo what never took effect.
        """
        handler = _HANDLERS.get(type(sealed.record))
        if handler is not None:
            handler(self, sealed)
        self.id = sealed.record.operation
        self.count += 1
        self.head = sealed
        self.created = self.created or sealed.record.at
        self.newest = max(self.newest or sealed.record.at, sealed.record.at)

    @property
    def sealed_head(self) -> Sealed:
        """The newest record; asking before there is one is a defect."""
        return present(self.head, "first")

    @property
    def sealed_intent(self) -> Sealed:
        """The sealed intent; asking before there is one is a defect."""
        return present(self.intent, "intent")

    @property
    def sealed_plan(self) -> Sealed:
        """The sealed plan; asking before there is one is a defect."""
        return present(self.plan, "plan")

    @property
    def sealed_decision(self) -> Sealed:
        """The newest sealed decision; asking before there is one is a defect."""
        return present(self.decision, "decision")

    @property
    def sealed_ticket(self) -> Sealed:
        """The newest sealed ticket; asking before there is one is a defect."""
        return present(self.ticket, "ticket")

    @property
    def the_intent(self) -> Intent:
        """The intent; asking before there is one is a defect."""
        return typed(self.intent, Intent)

    @property
    def the_plan(self) -> Plan:
        """The plan; asking before there is one is a defect."""
        return typed(self.plan, Plan)

    @property
    def the_decision(self) -> Decision:
        """The newest decision; asking before there is one is a defect."""
        return typed(self.decision, Decision)

    @property
    def the_admission(self) -> Decision:
        """The newest decision about the whole plan; asking before there is one is a defect."""
        return typed(self.admission, Decision)

    @property
    def terms(self) -> Terms:
        """The terms of the newest decision."""
        return self.the_decision.terms

    @property
    def obligations(self) -> Obligations:
        """What it had to keep to in all: the strictest of the terms of all its tickets."""
        return merge_obligations(typed(one, Decision).terms.obligations for one in self.leaves)

    @property
    def terms_in_force(self) -> Terms:
        """The terms the work is done under: the ticket's, whatever policy answered since; else the newest."""
        return typed(self.leaves[-1], Decision).terms if self.leaves else self.terms

    @property
    def facts(self) -> dict[str, Json]:
        """All facts, by the step that yielded them, as `step` or, with several targets, `step@target`."""
        return {
            progress.step.id: typed(progress.outcome, Outcome).facts
            for progress in self.steps.values()
            if progress.outcome is not None and typed(progress.outcome, Outcome).facts is not None
        }

    def missing_approvals(self) -> tuple[ApprovalRule, ...]:
        """Return the approval rules no counted yes fills yet."""
        return unfilled_by(self.standing_approvals(), self.terms, self.terms)

    def standing_approvals(self) -> tuple[Approval, ...]:
        """Return each yes to what is asked now, and each no, that was not taken back."""
        taken_back = {typed(sealed, Approval).statement.withdraws for sealed in self.approvals}
        return tuple(
            record
            for n, sealed in enumerate(self.approvals)
            if sealed.digest not in taken_back
            and (record := typed(sealed, Approval)).statement.withdraws is None
            and (n >= self.recounted or record.statement.refuses)
        )

    @property
    def may_retry(self) -> bool:
        """Whether a person may have it tried again: it failed, and there is something left to try."""
        return self.state is State.FAILED and not self.undo and (self.course.over or not self.course.done)

    @property
    def awaited(self) -> CallStep | None:
        """The next step, where its call needs approvals of its own and nothing can go before it."""
        due = [item.step for item in self.course.ready()] if self.leaves else []
        asking = [step for step in due if isinstance(step, CallStep) and self.asks(step)]
        return asking[0] if asking and len(asking) == len(due) else None

    def asks(self, step: CallStep) -> bool:
        """Return whether the call of `step` needs approvals of its own."""
        return is_asking(self.terms_in_force, step)

    def said_of(self, step: str) -> tuple[Sealed, ...]:
        """Return each yes and no to the call of `step` that was not taken back, in order."""
        mine = [(item, typed(item, Approval).statement) for item in self.step_approvals]
        taken_back = {said.withdraws for _, said in mine}
        return tuple(
            item
            for item, said in mine
            if said.step == step and said.withdraws is None and item.digest not in taken_back
        )

    def missing_for(self, step: CallStep) -> tuple[ApprovalRule, ...]:
        """Return the approval rules of `step` that no counted yes fills yet."""
        said = [typed(sealed, Approval) for sealed in self.said_of(step.id)]
        return unfilled_by(said, step_terms(self.terms_in_force, step), self.terms_in_force)

    def given_by(self, person: str, step: str | None = None, speaker: str | None = None) -> Sealed | None:
        """Return the newest yes or no of `person`, also one said for them, that was not taken back.

        With `step` that to its call; with `speaker` only what they said for `person`.
        """
        standing = self.standing_approvals()
        said = self.said_of(step) if step else [one for one in self.approvals if one.record in standing]
        mine = [one for one in said if is_vote_of(person, typed(one, Approval).statement, speaker)]
        return mine[-1] if mine else None

    def progress_of(self, step: Step, phase: Phase) -> Progress:
        """Return (and begin) the progress of `step` in `phase`."""
        table = self.undo if phase is Phase.UNDO else self.steps
        key = (step.target, step.id)
        if key not in table:
            table[key] = Progress(step=step, phase=phase)
        return table[key]

    def step_named(self, target: str, step: str) -> Step:
        """Return the planned step.

        Raises:
            ChainBroken: the plan has no such step.
        """
        found = self.steps.get((target, step))
        if found is None:
            raise ChainBroken(f"the plan has no step `{step:.80}` on `{target:.80}`", step=step)
        return found.step

    def to_undo(self) -> Sequence[CallStep]:
        """Return the steps whose effect can be undone, the latest last; of one wave while that is undone."""
        if self.undo_left is None:
            self.undo_left = self.course.standing(self.steps, self.undo, self.undo_wave)
        return self.undo_left

    @property
    def wave_to_undo(self) -> int | None:
        """The wave that stopped and is to be undone, as planned; None where nothing is."""
        course = self.course
        if not course.stopped or course.rollout is None or not course.rollout.undo:
            return None
        if self.the_intent.mode is Mode.DRY_RUN or self.undo:
            return None
        wave = max(map(course.wave, course.failed))
        stands = any(course.wave(step.target) == wave for step in self.to_undo())
        return wave if stands else None

    def go(self, event: Event, reason: str = "") -> None:
        """Make the move that a record stands for."""
        self.state, self.undo_left = move(self.state, event), None
        if reason:
            self.reason = reason
        if self.state in TERMINAL:
            self.receipt_due, self.undo_wave = True, None

    def at_boundary(self) -> None:
        """Once nothing is in flight: obey what people asked for, else see whether the work is done."""
        if self.in_flight or self.unknown:
            return
        if self.state is State.INDETERMINATE:
            self.go(Event.RECONCILED)  # What was lost was settled while other calls still ran.
        if self.course.over and self.wave_to_undo is None and allows(self.state, Event.STEP_FAILED):
            self.go(Event.STEP_FAILED, self.course.verdict)
        elif self.cancel_asked and allows(self.state, Event.CANCELLED):
            self.cancel_asked = False
            self.go(Event.CANCELLED, "cancelled between steps")
        elif self.pause_asked and allows(self.state, Event.PAUSED):
            self.pause_asked = False
            self.go(Event.PAUSED, "paused between steps")
        elif self.course.done and not self.course.over and allows(self.state, Event.STEPS_DONE):
            self.go(Event.STEPS_DONE)


def fold(records: Iterable[Sealed]) -> Operation:
    """Return the operation that `records` describe.

    Raises:
        IllegalMove: a record cannot follow the ones before it.
    """
    operation = Operation()
    for sealed in records:
        operation.apply(sealed)
    return operation


def _on_intent(op: Operation, sealed: Sealed) -> None:
    op.intent = sealed


def _on_plan(op: Operation, sealed: Sealed) -> None:
    op.go(Event.PLANNED)
    op.plan = sealed
    for place, step in enumerate(op.the_plan.steps):
        op.steps.setdefault((step.target, step.id), Progress(step=step, phase=Phase.DO, place=place))
    op.course.begin(op.the_plan, op.steps)


def _on_decision(op: Operation, sealed: Sealed) -> None:
    decision = typed(sealed, Decision)
    op.decision = sealed
    if decision.request.gate is Gate.CALL:
        return  # It says no to one call: the outcome that follows says what came of it.
    op.admission = sealed
    if decision.request.gate is Gate.TICKET:
        op.recounted = len(op.approvals)  # Asked again: what was said yes to before does not count.
    op.undoing = op.undoing or op.state is State.UNDOING
    verdict = decision.terms.verdict
    if verdict is Verdict.BLOCKED:
        op.go(Event.DENIED, decision.reason)
    elif verdict is Verdict.ALLOWED or not op.missing_approvals():
        op.go(Event.ALLOWED, decision.reason)
    else:
        op.go(Event.APPROVAL_REQUIRED, decision.reason)


def _on_approval(op: Operation, sealed: Sealed) -> None:
    statement = typed(sealed, Approval).statement
    if op.intent is None:
        return  # The instance's own chain: a standing approval, which is no answer to anything yet.
    if statement.step is not None:
        _on_step_approval(op, sealed, statement)
        return
    if statement.withdraws is not None:
        _withdraw(op, sealed, statement)
        return
    # Until the start a no is heard even where enough others have said yes.
    heard = (State.WAITING_FOR_APPROVAL, *((State.APPROVED,) if statement.refuses else ()))
    if op.state not in heard:
        raise refusal(op.state, State.BLOCKED if statement.refuses else State.APPROVED)
    if statement.refuses:
        op.go(Event.DENIED, f"refused by {statement.said_by}")
    op.approvals.append(sealed)
    if statement.approves and not op.missing_approvals():
        op.go(Event.APPROVED)


def _on_step_approval(op: Operation, sealed: Sealed, statement: ApprovalStatement) -> None:
    # Only while it is stopped just before the step: a call that may run already is not spoken about.
    heard = op.state is State.PAUSED and op.awaited is not None and op.awaited.id == statement.step
    given = op.given_by(statement.voter, statement.step, statement.speaker)
    foreign = statement.withdraws is not None and (given is None or given.digest != statement.withdraws)
    if not heard or foreign:
        raise refusal(op.state, State.WAITING_FOR_APPROVAL)
    op.step_approvals.append(sealed)


def _withdraw(op: Operation, sealed: Sealed, statement: ApprovalStatement) -> None:
    given = op.given_by(statement.voter, speaker=statement.speaker)
    if given is None or given.digest != statement.withdraws:
        raise refusal(op.state, State.WAITING_FOR_APPROVAL)
    if op.state is State.BLOCKED and typed(given, Approval).statement.approves:
        raise refusal(op.state, State.WAITING_FOR_APPROVAL)
    op.go(Event.WITHDRAWN, f"{statement.said_by} took their word back")
    op.receipt_due = False
    op.approvals.append(sealed)
    if not op.missing_approvals():
        op.go(Event.APPROVED)


def _on_ticket(op: Operation, sealed: Sealed) -> None:
    op.ticket = sealed
    op.leaves.append(op.sealed_decision)
    if op.state is State.APPROVED:
        op.go(Event.UNDO_CONTINUED if op.undoing else Event.STARTED)
        op.undoing = False


def _on_attempt(op: Operation, sealed: Sealed) -> None:
    attempt = typed(sealed, Attempt)
    step = op.step_named(attempt.target, attempt.permit.step)
    if attempt.phase is Phase.PROBE:
        progress = Progress(step=step, phase=Phase.PROBE)
        op.looks.setdefault((step.target, step.id), []).append(progress)
    else:
        progress = op.progress_of(step, attempt.phase)
        if op.state in (State.RETRYING, State.RESUMING):
            op.go(Event.CONTINUED)
    op.tries += 1
    op.changing = op.changing or attempt.target_n is not None
    progress.attempts, progress.in_flight = attempt.permit.attempt, sealed
    progress.began, progress.tried = progress.began or attempt.at, attempt.at
    progress.ended = progress.failure = None
    op.in_flight[sealed.digest] = progress


def _on_outcome(op: Operation, sealed: Sealed) -> None:
    outcome = typed(sealed, Outcome)
    progress = _opened(op, outcome.attempt) if outcome.attempt else _stepless(op, outcome)
    attempt, progress.in_flight = progress.in_flight, None
    op.ends.append(outcome.ended)
    progress.outcome = Sealed(outcome, b"", sealed.digest)  # There may be 40,000, and nobody asks for bytes.
    progress.ended, progress.failure = outcome.ended, outcome.error_class
    if progress.phase is Phase.PROBE:
        if op.cancel_asked or op.pause_asked:
            op.at_boundary()
        return
    if op.state in (State.RETRYING, State.RESUMING):
        op.go(Event.CONTINUED)
    if outcome.ended is Ended.UNKNOWN and attempt is not None:
        op.unknown[attempt.digest] = progress
        op.unsettled[attempt.digest] = attempt
        if op.state is not State.INDETERMINATE:
            op.go(Event.LOST, f"step `{outcome.step}` may have happened: {outcome.message or 'no answer'}")
    elif progress.phase is Phase.UNDO:
        _after_undo(op, progress, outcome)
    else:
        _after_work(op, progress, outcome)


def _after_work(op: Operation, progress: Progress, outcome: Outcome) -> None:
    op.undo_left = None
    if progress.settled:
        op.course.settle(progress)
    elif not (progress.may_retry() and op.course.is_open(progress)):
        op.course.fail(progress, f"step `{outcome.step}` ended {outcome.ended}: {_cause(outcome)}")
    elif allows(op.state, Event.RETRIED) and not op.course.over:
        op.go(Event.RETRIED)
        if not (op.cancel_asked or op.pause_asked):
            return
    op.at_boundary()


def _opened(op: Operation, attempt: Digest) -> Progress:
    progress = op.in_flight.pop(attempt, None)
    if progress is None:
        raise ChainBroken(f"an outcome names attempt `{attempt}`, which is not open", attempt=attempt)
    return progress


def _stepless(op: Operation, outcome: Outcome) -> Progress:
    """Find the step of an outcome without an attempt: a derive step, or a call that was not made."""
    phase = Phase.UNDO if op.state is State.UNDOING else Phase.DO
    progress = op.course.named.get(outcome.step)
    if progress is None:
        raise ChainBroken(f"the plan has no step `{outcome.step:.80}`", step=outcome.step)
    return op.progress_of(progress.step, phase)


def _after_undo(op: Operation, progress: Progress, outcome: Outcome) -> None:
    if not progress.good:
        op.go(Event.UNDO_FAILED, f"undoing step `{outcome.step}` ended {outcome.ended}: {_cause(outcome)}")
    else:
        if op.undo_left and op.undo_left[-1] is progress.step:
            op.undo_left.pop()  # In their order, so that all are not gone over for each.
        else:
            op.undo_left = None
        _see_undone(op)


def _see_undone(op: Operation) -> None:
    if op.to_undo():
        return
    if op.undo_wave is None:
        op.go(Event.UNDONE, "every undoable step was undone")
    else:
        op.go(Event.WAVE_UNDONE, f"{op.course.verdict}; wave {op.undo_wave + 1} was undone")


def _cause(outcome: Outcome) -> str:
    return outcome.message or outcome.error_class or "no reason given"


def _on_reconciliation(op: Operation, sealed: Sealed) -> None:
    record = typed(sealed, Reconciliation)
    progress = op.unknown.get(record.attempt)
    if progress is None:
        raise refusal(op.state, State.PAUSED)
    undoing = progress.phase is Phase.UNDO
    if len(op.unknown) == 1 and not op.in_flight:
        op.go(Event.UNDO_RECONCILED if undoing else Event.RECONCILED, record.reason)
    del op.unknown[record.attempt], op.unsettled[record.attempt]
    progress.ended = Ended.OK if record.happened else None
    progress.failure = op.undo_left = None
    if undoing and record.happened:
        _see_undone(op)
    elif progress.settled:
        op.course.settle(progress)


def _on_command(op: Operation, sealed: Sealed) -> None:
    command = typed(sealed, Command)
    COMMANDS[command.verb](op, command.reason or "")
    if command.verb is Verb.PAUSE:
        op.paused_by = command.by


def _on_validation(op: Operation, sealed: Sealed) -> None:
    op.validation = sealed
    failed = typed(sealed, Validation).verdict is RuleVerdict.FAILED
    op.go(Event.INVALID if failed else Event.VALIDATED, "validation failed" if failed else "")
    if not failed:
        op.reason = ""  # Why it was refused, paused or failed on the way is history now.


def _on_receipt(op: Operation, sealed: Sealed) -> None:
    claimed = typed(sealed, Receipt).state
    if not op.receipt_due or claimed is not op.state:
        raise refusal(op.state, claimed)
    op.receipts.append(sealed)
    op.receipt_due = False
    within = op.obligations.review_ms
    if within is not None and op.tries and op.the_intent.mode is not Mode.DRY_RUN:
        # What is done again before it was reviewed does not give more time.
        op.review_by = op.review_by or sealed.record.at + timedelta(milliseconds=within)


_HANDLERS: Final[Mapping[type[Record], Callable[[Operation, Sealed], None]]] = {
    Intent: _on_intent,
    Plan: _on_plan,
    Decision: _on_decision,
    Approval: _on_approval,
    Ticket: _on_ticket,
    Attempt: _on_attempt,
    Outcome: _on_outcome,
    Reconciliation: _on_reconciliation,
    Command: _on_command,
    Validation: _on_validation,
    Receipt: _on_receipt,
}
