"""How far the steps of an operation got, and which of them may begin now.

What is open is kept in the plan's order and taken away as it ends, so that asking what may
begin looks at the targets that are under way, however many there are in all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from rexecop.lanes.failures import Failure, retryable
from rexecop.proof.chain import Sealed
from rexecop.proof.course import is_check, waves_of
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget, Rollout, Step
from rexecop.proof.vocabulary import GOOD_ENDS, Ended, Phase

Key = tuple[str, str]  # target, step
GAPS_MAX: Final = 64  # Left by steps that were taken away, before what is open is listed anew.


@dataclass(slots=True)
class Progress:
    """How far one step got on one target, in one phase; `place` is where it stands in the plan."""

    step: Step
    phase: Phase
    place: int = -1
    attempts: int = 0
    began: datetime | None = None  # When it was tried first.
    tried: datetime | None = None  # When it was tried last.
    in_flight: Sealed | None = None
    ended: Ended | None = None
    failure: str | None = None
    outcome: Sealed | None = None
    key: Key = field(init=False, compare=False)  # (target, step id)

    def __post_init__(self) -> None:
        self.key = (self.step.target, self.step.id)

    @property
    def good(self) -> bool:
        """Whether the step ended well enough for the next one."""
        return self.ended in GOOD_ENDS

    @property
    def settled(self) -> bool:
        """Whether the step needs nothing more before the next one.

        A failure may be tolerated; a policy that became stricter stops every step alike.
        """
        if self.ended is None or self.ended is Ended.SKIPPED or self.good:
            return self.ended is not None
        tolerated = isinstance(self.step, CallStep) and self.step.continue_on_error and not self._denied
        return tolerated and self.ended in (Ended.FAILED, Ended.REFUSED)

    @property
    def _denied(self) -> bool:
        """Whether the step was declined because policy or drift says no, before anything was tried."""
        record = self.outcome.record if self.outcome is not None else None
        declined = isinstance(record, Outcome) and record.attempt is None
        return declined and self.failure in (Failure.POLICY_DENIED, Failure.DRIFTED)

    def may_retry(self) -> bool:
        """Whether its retry rule gives the last failure another try."""
        rule = self.step.retry if isinstance(self.step, CallStep) else None
        if rule is None or self.failure is None or self.attempts >= rule.attempts:
            return False
        return retryable(Failure(self.failure)) and (not rule.on or self.failure in rule.on)


Open = dict[str, dict[Key, Progress]]


@dataclass(slots=True)
class Course:
    """What of a plan is still to be done. `why` is set once something failed that is not tolerated.

    `work` and `checks` are the open steps in order, by target where there is a rollout, else all under "";
    `failed` are the targets that were given up, `left` is how many steps are open.
    """

    rollout: Rollout | None = None
    parallel: int = 1
    waves: Mapping[str, int] = field(default_factory=dict)
    targets: dict[str, PlannedTarget] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    named: dict[str, Progress] = field(default_factory=dict)
    of_target: dict[str, list[Key]] = field(default_factory=dict)
    work: Open = field(default_factory=dict)
    checks: Open = field(default_factory=dict)
    failed: dict[str, None] = field(default_factory=dict)
    stopped: bool = False
    why: str = ""
    taken: int = 0
    left: int = 0

    def begin(self, plan: Plan, steps: Mapping[Key, Progress]) -> None:
        """Take in `plan`, none of whose `steps` has begun."""
        self.rollout, self.parallel, self.waves = plan.rollout, plan.parallel, waves_of(plan)
        self.targets = {target.id: target for target in plan.targets}
        self.names = frozenset(self.targets)
        for key, progress in steps.items():
            self.named.setdefault(progress.step.id, progress)
            self.of_target.setdefault(key[0], []).append(key)
        self.reopen(steps)

    def reopen(self, steps: Mapping[Key, Progress]) -> None:
        """Begin anew with those of `steps` that are not settled."""
        self.work, self.checks, self.left = {}, {}, 0
        for key, progress in steps.items():
            if not progress.settled:
                table = self.checks if is_check(self.rollout, progress.step) else self.work
                table.setdefault(self._group(key), {})[key] = progress
                self.left += 1
        self.failed, self.stopped, self.why = {}, False, ""

    def settle(self, progress: Progress) -> None:
        """Take away a step that needs nothing more."""
        self._take(progress.key)

    def _take(self, key: Key) -> None:
        """Take a step away. What was taken from the front leaves gaps, which would be gone over each time."""
        for table in (self.work, self.checks):
            steps = table.get(group := self._group(key), {})
            if steps.pop(key, None) is not None:
                self.taken, self.left = self.taken + 1, self.left - 1
                if not steps:
                    del table[group]
        if self.taken > self.left + GAPS_MAX:
            self.work = {group: dict(steps) for group, steps in self.work.items()}
            self.checks = {group: dict(steps) for group, steps in self.checks.items()}
            self.taken = 0

    def _group(self, key: Key) -> str:
        return key[0] if self.rollout is not None else ""

    def fail(self, progress: Progress, why: str) -> None:
        """Give up a target, or the whole where that is the rule: nothing more of it begins."""
        self.why = self.why or why
        if self.rollout is None:
            self.stopped = True
            return
        self.failed[progress.step.target] = None
        for key in self.of_target[progress.step.target]:
            self._take(key)
        many = len(self.failed) >= self.rollout.stop_after
        canary = self.rollout.canary and self.wave(progress.step.target) == 0
        self.stopped = self.stopped or many or canary or is_check(self.rollout, progress.step)

    @property
    def done(self) -> bool:
        """Whether no step is open."""
        return not self.work and not self.checks

    @property
    def over(self) -> bool:
        """Whether nothing more is begun because something failed."""
        return self.stopped or bool(self.done and self.failed)

    @property
    def verdict(self) -> str:
        """What failed, in words."""
        if self.rollout is None or len(self.waves) < 2:
            return self.why
        return f"{len(self.failed)} of {len(self.waves)} targets failed: {self.why}"

    def wave(self, target: str) -> int:
        """Return the wave of `target`, from 0."""
        return self.waves.get(target, 0)

    def standing(
        self, steps: Mapping[Key, Progress], undone: Mapping[Key, Progress], wave: int | None
    ) -> list[CallStep]:
        """Return those of `steps`, of one wave if it is given, whose effect can be undone and was not."""
        return [
            progress.step
            for key, progress in steps.items()
            if isinstance(progress.step, CallStep)
            and progress.step.undo is not None
            and progress.good
            and wave in (None, self.wave(key[0]))
            and not ((found := undone.get(key)) is not None and found.good)
        ]

    def is_open(self, progress: Progress) -> bool:
        """Return whether the step is still to be done."""
        group = self._group(progress.key)
        return progress.key in self.work.get(group, ()) or progress.key in self.checks.get(group, ())

    def open_targets(self) -> set[str]:
        """Return the targets of which something is still to be done."""
        return {target for table in (self.work, self.checks) for keys in table.values() for target, _ in keys}

    def ready(self, under_way: Collection[Key] = (), targets_max: int | None = None) -> Iterator[Progress]:
        """Yield the steps that may begin beside those `under_way`, in order.

        `targets_max`, where given, is how many targets may be under way beyond what the plan says.
        """
        busy = Counter([target for target, _ in under_way] if self.rollout else [""] * len(under_way))
        # What still runs on a target that was given up takes its place until it ends.
        leaving = {target for target, _ in under_way if target in self.failed} if self.failed else set()
        width = self.rollout.targets_max if self.rollout is not None else 1
        width = min(width, targets_max or width) - len(leaving)
        current: int | None = None
        for place, (group, steps) in enumerate(self._table().items()):
            wave = self.wave(group)
            current = wave if current is None else current
            if wave != current or place >= width or any(self.wave(one) != wave for one in leaving):
                break
            room = self.parallel - busy[group]
            for key, progress in steps.items() if room > 0 else ():
                if key not in under_way and self._due(progress):
                    yield progress
                    room -= 1
                    if not room:
                        break

    def _table(self) -> Open:
        """Return what the wave that is next has open: its work, and then its checks."""
        if not self.work or not self.checks:
            return self.work or self.checks
        first, check = next(iter(self.work)), next(iter(self.checks))
        return self.work if self.wave(first) <= self.wave(check) else self.checks

    def _due(self, progress: Progress) -> bool:
        return all(self.named[need].settled for need in progress.step.needs if need in self.named)
