"""Step 7, second half: no call outside the plan, none without a permit, none twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from rexecop.proof.call import Call, Slot, call_digest, check_slot, check_type, fill
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import TemplateMismatch
from rexecop.proof.message import Scalar
from rexecop.proof.records import Approval, Attempt, Command, Outcome, Receipt, Reconciliation, Ticket, Verb
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.scope import template_for
from rexecop.proof.verify.evidence import Evidence, Notes, place, steps_by_id, steps_by_key
from rexecop.proof.verify.patterns import affordable
from rexecop.proof.vocabulary import Effect, Ended, Mode, Phase

PERMIT_LIFE_MAX: Final = timedelta(seconds=60)  # What bounds a runner that was thawed too late.
_READING: Final = (Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY)
_UNMADE: Final = (Ended.REFUSED, Ended.FAILED, Ended.PREVIEWED, Ended.SKIPPED)

Key = tuple[str, str, Phase]


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 7 for everything from the first ticket on."""
    plan, intent = evidence.plan, evidence.intent
    if plan is None or intent is None:
        return
    walk = _Walk(
        steps=steps_by_key(plan),
        named=steps_by_id(plan),
        mode=intent.mode,
        pinned=plan.pinned.facts if plan.pinned is not None else None,
        notes=notes,
    )
    for sealed in evidence.records:
        record = sealed.record
        if isinstance(record, Ticket):
            walk.ticket = (sealed.digest, record)
        elif isinstance(record, Attempt):
            walk.attempt(sealed, record)
        elif isinstance(record, Outcome):
            walk.outcome(sealed, record)
        elif isinstance(record, Reconciliation):
            walk.settle(sealed, record)
        elif isinstance(record, Receipt):
            walk.closed = True
        elif isinstance(record, Command) and record.verb in (Verb.RETRY, Verb.UNDO, Verb.RESUME):
            walk.closed = False
        elif isinstance(record, Approval) and record.statement.withdraws is not None:
            walk.closed = False  # Only a no can be what it reopens: step 3 sees to that.


def _key(attempt: Attempt) -> Key:
    return (attempt.target, attempt.permit.step, attempt.phase)


@dataclass(slots=True)
class _Walk:
    """Where a walk through the records has got to."""

    steps: Mapping[tuple[str, str], Step]
    named: Mapping[str, Sequence[Step]]
    mode: Mode
    pinned: Digest | None
    notes: Notes
    ticket: tuple[Digest, Ticket] | None = None
    unanswered: dict[Digest, Attempt] = field(default_factory=dict)
    lost: dict[Digest, Attempt] = field(default_factory=dict)
    settled: set[Digest] = field(default_factory=set)
    probes: dict[Digest, tuple[str, str]] = field(default_factory=dict)
    attempts: dict[Key, tuple[int, Digest]] = field(default_factory=dict)
    done: set[Key] = field(default_factory=set)
    facts: dict[tuple[str, str], Mapping[str, Json]] = field(default_factory=dict)
    changed: bool = False
    fence: int = 0
    closed: bool = False

    def attempt(self, sealed: Sealed, record: Attempt) -> None:
        """Judge an attempt by plan, template, permit and what was attempted before it."""
        when, permit = self.notes.when, record.permit
        step = self.steps.get((record.target, permit.step))
        template = template_for(step, record.phase) if isinstance(step, CallStep) else None
        if not isinstance(step, CallStep) or template is None:
            where = f"`{permit.step:.64}` on `{record.target:.64}`"
            when(True, "E07k", sealed, f"is for {where}, not in the plan")
        else:
            self._call(sealed, record, step, template)
            grade = step.grade if template.effect is Effect.READ else None
            if template.effect is not Effect.READ and record.phase is Phase.DO:
                self._rests(sealed, record)
            other = (record.isolation, record.grade) != (step.isolation, grade)
            when(other, "E07u", sealed, "has another isolation or read grade than planned")
        when(self.closed, "E07x", sealed, "is made after a receipt closed the operation")
        low = permit.fence < self.fence
        when(low, "E07y", sealed, f"has fence {permit.fence}, below {self.fence}")
        self.fence = max(self.fence, permit.fence)
        self._permit(sealed, record)
        self._numbering(sealed, record)
        self.unanswered[sealed.digest] = record

    def _rests(self, sealed: Sealed, record: Attempt) -> None:
        """The first change rests on the facts that its plan pinned, read again; those after it may differ."""
        if record.observed is not None:
            other = record.observed.facts != self.pinned
            self.notes.when(other, "E07z", sealed, "rests on other facts than its plan pinned")
        elif self.pinned is not None and not self._changing() and self.mode is not Mode.DRY_RUN:
            self.notes.skip("that pinned facts still held", f"{place(sealed)} names no newer observation")

    def _changing(self) -> bool:
        """Return whether a change was made, or may be being made at this moment."""
        beside = (one for one in self.unanswered.values() if one.phase is Phase.DO)
        return self.changed or any(one.target_n is not None for one in beside)

    def _call(self, sealed: Sealed, record: Attempt, step: CallStep, template: Call) -> None:
        """The call permitted is the planned template, filled with values its slots allow."""
        when = self.notes.when
        if record.template != call_digest(template):
            when(True, "E07l", sealed, f"names another template than step `{step.id}`")
            return
        reading = self.mode in _READING or record.phase is Phase.PROBE
        changes = reading and template.effect is not Effect.READ
        when(changes, "E07r", sealed, f"is a `{template.effect}` in mode `{self.mode}`")
        values = record.values or {}
        try:
            for name, value in values.items():
                self._slot(sealed, record.target, step, name, value)
            filled = call_digest(fill(template, values))
        except TemplateMismatch as error:
            when(True, "E07m", sealed, f"has a wrong slot: {error.message}")
        else:
            other = record.permit.call != filled
            when(other, "E07n", sealed, "permits another call than the template yields")

    def _slot(self, sealed: Sealed, target: str, step: CallStep, name: str, value: Scalar) -> None:
        """A slot's value lies in its domain and is the fact its step yielded, on this target if it ran there.

        Raises:
            TemplateMismatch: the value is not that fact, or not one the slot takes.
        """
        slot = (step.slots or {}).get(name)
        if slot is None:
            raise TemplateMismatch(f"step `{step.id}` has no slot `{name:.64}`")
        if isinstance(value, str) and not affordable(slot.pattern, len(value)):
            check_type(name, slot, value)
            self.notes.skip(f"slot `{name:.64}` of {place(sealed)}", "its pattern could take too long")
        else:
            check_slot(name, slot, value)
        found = self._fact(slot, target)
        if type(found) is not type(value) or found != value:
            where = f"the fact `{slot.fact:.64}` of step `{slot.step:.64}`"
            raise TemplateMismatch(f"slot `{name:.64}` is not {where}")

    def _fact(self, slot: Slot, target: str) -> Json:
        found: Json = self.facts.get((slot.step, target))
        if found is None:
            found = next(
                (facts for (step, _), facts in reversed(self.facts.items()) if step == slot.step), None
            )
        for part in slot.fact.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found

    def _permit(self, sealed: Sealed, record: Attempt) -> None:
        when, permit = self.notes.when, record.permit
        if self.ticket is None or permit.ticket != self.ticket[0]:
            when(True, "E07j", sealed, "does not rest on the newest ticket")
            return
        ticket = self.ticket[1]
        uncovered = record.phase is Phase.UNDO and ticket.undo_scope is None
        when(uncovered, "E07j", sealed, "undoes under a ticket that does not cover it")
        outside = not ticket.not_before <= record.at < ticket.expires
        when(outside, "E07i", sealed, "is made outside the time of its ticket")
        long = not record.at < permit.expires <= min(record.at + PERMIT_LIFE_MAX, ticket.expires)
        when(long, "E07o", sealed, "has a permit that is expired, or outlives a minute or its ticket")

    def _numbering(self, sealed: Sealed, record: Attempt) -> None:
        when, key, number = self.notes.when, _key(record), record.permit.attempt
        count, before = self.attempts.get(key, (0, None))
        when(number != count + 1, "E07p", sealed, f"is attempt {number}, not {count + 1}")
        self.attempts[key] = (number, sealed.digest)
        if record.phase is Phase.PROBE:
            return
        is_open = before not in self.settled and (before in self.unanswered or before in self.lost)
        when(is_open, "E07p", sealed, "is made while the one before it is not settled")
        when(key in self.done, "E07q", sealed, "repeats a step that took effect")

    def outcome(self, sealed: Sealed, record: Outcome) -> None:
        """Judge an outcome by the attempt it answers."""
        if record.attempt is None:
            self._computed(sealed, record)
            return
        attempt = self.unanswered.pop(record.attempt, None)
        if attempt is None or attempt.permit.step != record.step:
            self.notes.when(True, "E07s", sealed, "belongs to no open attempt of its step")
            return
        if attempt.phase is Phase.PROBE:
            self.probes[sealed.digest] = (attempt.target, record.step)
        elif record.ended is Ended.UNKNOWN:
            self.lost[record.attempt] = attempt
        if record.facts is not None and attempt.phase is Phase.DO:
            self.facts[(record.step, attempt.target)] = record.facts
        if record.ended is Ended.OK:
            key = _key(attempt)
            again = key in self.done and attempt.phase is not Phase.PROBE
            self.notes.when(again, "E07q", sealed, "is a second effect of its step")
            self.done.add(key)
            self.changed |= attempt.phase is Phase.DO and attempt.target_n is not None

    def _computed(self, sealed: Sealed, record: Outcome) -> None:
        """An outcome without attempt is a computation, or a call that was not made."""
        when, steps = self.notes.when, self.named.get(record.step, ())
        when(not steps, "E07t", sealed, f"is of step `{record.step:.64}`, not in the plan")
        if any(isinstance(step, CallStep) for step in steps):
            made = record.ended not in _UNMADE
            when(made, "E07s", sealed, f"is `{record.ended}` of a call never attempted")
        elif steps and record.facts is not None:
            self.facts[(record.step, steps[0].target)] = record.facts

    def settle(self, sealed: Sealed, record: Reconciliation) -> None:
        """It settles an attempt that is open or unknown, once, by a probe that was made or on a word."""
        when, attempt = self.notes.when, record.attempt
        lost = self.unanswered.get(attempt) or self.lost.get(attempt)
        if attempt in self.settled or lost is None:
            when(True, "E07v", sealed, "settles an attempt that is not unknown")
            return
        foreign = record.probe is not None and self.probes.get(record.probe) != _key(lost)[:2]
        when(foreign, "E07v", sealed, "names a probe that was not made of its step")
        self.settled.add(attempt)
        if record.happened:
            self.changed |= lost.target_n is not None
            self.done.add(_key(lost))
