"""Why an operation is where it is, in words: decision, waiting, failure, and when that may change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from rexecop.app import queueing
from rexecop.app.describe import left_text
from rexecop.app.identity import Identity
from rexecop.app.planner import PlanInput, Planner
from rexecop.app.reading import Seen
from rexecop.app.settings import Settings
from rexecop.app.views import WhyView
from rexecop.engines.budgets import in_words
from rexecop.engines.stepwise import count
from rexecop.engines.telling import TOPIC
from rexecop.engines.world import Contents, World
from rexecop.governance.replay import otherwise
from rexecop.governance.why import of_answer, of_decision, of_tally
from rexecop.lanes.failures import Failure, describe
from rexecop.operations.fold import Operation
from rexecop.operations.machine import TERMINAL
from rexecop.operations.next import awaited_call
from rexecop.operations.operator_words import CONNECTOR, POLICY, RUNTIME
from rexecop.operations.reactions import NOTED
from rexecop.operations.recover import settle_after
from rexecop.proof.canonical import Json, canonical_bytes
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.quorum import tally
from rexecop.proof.records.instance import Note
from rexecop.proof.records.validation import RuleVerdict, Validation
from rexecop.proof.steps import unspent
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import State, Verdict

VALUE_LENGTH_MAX: Final = (
    200  # Enough to tell one value from another; `rexecop validate --json` has the whole.
)
NOTICES_SHOWN_MAX: Final = 8  # The newest: whether the last ones came through is what counts.


def rests_on_records(op: Operation) -> bool:
    """Return whether `explain` says the same of `op` whatever the time, the policy and others come to be."""
    if op.state not in TERMINAL or op.approvals:
        return False
    terms = None if op.decision is None else op.terms
    return terms is None or not (
        terms.verdict is Verdict.BLOCKED or terms.approvals or terms.obligations.budgets
    )


def explain(seen: Seen, world: World, settings: Settings) -> WhyView:
    """Return why an operation is in its state."""
    op, view = seen.op, seen.view
    decided = view.decision.reason if view.decision is not None else None
    why = f": {view.reason}" if view.reason and view.reason != decided else ""
    lines = [f"operation {view.number} is `{view.state}`{why}"]
    if view.waiting and view.waiting.startswith("halted"):
        lines.append(view.waiting)
    if op.decision is not None:
        # What approval would change is over once it came or was refused.
        settled = op.terms.approvals and op.state is not State.WAITING_FOR_APPROVAL
        lines += of_decision(op.the_decision)[: -1 if settled else None]
    left = left_text(op)
    lines += [left] if left else []
    if op.plan is not None and op.decision is not None and op.terms.verdict is Verdict.BLOCKED:
        lines += otherwise(
            world.authority.policy(op.the_plan.profile, op.the_plan.environment), op.the_decision.request
        )
    if op.plan is not None and op.decision is not None and (op.terms.approvals or op.approvals):
        lines += of_tally(
            tally(
                intent=op.sealed_intent,
                plan=op.sealed_plan,
                terms=op.terms,
                preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
                approvals=unspent(op.approvals, op.ticket) if left else op.approvals,
                enrolments=world.authority.enrolments(),
                groups=world.authority.policy(op.the_plan.profile).groups(),
                at=world.clock.now(),
                instance=world.authority.trust_records(),
            )
        )
    if view.awaiting is not None and (make := awaited_call(op)) is not None:
        asked = " and ".join(view.awaiting.approvals_required)
        lines.append(f"step `{view.awaiting.step}` needs approval by {asked}; its exact call is:")
        lines += view.awaiting.call.splitlines()
        lines += of_tally(count(op, make, world.authority, world.clock.now()))
    if op.decision is not None:
        lines += in_words(world.store, world.clock, op, world.clock.now())
    if op.review_by is not None:
        lines.append(f"a person who did not ask for it must review it by {format_time(op.review_by)}")
    for step in view.steps:
        if step.error_class:
            lines.append(
                f"step `{step.id}` ended {step.ended}: {describe(Failure(step.error_class))}"
                f"{f' ({step.message})' if step.message else ''}"
            )
    lines += _rules(op) if op.state is State.FAILED else ()
    if op.plan is not None and op.state in (State.FAILED, State.BLOCKED):
        lines += _told(op, world.contents, [step.error_class for step in view.steps])
    lines += _noted(seen.records)
    if view.state == State.INDETERMINATE:
        moment = settle_after(op, timedelta(milliseconds=settings.reconcile_margin_ms))
        if moment is not None:
            lines.append(f"it can be settled from {format_time(moment)} on: nothing of it can still run then")
    if seen.place is not None:
        lines.append(queueing.in_words(seen.place))
    further = tuple(command for command in view.next if not command.startswith("rexecop why "))
    return WhyView(operation_id=op.id, state=view.state, lines=tuple(lines), next=further)


def _noted(records: Iterable[Sealed]) -> Iterator[str]:
    """Yield what followed by itself, what people found in it, and the newest notices."""
    notes = [sealed.record for sealed in records if isinstance(sealed.record, Note)]
    for note in notes:
        if note.topic == NOTED:
            yield from (f"{NOTED}: {line}" for line in note.text.splitlines())
    told = [note.text for note in notes if note.topic == TOPIC]
    yield from (f"notice: {text}" for text in told[-NOTICES_SHOWN_MAX:])


def _rules(op: Operation) -> Iterator[str]:
    """Yield in words each rule of the newest validation that failed."""
    record = op.validation.record if op.validation is not None else None
    for rule in record.rules if isinstance(record, Validation) else ():
        if rule.verdict is RuleVerdict.FAILED:
            wanted = "" if rule.expected is None else f", expected is {_shown(rule.expected)}"
            yield f"rule `{rule.rule}` failed: `{rule.path}` is {_shown(rule.found)}{wanted}"


def _shown(value: Json) -> str:
    return "nothing" if value is None else canonical_bytes(value).decode()[:VALUE_LENGTH_MAX]


def _told(op: Operation, contents: Contents, errors: Sequence[str | None]) -> list[str]:
    """Return what the profile tells operators of an intent that came to this; nothing where it is lost."""
    try:
        profile = contents.profile(op.the_plan.profile)
    except RexecopError:
        return []
    intent = profile.intents.get(op.the_intent.intent)
    kind = POLICY if op.state is State.BLOCKED else CONNECTOR if any(errors) else RUNTIME
    said = profile.words.of(op.the_intent.intent).failures.get(kind)
    found = [f"the profile says: {said}"] if said else []
    if intent is not None and intent.runbook:
        found.append(f"its runbook: `rexecop runbook show {intent.id}`, of profile `{profile.name}`")
    return found


def explain_before(asked: PlanInput, planner: Planner, identity: Identity) -> WhyView:
    """Return what policy would answer to `asked`, and which difference would help; nothing is stored."""
    answer, request, policy = planner.foresee(asked, identity)
    told = of_answer(answer, request)
    return WhyView(
        operation_id=None,
        state=None,
        lines=(*told, *otherwise(policy, request), "nothing was recorded"),
        # Where a catalog is, seen from here, only the asker knows.
        next=()
        if asked.catalog is not None
        else (f"rexecop plan --intent {asked.intent} --target {asked.target}",),
    )
