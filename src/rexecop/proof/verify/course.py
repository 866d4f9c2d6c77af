"""Step 7, third part: the steps ran in the course their plan gives, and stopped where it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from rexecop.proof.canonical import Digest, Json
from rexecop.proof.chain import Sealed
from rexecop.proof.course import RETRYABLE, fact_in, holds, is_check, waves_of
from rexecop.proof.records import Attempt, Command, Outcome, Plan, Receipt, Reconciliation, Verb
from rexecop.proof.records.plan import CallStep, Step
from rexecop.proof.verify.evidence import Evidence, Notes, steps_by_key
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Established, Mode, Phase, State

_TOLERATED: Final = (Ended.FAILED, Ended.REFUSED)

Key = tuple[str, str]  # target, step


def check(evidence: Evidence, notes: Notes) -> None:
    """Step 7 for the order, the guards and the waves of the steps."""
    found, intent = evidence.first(Plan), evidence.intent
    if found is None or intent is None:
        return
    if _contradicts(found[1]):
        notes.fault("E07b", "the plan has a rollout or guards that its steps cannot keep to", found[0].digest)
        return
    course = _Course(plan=found[1], notes=notes, dry=intent.mode is Mode.DRY_RUN)
    course.begin()
    for sealed in evidence.records:
        course.take(sealed)


def _contradicts(plan: Plan) -> bool:
    """Return whether `plan` cannot be run in its own course."""
    rollout = plan.rollout
    numbers = [plan.parallel]
    if rollout is not None:
        numbers += [*rollout.waves, rollout.targets_max, rollout.stop_after]
    above: set[str] = set()
    for step in plan.steps:
        guards = step.when if isinstance(step, CallStep) else ()
        if not above.issuperset((*step.needs, *(guard.step for guard in guards))):
            return True
        above.add(step.id)
    return min(numbers) < 1 or (rollout is not None and sum(rollout.waves) != len(plan.targets))


@dataclass(slots=True, kw_only=True)
class _Course:
    """How far the work has come at one record. `open_on` are the open steps of a target, checks apart.

    `open_in` counts the targets with open steps of each wave, again checks apart, of which `first` is
    none below. Those `working` had begun and have work that is open.
    """

    plan: Plan
    notes: Notes
    dry: bool
    steps: Mapping[Key, Step] = field(default_factory=dict)
    named: dict[str, Key] = field(default_factory=dict)
    waves: Mapping[str, int] = field(default_factory=dict)
    open_on: dict[tuple[str, bool], dict[Key, None]] = field(default_factory=dict)
    ended: dict[Key, Outcome | None] = field(default_factory=dict)
    settled: set[Key] = field(default_factory=set)
    open_in: Counter[tuple[int, bool]] = field(default_factory=Counter)
    first: int = 0
    begun: set[str] = field(default_factory=set)
    working: set[str] = field(default_factory=set)
    calls: dict[Digest, Attempt] = field(default_factory=dict)
    under_way: set[Digest] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    stopped: bool = False
    undoing: int | None = None  # The wave that the engine undoes; -1 where a person does.

    def begin(self) -> None:
        """Open every step that is not settled."""
        self.steps, self.waves = steps_by_key(self.plan), waves_of(self.plan)
        self.open_on, self.failed, self.stopped, self.begun = {}, set(), False, set()
        self.open_in, self.first, self.working = Counter(), 0, set()
        for key, step in self.steps.items():
            self.named.setdefault(step.id, key)
            if key not in self.settled:
                self.open_on.setdefault(self._group(step), {})[key] = None
        self.open_in.update((self.waves.get(target, 0), check) for target, check in self.open_on)

    def take(self, sealed: Sealed) -> None:
        """Judge the next record, and take it in."""
        record = sealed.record
        if isinstance(record, Attempt):
            self._attempt(sealed, record)
        elif isinstance(record, Outcome):
            self._outcome(sealed, record)
        elif isinstance(record, Reconciliation) and (call := self.calls.get(record.attempt)) is not None:
            self.under_way.discard(record.attempt)
            if record.happened and call.phase is Phase.DO:
                self._settle((call.target, call.permit.step))
        elif isinstance(record, Command) and record.verb is Verb.RETRY:
            self.begin()
        elif isinstance(record, Command) and record.verb is Verb.UNDO:
            by_engine = record.by.established is Established.ENGINE
            self.undoing = self._wave_to_undo() if by_engine else -1
            self.notes.when(self.undoing is None, "E07af", sealed, "undoes a wave that is not to be undone")
        elif isinstance(record, Receipt):
            due = record.state is State.FAILED and self.undoing is None and self._wave_to_undo() is not None
            self.notes.when(due, "E07af", sealed, "closes a wave that stopped without undoing it")
            self.undoing = None

    def _attempt(self, sealed: Sealed, record: Attempt) -> None:
        key = (record.target, record.permit.step)
        step, when = self.steps.get(key), self.notes.when
        if not isinstance(step, CallStep) or record.phase is Phase.PROBE:
            return
        if record.phase is Phase.UNDO:
            other = self.undoing not in (None, -1, self.waves.get(step.target))
            when(other, "E07af", sealed, "undoes what is not of the wave that stopped")
        else:
            self._begins(sealed, record, step)
            self.under_way.add(sealed.digest)
            self.begun.add(step.target)
            if (step.target, False) in self.open_on:
                self.working.add(step.target)
        self.calls[sealed.digest] = record

    def _begins(self, sealed: Sealed, record: Attempt, step: CallStep) -> None:
        """Judge a call of the work by what stands beside and before it.

        One that was asked for in the course of another takes that one's turn and place.
        """
        inside = record.within in self.under_way
        when, key, parallel = self.notes.when, (step.target, step.id), self.plan.parallel
        mine = self.open_on.get(self._group(step), {})
        early = any(self.named[name] not in self.settled for name in step.needs)
        early = early or (parallel == 1 and key in mine and next(iter(mine)) != key)
        early = early and not inside
        when(early, "E07aa", sealed, f"begins step `{step.id:.64}` before what goes before it has ended")
        beside = [self.calls[digest] for digest in self.under_way]
        of_group = [one for one in beside if self.plan.rollout is None or one.target == step.target]
        many = len(of_group) >= parallel or self._too_many_targets(step)
        when(many and not inside, "E07ab", sealed, "is made beside more than the plan lets be under way")
        apart = record.within is not None and not inside
        when(apart, "E07ab", sealed, "says that a call asked for it which is not under way")
        skipped = self._left_out(step)
        when(
            skipped or (skipped is None and not self.dry),
            "E07ac",
            sealed,
            "is of a step that was not to be done",
        )
        over = self.stopped or step.target in self.failed
        when(over, "E07ae", sealed, "is made although the work had to stop")
        if self.plan.rollout is not None and not over:
            wave, checks = self.waves.get(step.target, 0), is_check(self.plan.rollout, step)
            before = any(self.waves.get(one.target, 0) < wave for one in beside)
            before = before or self._first_open() < wave or (checks and self.open_in[wave, False] > 0)
            when(before, "E07ad", sealed, "is made before the wave before it has ended")

    def _too_many_targets(self, step: CallStep) -> bool:
        rollout = self.plan.rollout
        if rollout is None or step.target in self.begun:
            return False
        leaving = {self.calls[digest].target for digest in self.under_way}
        return len(self.working) + len(leaving - self.working) >= rollout.targets_max

    def _first_open(self) -> int:
        """Return the first wave that has open steps, or one beyond all."""
        most = len(self.plan.rollout.waves) if self.plan.rollout is not None else 0
        while self.first < most and not (self.open_in[self.first, False] or self.open_in[self.first, True]):
            self.first += 1
        return self.first

    def _close(self, group: tuple[str, bool]) -> None:
        """Take away a target, or its checks, that has no open steps any more."""
        if self.open_on.pop(group, None) is not None:
            target, check = group
            self.open_in[self.waves.get(target, 0), check] -= 1
            if not check:
                self.working.discard(target)

    def _left_out(self, step: Step) -> bool | None:
        """Return whether the plan leaves `step` out, as the facts are; None where that cannot be known."""
        goes_on = isinstance(step, CallStep) and step.goes_on
        if not goes_on and any(self._ended(name) is Ended.SKIPPED for name in step.needs):
            return True
        unknown = False
        for guard in step.when if isinstance(step, CallStep) else ():
            held = holds(guard, self._fact(guard.step, guard.fact))
            if held is False or (held is None and self._ended(guard.step) is Ended.SKIPPED):
                return True
            unknown = unknown or held is None
        return None if unknown else False

    def _outcome(self, sealed: Sealed, record: Outcome) -> None:
        skipped = record.ended is Ended.SKIPPED
        if record.attempt is None:
            key = self.named.get(record.step)
            if key is None or self.undoing is not None:
                return
            wrong = skipped and self._left_out(self.steps[key]) is not True
            self.notes.when(wrong, "E07ac", sealed, "leaves out a step that was to be done")
            self._end(key, record, None)
        elif (call := self.calls.get(record.attempt)) is not None:
            self.notes.when(skipped, "E07ac", sealed, "leaves out a step that was done")
            self.under_way.discard(record.attempt)
            if call.phase is Phase.DO:
                self._end((call.target, call.permit.step), record, call.permit.attempt)

    def _end(self, key: Key, record: Outcome, number: int | None) -> None:
        step, ended = self.steps[key], record.ended
        self.ended[key] = record
        tolerated = isinstance(step, CallStep) and step.continue_on_error and ended in _TOLERATED
        if ended in GOOD_ENDS or ended is Ended.SKIPPED or tolerated:
            self._settle(key)
            return
        rule = step.retry if isinstance(step, CallStep) and record.error_class in RETRYABLE else None
        again = rule is not None and number is not None and number < rule.attempts
        again = again and rule is not None and (not rule.on or record.error_class in rule.on)
        if ended is not Ended.UNKNOWN and not again:
            self._fail(step)

    def _settle(self, key: Key) -> None:
        self.settled.add(key)
        group = self._group(self.steps[key])
        if group in self.open_on:
            self.open_on[group].pop(key, None)
            if not self.open_on[group]:
                self._close(group)

    def _fail(self, step: Step) -> None:
        rollout = self.plan.rollout
        if rollout is None:
            self.stopped = True
            return
        self.failed.add(step.target)
        for check in (False, True):
            self._close((step.target, check))
        canary = rollout.canary and self.waves.get(step.target) == 0
        self.stopped |= len(self.failed) >= rollout.stop_after or canary or is_check(rollout, step)

    def _wave_to_undo(self) -> int | None:
        """Return the wave that stopped, where the plan undoes it and something of it stands."""
        rollout = self.plan.rollout
        if rollout is None or not rollout.undo or not self.stopped or self.dry:
            return None
        wave = max(self.waves.get(target, 0) for target in self.failed)
        return wave if any(self.waves.get(step.target) == wave for step in self._standing()) else None

    def _standing(self) -> Iterator[CallStep]:
        for key in self.settled:
            step, record = self.steps[key], self.ended.get(key)
            good = record is None or record.ended in GOOD_ENDS or record.ended is Ended.UNKNOWN
            if isinstance(step, CallStep) and step.undo is not None and good:
                yield step

    def _group(self, step: Step) -> tuple[str, bool]:
        rollout = self.plan.rollout
        return ("" if rollout is None else step.target, is_check(rollout, step))

    def _ended(self, name: str) -> Ended | None:
        record = self.ended.get(self.named[name])
        return None if record is None else record.ended

    def _fact(self, name: str, path: str) -> Json:
        record = self.ended.get(self.named[name])
        return None if record is None else fact_in(record.facts, path)
