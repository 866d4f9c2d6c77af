"""Step 9: the receipt says no more than the outcomes do, and obligations were kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rexecop.proof.call import ScriptedRequest
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.receipts import totals
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.decision import Decision, Obligations
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.records.validation import RuleVerdict, Validation
from rexecop.proof.verify.evidence import Evidence, Notes, call_steps, place, steps_by_key
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Grade, Isolation, Mode, Phase, State, Verdict

_STRENGTH: Final = (Isolation.NONE, Isolation.RLIMITS, Isolation.LANDLOCK_SECCOMP, Isolation.BUBBLEWRAP)
_TOLERATED: Final = (Ended.FAILED, Ended.REFUSED)
_OBLIGATION_NAMES: Final[Mapping[str, str]] = {
    "output_bytes": "output_bytes",
    "timeout_ms": "timeout",
    "steps_max": "steps",
    "targets_max": "targets",
    "isolation": "isolation",
    "no_network": "no_network",
    "receipt": "receipt",
}

Key = tuple[str, str]


@dataclass(slots=True)
class _Story:
    """What the records say happened, up to one place."""

    plan: Plan | None
    attempts: dict[Digest, Attempt] = field(default_factory=dict)
    unanswered: set[Digest] = field(default_factory=set)
    unknown: set[Digest] = field(default_factory=set)
    work: dict[Key, Ended | None] = field(default_factory=dict)
    undone: dict[Key, Ended | None] = field(default_factory=dict)
    validation: Validation | None = None
    decision: Decision | None = None
    refused_by_person: bool = False
    verbs: set[Verb] = field(default_factory=set)
    undoing: bool = False

    def take(self, sealed: Sealed) -> None:
        """Take in the next record."""
        record = sealed.record
        if isinstance(record, Attempt):
            self.attempts[sealed.digest] = record
            self.unanswered.add(sealed.digest)
        elif isinstance(record, Outcome):
            self._outcome(record)
        elif isinstance(record, Reconciliation):
            self._settle(record)
        elif isinstance(record, Validation):
            self.validation = record
        elif isinstance(record, Decision):
            self.decision = record
        elif isinstance(record, Approval):
            self.refused_by_person |= not record.statement.approves
        elif isinstance(record, Command):
            self.verbs.add(record.verb)
            self.undoing |= record.verb is Verb.UNDO
        elif isinstance(record, Receipt):
            self.undoing = False

    def _outcome(self, record: Outcome) -> None:
        attempt = self.attempts.get(record.attempt) if record.attempt is not None else None
        if record.attempt is not None:
            self.unanswered.discard(record.attempt)
        if attempt is None:
            table = self.undone if self.undoing else self.work
            for step in self.plan.steps if self.plan else ():
                if step.id == record.step:
                    table[(step.target, step.id)] = record.ended
            return
        if attempt.phase is Phase.PROBE:
            return
        table = self.work if attempt.phase is Phase.DO else self.undone
        table[(attempt.target, record.step)] = record.ended
        if record.ended is Ended.UNKNOWN and record.attempt is not None:
            self.unknown.add(record.attempt)

    def _settle(self, record: Reconciliation) -> None:
        attempt = self.attempts.get(record.attempt)
        self.unanswered.discard(record.attempt)
        self.unknown.discard(record.attempt)
        if attempt is not None:
            table = self.work if attempt.phase is Phase.DO else self.undone
            table[(attempt.target, attempt.permit.step)] = Ended.OK if record.happened else None


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 9."""
    story = _Story(plan=evidence.plan)
    for index, sealed in enumerate(evidence.records):
        record = sealed.record
        if isinstance(record, Receipt):
            _receipt(sealed, record, story, evidence.records[:index], notes)
        elif isinstance(record, Validation):
            _validation(sealed, record, notes)
        story.take(sealed)
    _honest(evidence, notes)
    _obligations(evidence, notes)


def _receipt(sealed: Sealed, record: Receipt, story: _Story, before: Sequence[Sealed], notes: Notes) -> None:
    attempts, outcomes = totals(before)
    if (record.attempts, dict(record.outcomes)) != (attempts, outcomes):
        notes.fault("E09b", f"{place(sealed)} counts other attempts or outcomes than there are", sealed)
    lost = {digest for digest in story.unanswered if story.attempts[digest].phase is not Phase.PROBE}
    if lost:
        notes.fault("E09c", f"{place(sealed)} closes {len(lost)} attempts that have no outcome", sealed)
    if story.unknown and record.state is not State.ESCALATED:
        notes.fault("E09d", f"{place(sealed)} closes {len(story.unknown)} unknown outcomes unsettled", sealed)
    if story.validation is not None and record.facts not in (None, story.validation.facts):
        notes.fault("E09f", f"{place(sealed)} names other facts than the validation before it", sealed)
    if record.state is State.COMPLETED:
        _completed(sealed, record, story, notes)
    elif not _follows(record.state, story):
        notes.fault("E09i", f"{place(sealed)} says `{record.state}`, which the records do not show", sealed)


def _completed(sealed: Sealed, record: Receipt, story: _Story, notes: Notes) -> None:
    for step in story.plan.steps if story.plan else ():
        ended = story.work.get((step.target, step.id))
        tolerated = isinstance(step, CallStep) and step.continue_on_error and ended in _TOLERATED
        if ended not in GOOD_ENDS and not tolerated:
            what = "never ran" if ended is None else f"ended `{ended}`"
            notes.fault("E09a", f"{place(sealed)} says completed, step `{step.id:.64}` {what}", sealed)
    if story.plan is None or story.validation is None or story.validation.verdict is RuleVerdict.FAILED:
        notes.fault("E09a", f"{place(sealed)} says completed without a validation that did not fail", sealed)
    for entry in record.obligations:
        if not entry.met:
            notes.fault("E09h", f"{place(sealed)} says completed, `{entry.name:.64}` was not met", sealed)


def _follows(state: State, story: _Story) -> bool:
    """Return whether the records show what a receipt of `state` says."""
    if state is State.BLOCKED:
        blocked = story.decision is None or story.decision.terms.verdict is Verdict.BLOCKED
        return not story.attempts and (blocked or story.refused_by_person)
    if state is State.FAILED:
        bad = any(ended not in GOOD_ENDS for ended in (*story.work.values(), *story.undone.values()))
        invalid = story.validation is not None and story.validation.verdict is RuleVerdict.FAILED
        return bad or invalid
    if state is State.UNDONE:
        return Verb.UNDO in story.verbs and _all_undone(story)
    wanted = {State.CANCELLED: Verb.CANCEL, State.ESCALATED: Verb.ESCALATE}.get(state)
    return wanted in story.verbs


def _all_undone(story: _Story) -> bool:
    if story.plan is None:
        return False
    done = [
        (step.target, step.id)
        for step in call_steps(story.plan)
        if step.undo is not None and story.work.get((step.target, step.id)) in GOOD_ENDS
    ]
    return bool(done) and all(story.undone.get(key) in GOOD_ENDS for key in done)


def _validation(sealed: Sealed, record: Validation, notes: Notes) -> None:
    verdicts = {rule.verdict for rule in record.rules}
    if not record.rules or RuleVerdict.FAILED in verdicts:
        follows = RuleVerdict.FAILED
    elif RuleVerdict.NOT_EVALUATED in verdicts:
        follows = RuleVerdict.NOT_EVALUATED
    else:
        follows = RuleVerdict.PASSED
    if record.verdict is not follows:
        notes.fault("E09e", f"{place(sealed)} says `{record.verdict}`, its rules say `{follows}`", sealed)


def _honest(evidence: Evidence, notes: Notes) -> None:
    """A dry run makes no real call, and a call is no better isolated than was measured."""
    plan, intent = evidence.plan, evidence.intent
    if plan is None or intent is None:
        return
    steps = steps_by_key(plan)
    attempts = {sealed.digest: record for sealed, record in evidence.of(Attempt)}
    for sealed, outcome in evidence.of(Outcome):
        attempt = attempts.get(outcome.attempt) if outcome.attempt is not None else None
        if attempt is None:
            continue
        step = steps.get((attempt.target, outcome.step))
        scripted = isinstance(step, CallStep) and isinstance(step.call.request, ScriptedRequest)
        dry = intent.mode is Mode.DRY_RUN
        if (dry and outcome.ended is Ended.OK) or (
            dry and not scripted and outcome.ended not in (Ended.PREVIEWED, Ended.REFUSED)
        ):
            notes.fault("E09g", f"{place(sealed)} is `{outcome.ended}` in a dry run", sealed)
        elif not dry and outcome.ended in (Ended.PREVIEWED, Ended.SIMULATED):
            notes.fault("E09g", f"{place(sealed)} is `{outcome.ended}` outside a dry run", sealed)
        if scripted or outcome.ended is not Ended.OK:
            continue
        if outcome.measured is None or outcome.measured.isolation != attempt.isolation:
            notes.fault(
                "E09j", f"{place(sealed)} is `ok` without the isolation `{attempt.isolation}`", sealed
            )


def _obligations(evidence: Evidence, notes: Notes) -> None:
    plan = evidence.plan
    decisions = {sealed.digest: record for sealed, record in evidence.of(Decision)}
    for _, ticket in evidence.of(Ticket):
        decision = decisions.get(ticket.decision)
        if plan is None or decision is None:
            continue
        kept = decision.terms.obligations
        _plan_keeps(plan, kept, evidence, notes)
        _outcomes_keep(kept, evidence, notes)
        for sealed, receipt in evidence.of(Receipt):
            named = {entry.name for entry in receipt.obligations}
            for name, word in _OBLIGATION_NAMES.items():
                if getattr(kept, name) not in (None, False) and word not in named:
                    notes.fault("E09h", f"{place(sealed)} does not say how `{word}` was met", sealed)


def _plan_keeps(plan: Plan, kept: Obligations, evidence: Evidence, notes: Notes) -> None:
    planned = evidence.first(Plan)
    sealed = planned[0] if planned else None
    if kept.steps_max is not None and len(plan.steps) > kept.steps_max:
        notes.fault("E09h", f"the plan has {len(plan.steps)} steps, {kept.steps_max} are allowed", sealed)
    if kept.targets_max is not None and len(plan.targets) > kept.targets_max:
        notes.fault(
            "E09h", f"the plan has {len(plan.targets)} targets, {kept.targets_max} are allowed", sealed
        )
    for step in call_steps(plan):
        if isinstance(step.call.request, ScriptedRequest):
            continue  # It cannot do I/O, so isolation and network have nothing to bound.
        if kept.isolation is not None and _strength(step.isolation) < _strength(kept.isolation):
            notes.fault("E09h", f"step `{step.id:.64}` runs with less than `{kept.isolation}`", sealed)
        if kept.no_network and step.grade is not Grade.CONTAINED:
            notes.fault("E09h", f"step `{step.id:.64}` is not kept from the network", sealed)


def _outcomes_keep(kept: Obligations, evidence: Evidence, notes: Notes) -> None:
    for sealed, outcome in evidence.of(Outcome):
        sizes = [blob.kept_bytes for blob in (outcome.blobs or {}).values()]
        if kept.output_bytes is not None and max(sizes, default=0) > kept.output_bytes:
            notes.fault("E09h", f"{place(sealed)} keeps more than {kept.output_bytes} bytes", sealed)
        if kept.no_network and outcome.measured is not None and outcome.measured.network == "host":
            notes.fault("E09h", f"{place(sealed)} could reach the network", sealed)


def _strength(isolation: str) -> int:
    return next((rank for rank, known in enumerate(_STRENGTH) if known == isolation), -1)
