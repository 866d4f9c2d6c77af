"""Steps 9 and 10: receipts say no more than outcomes do, and outputs are what was named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from rexecop.proof.call import ScriptedRequest
from rexecop.proof.canonical import Digest, commit, same
from rexecop.proof.chain import Sealed
from rexecop.proof.egress import keeps_to, within
from rexecop.proof.erasures import Erasures
from rexecop.proof.records import (
    Approval,
    Attempt,
    Command,
    Decision,
    Outcome,
    Plan,
    Receipt,
    Reconciliation,
    RuleVerdict,
    Ticket,
    Validation,
    Verb,
)
from rexecop.proof.records.decision import Obligations
from rexecop.proof.records.outcome import EGRESS_LIST, PEERS, Measured
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.records.ticket import budget_subjects
from rexecop.proof.verify.evidence import Evidence, Notes, Opened, call_steps, steps_by_id, steps_by_key
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Gate, Isolation, Mode, Phase, State, Verdict

_STRENGTH: Final[tuple[str, ...]] = tuple(Isolation)[:-1]  # Weakest first; without `not-applicable`.
GRACE_MS_MAX: Final = 10_000  # What a call may take to end beyond its time; profiles say less.
_TOLERATED: Final = (Ended.FAILED, Ended.REFUSED)
_OBLIGATION_NAMES: Final[Mapping[str, str]] = {
    "output_bytes": "output_bytes",
    "timeout_ms": "timeout",
    "steps_max": "steps",
    "targets_max": "targets",
    "isolation": "isolation",
    "no_network": "no_network",
    "receipt": "receipt",
    "output_digest": "output_digest",
    "signed_profile": "signed_profile",
    "egress": "egress",
    "redaction": "redaction",
    "wave_max": "wave",
    "notify": "notify",
    "review_ms": "review",
    "budgets": "budget",
}
_NOTHING_ASKED: Final = Obligations()

Key = tuple[str, str]


@dataclass(slots=True)
class _Story:
    """What the records say happened, up to one place."""

    plan: Plan | None
    steps: Mapping[str, Sequence[Step]]
    attempts: dict[Digest, Attempt] = field(default_factory=dict)
    made: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    unanswered: set[Digest] = field(default_factory=set)
    unknown: set[Digest] = field(default_factory=set)
    work: dict[Key, Ended | None] = field(default_factory=dict)
    undone: dict[Key, Ended | None] = field(default_factory=dict)
    validation: Validation | None = None
    decision: Decision | None = None
    begun: bool = False
    refused: set[Digest] = field(default_factory=set)
    verbs: set[Verb] = field(default_factory=set)
    undoing: bool = False

    def take(self, sealed: Sealed) -> None:
        """Take in the next record."""
        record = sealed.record
        if isinstance(record, Attempt):
            self.attempts[sealed.digest] = record
            self.made += 1
            self.begun = True
            if record.phase is not Phase.PROBE:
                self.unanswered.add(sealed.digest)
        elif isinstance(record, Outcome):
            self._outcome(record)
        elif isinstance(record, Reconciliation):
            self.unknown.discard(record.attempt)
            self._ended(record.attempt, Ended.OK if record.happened else None)
        elif isinstance(record, Validation):
            self.validation = record
        elif isinstance(record, Decision):
            self.decision = record
            self.begun &= record.request.gate is Gate.CALL
        elif isinstance(record, Approval):
            self.refused.discard(record.statement.withdraws or sealed.digest)
            if record.statement.refuses and record.statement.step is None:
                self.refused.add(sealed.digest)
        elif isinstance(record, Command):
            self.verbs.add(record.verb)
            self.undoing |= record.verb is Verb.UNDO
        elif isinstance(record, Receipt):
            self.undoing = False

    def _outcome(self, record: Outcome) -> None:
        self.ends[record.ended] += 1
        attempt = self.attempts.get(record.attempt) if record.attempt is not None else None
        if record.attempt is not None and attempt is not None:
            self._ended(record.attempt, record.ended)
            if record.ended is Ended.UNKNOWN and attempt.phase is not Phase.PROBE:
                self.unknown.add(record.attempt)
            return
        table = self.undone if self.undoing else self.work
        for step in self.steps.get(record.step, ()):
            table[(step.target, step.id)] = record.ended

    def _ended(self, digest: Digest, ended: Ended | None) -> None:
        self.unanswered.discard(digest)
        attempt = self.attempts.get(digest)
        if attempt is not None and attempt.phase is not Phase.PROBE:
            table = self.work if attempt.phase is Phase.DO else self.undone
            table[(attempt.target, attempt.permit.step)] = ended


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 9."""
    story = _Story(plan=evidence.plan, steps=steps_by_id(evidence.plan) if evidence.plan else {})
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Receipt):
            _receipt(sealed, record, story, notes)
        elif isinstance(record, Validation):
            _validation(sealed, record, notes)
        story.take(sealed)
    _honest(evidence, notes)
    decisions = {sealed.digest: record for sealed, record in evidence.of(Decision)}
    for sealed, ticket in evidence.of(Ticket):
        if ticket.decision in decisions:
            kept = decisions[ticket.decision].terms.obligations
            _obligations(kept, sealed, evidence, notes)
            _budgets(kept, sealed, ticket, evidence, notes)


def _receipt(sealed: Sealed, record: Receipt, story: _Story, notes: Notes) -> None:
    when = notes.when
    # As `receipts.totals` counts, kept up so that many receipts do not count all over again.
    other = (record.attempts, dict(record.outcomes)) != (story.made, dict(story.ends))
    when(other, "E09b", sealed, "counts other attempts or outcomes than there are")
    lost = story.unanswered
    when(lost, "E09c", sealed, f"closes {len(lost)} attempts that have no outcome")
    unsettled = story.unknown if record.state is not State.ESCALATED else ()
    when(unsettled, "E09d", sealed, f"closes {len(unsettled)} unknown outcomes unsettled")
    other = story.validation is not None and record.facts not in (None, story.validation.facts)
    when(other, "E09f", sealed, "names other facts than the validation before it")
    if record.state is State.COMPLETED:
        _completed(sealed, record, story, notes)
    else:
        false = not _follows(record.state, story)
        when(false, "E09i", sealed, f"says `{record.state}`, which the records do not show")


def _completed(sealed: Sealed, record: Receipt, story: _Story, notes: Notes) -> None:
    for step in story.plan.steps if story.plan else ():
        ended = story.work.get((step.target, step.id))
        tolerated = isinstance(step, CallStep) and step.continue_on_error and ended in _TOLERATED
        what = "never ran" if ended is None else f"ended `{ended}`"
        bad = ended not in GOOD_ENDS and ended is not Ended.SKIPPED and not tolerated
        notes.when(bad, "E09a", sealed, f"says completed, step `{step.id:.64}` {what}")
    invalid = story.validation is None or story.validation.verdict is RuleVerdict.FAILED
    bad = story.plan is None or invalid
    notes.when(bad, "E09a", sealed, "says completed without a validation that did not fail")
    for entry in record.obligations:
        notes.when(not entry.met, "E09h", sealed, f"says completed, `{entry.name:.64}` was not met")


def _follows(state: State, story: _Story) -> bool:
    """Return whether the records show what a receipt of `state` says."""
    if state is State.BLOCKED:
        blocked = story.decision is None or story.decision.terms.verdict is Verdict.BLOCKED
        return not story.begun and (blocked or bool(story.refused))
    if state is State.FAILED:
        invalid = story.validation is not None and story.validation.verdict is RuleVerdict.FAILED
        fine = GOOD_ENDS | {Ended.SKIPPED}
        return invalid or not fine.issuperset((*story.work.values(), *story.undone.values()))
    if state is State.UNDONE:
        undoable = [(s.target, s.id) for s in call_steps(story.plan) if s.undo] if story.plan else []
        done = [key for key in undoable if story.work.get(key) in GOOD_ENDS]
        undone = bool(done) and all(story.undone.get(key) in GOOD_ENDS for key in done)
        return Verb.UNDO in story.verbs and undone
    return {State.CANCELLED: Verb.CANCEL, State.ESCALATED: Verb.ESCALATE}.get(state) in story.verbs


def _validation(sealed: Sealed, record: Validation, notes: Notes) -> None:
    verdicts = {rule.verdict for rule in record.rules} or {RuleVerdict.FAILED}
    worst = (RuleVerdict.FAILED, RuleVerdict.NOT_EVALUATED, RuleVerdict.PASSED)
    follows = next(verdict for verdict in worst if verdict in verdicts)
    other = record.verdict is not follows
    notes.when(other, "E09e", sealed, f"says `{record.verdict}`, its rules say `{follows}`")


def _honest(evidence: Evidence, notes: Notes) -> None:
    """A dry run makes no real call, and a call is no better isolated than was measured."""
    plan, intent = evidence.plan, evidence.intent
    if plan is None or intent is None:
        return
    steps = steps_by_key(plan)
    dry = intent.mode is Mode.DRY_RUN
    attempts = {sealed.digest: record for sealed, record in evidence.of(Attempt)}
    for sealed, outcome in evidence.of(Outcome):
        attempt = attempts.get(outcome.attempt) if outcome.attempt is not None else None
        if attempt is None:
            continue
        step, ended = steps.get((attempt.target, outcome.step)), outcome.ended
        scripted = isinstance(step, CallStep) and isinstance(step.call.request, ScriptedRequest)
        real = ended is Ended.OK or not (scripted or ended in (Ended.PREVIEWED, Ended.REFUSED))
        notes.when(dry and real, "E09g", sealed, f"is `{ended}` in a dry run")
        unreal = not dry and ended in (Ended.PREVIEWED, Ended.SIMULATED)
        notes.when(unreal, "E09g", sealed, f"is `{ended}` outside a dry run")
        measured = outcome.measured.isolation if outcome.measured else None
        weaker = ended is Ended.OK and not scripted and measured != attempt.isolation
        notes.when(weaker, "E09j", sealed, f"is `ok` without the isolation `{attempt.isolation}`")
        classes = step.attest if isinstance(step, CallStep) else ()
        called = ended in (Ended.OK, Ended.FAILED, Ended.UNKNOWN)
        other = called and classes and attempt.attestation not in classes
        notes.when(other, "E09l", sealed, f"is `{ended}` on a target attested `{attempt.attestation}`")


def _obligations(kept: Obligations, ticket: Sealed, evidence: Evidence, notes: Notes) -> None:
    """Hold the plan, what was done under `ticket`, and the receipts since to `kept`."""
    planned = evidence.first(Plan)
    if planned is None:
        return
    _plan_keeps(kept, *planned, notes)
    if kept.wave_max is not None:
        _wave(kept.wave_max, ticket.digest, evidence, notes)
    elsewhere = {sealed.digest for sealed, one in evidence.of(Attempt) if one.permit.ticket != ticket.digest}
    for sealed, outcome in evidence.of(Outcome):
        if outcome.attempt in elsewhere:
            continue
        sizes = [blob.kept_bytes for blob in (outcome.blobs or {}).values()]
        large = kept.output_bytes is not None and max(sizes, default=0) > kept.output_bytes
        notes.when(large, "E09h", sealed, f"keeps more than {kept.output_bytes} bytes")
        most = None if kept.timeout_ms is None else kept.timeout_ms + GRACE_MS_MAX
        slow = most is not None and outcome.ended is Ended.OK and outcome.duration_ms > most
        notes.when(slow, "E09h", sealed, f"took longer than {kept.timeout_ms} ms and the grace to end")
        reached = outcome.measured is not None and not _kept_in(kept, outcome.measured)
        notes.when(reached, "E09h", sealed, "could reach the network")
    for sealed, receipt in evidence.of(Receipt):
        if sealed.record.n < ticket.record.n:
            continue
        named = {entry.name for entry in receipt.obligations}
        for name, word in _OBLIGATION_NAMES.items():
            silent = getattr(kept, name) != getattr(_NOTHING_ASKED, name) and word not in named
            notes.when(silent, "E09h", sealed, f"does not say how `{word}` was met")


def _kept_in(kept: Obligations, measured: Measured) -> bool:
    """Return whether the network that was measured leads nowhere that it may not."""
    if not kept.no_network and kept.egress is None:
        return True
    if kept.no_network:
        return measured.network not in ("host", PEERS, EGRESS_LIST)
    if measured.network != EGRESS_LIST:
        return measured.network != "host"
    told = (measured.facts or {}).get("egress")
    return isinstance(told, list) and within(map(str, told), kept.egress or ())


def _wave(most: int, ticket: Digest, evidence: Evidence, notes: Notes) -> None:
    """At no time are changes of more targets under way, as of any change made under `ticket`."""
    under_way: dict[Digest, str] = {}
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Attempt) and record.target_n is not None:
            under_way[sealed.digest] = record.target
            many = record.permit.ticket == ticket and len(set(under_way.values())) > most
            notes.when(many, "E09h", sealed, f"changes more than {most} targets at one time")
        elif isinstance(record, Outcome) and record.attempt is not None:
            under_way.pop(record.attempt, None)


def _budgets(kept: Obligations, sealed: Sealed, ticket: Ticket, evidence: Evidence, notes: Notes) -> None:
    """Every budget that counts anybody is claimed, once, for whoever the intent says."""
    intent = evidence.intent
    plan = evidence.plan
    if intent is None or plan is None:
        return
    scopes = {budget.scope for budget in kept.budgets}
    meant = {(scope, subject) for scope in scopes for subject in budget_subjects(intent, plan, scope)}
    claimed = [(use.scope, use.subject) for use in ticket.uses]
    other = set(claimed) != meant or len(claimed) != len(meant) or any(use.n < 1 for use in ticket.uses)
    notes.when(other, "E09h", sealed, "claims other budgets than its terms give")


def _plan_keeps(kept: Obligations, sealed: Sealed, plan: Plan, notes: Notes) -> None:
    for what, count, most in (
        ("steps", len(plan.steps), kept.steps_max),
        ("targets", len(plan.targets), kept.targets_max),
    ):
        notes.when(most is not None and count > most, "E09h", sealed, f"has {count} {what}, not {most}")
    for step in call_steps(plan):
        if isinstance(step.call.request, ScriptedRequest):
            continue  # It cannot do I/O, so isolation and network have nothing to bound.
        weak = kept.isolation is not None and _strength(step.isolation) < _strength(kept.isolation)
        notes.when(weak, "E09h", sealed, f"runs step `{step.id:.64}` with less than `{kept.isolation}`")
        bounds = ([()] if kept.no_network else []) + ([kept.egress] if kept.egress is not None else [])
        reaches = not all(keeps_to(step, hosts) for hosts in bounds)
        notes.when(reaches, "E09h", sealed, f"does not keep step `{step.id:.64}` from the network")


def _strength(isolation: str) -> int:
    return _STRENGTH.index(isolation) if isolation in _STRENGTH else -1


def check_outputs(opened: Opened, notes: Notes) -> None:
    """Step 10."""
    outcomes = [outcome for _, outcome in opened.of(Outcome)]
    named = {ref.commitment: (ref, one.at) for one in outcomes for ref in (one.blobs or {}).values()}
    erased = Erasures(sealed.record for sealed in opened.instance)
    for commitment, blob in opened.contents.blobs.items():
        ref, _ = named.get(commitment, (None, None))
        if ref is None:
            notes.fault("E10b", f"output `{commitment}` is named by no outcome")
        elif len(blob.data) != ref.kept_bytes or not same(commit(blob.key, blob.data), commitment):
            notes.fault("E10a", f"output `{commitment}` is not what its outcome names")
        if commitment in erased.named:
            notes.fault("E10c", f"output `{commitment}` is recorded as erased")
    for commitment in sorted(named.keys() - opened.contents.blobs.keys()):
        if (found := erased.why_missing(commitment, named[commitment][1])) is None:
            notes.skip("outputs", "not all are included")
        else:
            why = f"erased by `{found.by.person:.64}` under `{found.rule:.64}`"
            notes.skip(f"output `{commitment}`", why)
