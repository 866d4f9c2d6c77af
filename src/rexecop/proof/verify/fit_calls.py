"""Step 7, second half: no call outside the plan, none without a permit, none twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from rexecop.proof.call import Call, Scalar, Slot, call_digest, check_slot, fill
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan, Step
from rexecop.proof.records.receipt import Receipt
from rexecop.proof.records.reconciliation import Reconciliation
from rexecop.proof.records.ticket import Ticket
from rexecop.proof.scope import template_for
from rexecop.proof.verify.evidence import Evidence, Notes, place, steps_by_key
from rexecop.proof.verify.patterns import affordable, require_pattern
from rexecop.proof.vocabulary import Effect, Ended, Mode, Phase

PERMIT_LIFE_MAX: Final = timedelta(seconds=60)  # What bounds a runner that was thawed too late.
_READING: Final = (Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY)
_UNMADE: Final = (Ended.REFUSED, Ended.FAILED, Ended.PREVIEWED)

Key = tuple[str, str, Phase]


@dataclass(slots=True)
class _Walk:
    """Where a walk through the records has got to."""

    plan: Plan
    steps: Mapping[tuple[str, str], Step]
    mode: Mode
    notes: Notes
    ticket: tuple[Sealed, Ticket] | None = None
    unanswered: dict[Digest, tuple[Sealed, Attempt]] = field(default_factory=dict)
    lost: dict[Digest, tuple[Sealed, Attempt]] = field(default_factory=dict)
    settled: set[Digest] = field(default_factory=set)
    probes: dict[Digest, tuple[str, str]] = field(default_factory=dict)
    attempts: dict[Key, int] = field(default_factory=dict)
    last: dict[Key, Digest] = field(default_factory=dict)
    done: set[tuple[Digest, Key]] = field(default_factory=set)
    facts: dict[tuple[str, str], Mapping[str, Json]] = field(default_factory=dict)
    fence: int = 0
    closed: bool = False


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 7 for everything from the first ticket on."""
    plan, intent = evidence.plan, evidence.intent
    if plan is None or intent is None:
        return
    walk = _Walk(plan=plan, steps=steps_by_key(plan), mode=intent.mode, notes=notes)
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Ticket):
            walk.ticket = (sealed, record)
        elif isinstance(record, Attempt):
            _attempt(walk, sealed, record)
        elif isinstance(record, Outcome):
            _outcome(walk, sealed, record)
        elif isinstance(record, Reconciliation):
            _reconciliation(walk, sealed, record)
        elif isinstance(record, Receipt):
            walk.closed = True
        elif isinstance(record, Command) and record.verb in (Verb.RETRY, Verb.UNDO, Verb.RESUME):
            walk.closed = False


def _attempt(walk: _Walk, sealed: Sealed, record: Attempt) -> None:
    notes = walk.notes
    step = walk.steps.get((record.target, record.permit.step))
    template = template_for(step, record.phase) if isinstance(step, CallStep) else None
    if not isinstance(step, CallStep) or template is None:
        notes.fault(
            "E07k",
            f"{place(sealed)} is for `{record.permit.step:.64}` on `{record.target:.64}`, not in the plan",
            sealed,
        )
    else:
        _call(walk, sealed, record, step, template)
        grade = step.grade if template.effect is Effect.READ else None
        if (record.isolation, record.grade) != (step.isolation, grade):
            notes.fault("E07u", f"{place(sealed)} has another isolation or read grade than planned", sealed)
    if walk.closed:
        notes.fault("E07x", f"{place(sealed)} is made after a receipt closed the operation", sealed)
    if record.permit.fence < walk.fence:
        notes.fault("E07y", f"{place(sealed)} has fence {record.permit.fence}, below {walk.fence}", sealed)
    walk.fence = max(walk.fence, record.permit.fence)
    _permit(walk, sealed, record)
    _numbering(walk, sealed, record)
    walk.unanswered[sealed.digest] = (sealed, record)


def _call(walk: _Walk, sealed: Sealed, record: Attempt, step: CallStep, template: Call) -> None:
    """The call permitted is the planned template, filled with values its slots allow."""
    notes = walk.notes
    if record.template != call_digest(template):
        notes.fault("E07l", f"{place(sealed)} names another template than step `{step.id}`", sealed)
        return
    if template.effect is not Effect.READ and (walk.mode in _READING or record.phase is Phase.PROBE):
        notes.fault("E07r", f"{place(sealed)} is a `{template.effect}` in mode `{walk.mode}`", sealed)
    values = record.values or {}
    try:
        for name, value in values.items():
            slot = (step.slots or {}).get(name)
            if slot is None:
                raise TemplateMismatch(f"step `{step.id}` has no slot `{name:.64}`")
            if isinstance(value, str) and not affordable(slot.pattern, len(value)):
                require_pattern(name, slot.pattern)
                notes.skip(f"slot `{name:.64}` of {place(sealed)}", "its pattern could take too long")
            else:
                check_slot(name, slot, value)
            _from_facts(walk, name, slot, value, record.target)
        filled = fill(template, values)
    except TemplateMismatch as error:
        notes.fault("E07m", f"{place(sealed)}: {error.message}", sealed)
        return
    if record.permit.call != call_digest(filled):
        notes.fault("E07n", f"{place(sealed)} permits another call than the template yields", sealed)


def _from_facts(walk: _Walk, name: str, slot: Slot, value: Scalar, target: str) -> None:
    """A slot's value is the fact that its step yielded, on this target if it ran there.

    Raises:
        TemplateMismatch: the value is not that fact.
    """
    found = [facts for (step, _), facts in walk.facts.items() if step == slot.step]
    here = walk.facts.get((slot.step, target))
    facts: Json = here if here is not None else (found[-1] if found else None)
    for part in slot.fact.split("."):
        facts = facts.get(part) if isinstance(facts, Mapping) else None
    if type(facts) is not type(value) or facts != value:
        raise TemplateMismatch(
            f"slot `{name:.64}` is not the fact `{slot.fact:.64}` of step `{slot.step:.64}`"
        )


def _permit(walk: _Walk, sealed: Sealed, record: Attempt) -> None:
    notes, permit = walk.notes, record.permit
    if walk.ticket is None or permit.ticket != walk.ticket[0].digest:
        notes.fault("E07j", f"{place(sealed)} does not rest on the newest ticket", sealed)
        return
    ticket = walk.ticket[1]
    if record.phase is Phase.UNDO and ticket.undo_scope is None:
        notes.fault("E07j", f"{place(sealed)} undoes under a ticket that does not cover it", sealed)
    if not ticket.not_before <= record.at < ticket.expires:
        notes.fault("E07i", f"{place(sealed)} is made outside the time of its ticket", sealed)
    if not record.at < permit.expires <= record.at + PERMIT_LIFE_MAX or permit.expires > ticket.expires:
        notes.fault(
            "E07o",
            f"{place(sealed)} has a permit that is expired, or outlives a minute or its ticket",
            sealed,
        )


def _numbering(walk: _Walk, sealed: Sealed, record: Attempt) -> None:
    key = (record.target, record.permit.step, record.phase)
    wanted = walk.attempts.get(key, 0) + 1
    if record.permit.attempt != wanted:
        walk.notes.fault("E07p", f"{place(sealed)} is attempt {record.permit.attempt}, not {wanted}", sealed)
    if record.phase is not Phase.PROBE:
        before = walk.last.get(key)
        if (
            before is not None
            and before not in walk.settled
            and (before in walk.unanswered or before in walk.lost)
        ):
            walk.notes.fault(
                "E07p", f"{place(sealed)} is made while the one before it is not settled", sealed
            )
    if (
        walk.ticket is not None
        and (walk.ticket[0].digest, key) in walk.done
        and record.phase is not Phase.PROBE
    ):
        walk.notes.fault("E07q", f"{place(sealed)} repeats a step that took effect under this ticket", sealed)
    walk.attempts[key] = record.permit.attempt
    walk.last[key] = sealed.digest


def _outcome(walk: _Walk, sealed: Sealed, record: Outcome) -> None:
    if record.attempt is None:
        _stepless(walk, sealed, record)
        return
    found = walk.unanswered.pop(record.attempt, None)
    if found is None or found[1].permit.step != record.step:
        walk.notes.fault("E07s", f"{place(sealed)} belongs to no open attempt of its step", sealed)
        return
    attempt = found[1]
    if attempt.phase is Phase.PROBE:
        walk.probes[sealed.digest] = (attempt.target, record.step)
    elif record.ended is Ended.UNKNOWN:
        walk.lost[record.attempt] = found
    if record.facts is not None and attempt.phase is Phase.DO:
        walk.facts[(record.step, attempt.target)] = record.facts
    if record.ended is Ended.OK:
        _took_effect(walk, sealed, attempt)


def _took_effect(walk: _Walk, sealed: Sealed, attempt: Attempt) -> None:
    key = (attempt.target, attempt.permit.step, attempt.phase)
    if (attempt.permit.ticket, key) in walk.done and attempt.phase is not Phase.PROBE:
        walk.notes.fault("E07q", f"{place(sealed)} is a second effect of its step under one ticket", sealed)
    walk.done.add((attempt.permit.ticket, key))


def _stepless(walk: _Walk, sealed: Sealed, record: Outcome) -> None:
    """An outcome without attempt is a computation, or a call that was not made."""
    steps = [step for step in walk.plan.steps if step.id == record.step]
    if not steps:
        walk.notes.fault("E07t", f"{place(sealed)} is of step `{record.step:.64}`, not in the plan", sealed)
        return
    if any(isinstance(step, CallStep) for step in steps):
        if record.ended not in _UNMADE:
            walk.notes.fault("E07s", f"{place(sealed)} is `{record.ended}` of a call never attempted", sealed)
    elif record.facts is not None:
        walk.facts[(record.step, steps[0].target)] = record.facts


def _reconciliation(walk: _Walk, sealed: Sealed, record: Reconciliation) -> None:
    """It settles an attempt that is open or unknown, once, by a probe that was made or on somebody's word."""
    attempt = record.attempt
    lost = walk.unanswered.get(attempt) or walk.lost.get(attempt)
    if attempt in walk.settled or lost is None:
        walk.notes.fault("E07v", f"{place(sealed)} settles an attempt that is not unknown", sealed)
        return
    key = (lost[1].target, lost[1].permit.step)
    if record.probe is not None and walk.probes.get(record.probe) != key:
        walk.notes.fault("E07v", f"{place(sealed)} names a probe that was not made of its step", sealed)
    walk.settled.add(attempt)
    if record.happened:
        walk.done.add((lost[1].permit.ticket, (*key, lost[1].phase)))


__all__ = ["PERMIT_LIFE_MAX", "check"]
