"""Operations within an operation: which steps of a plan carry out the intents that it calls.

Shared by who plans, who asks policy, who judges the facts, and who verifies. A step's id says in
whose course it is: `prepare/drain` is step `drain` of what step `prepare` calls.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Protocol

from rexecop.proof.records.plan import CalledIntent, CallStep, PlannedTarget, Rollout, Step
from rexecop.proof.vocabulary import strongest

WITHIN: Final = "/"  # No id in a workflow holds it.

Course = tuple[str, str]  # prefix, target; without a rollout a prefix is of one call, whatever its target


class Planned(Protocol):
    """A plan record, or a draft of one."""

    @property
    def targets(self) -> tuple[PlannedTarget, ...]: ...

    @property
    def steps(self) -> tuple[Step, ...]: ...

    @property
    def rollout(self) -> Rollout | None: ...

    @property
    def called(self) -> tuple[CalledIntent, ...]: ...


def prefixes(step: str) -> tuple[str, ...]:
    """Return the prefixes of the calls in whose course the step with this id is, outermost first."""
    parts = step.partition("@")[0].split(WITHIN)
    return tuple(WITHIN.join(parts[:count]) for count in range(1, len(parts)))


def own_targets(plan: Planned) -> tuple[PlannedTarget, ...]:
    """Return the targets that the intent of `plan` itself is for."""
    return plan.targets[:1] if plan.called and plan.rollout is None else plan.targets


def steps_by_course(steps: Iterable[Step], rollout: Rollout | None) -> Mapping[Course, list[Step]]:
    """Return the steps of each call, by its prefix and the target."""
    found: dict[Course, list[Step]] = {}
    for step in steps:
        for prefix in prefixes(step.id):
            found.setdefault(_course(prefix, step.target, rollout), []).append(step)
    return found


def courses_of(one: CalledIntent, rollout: Rollout | None) -> tuple[Course, ...]:
    """Return where the steps of `one` are found."""
    return tuple(dict.fromkeys(_course(one.prefix, target, rollout) for target in one.targets))


def is_within(one: CalledIntent, step: Step, rollout: Rollout | None) -> bool:
    """Return whether `step` is in the course of `one`."""
    return one.prefix in prefixes(step.id) and (rollout is None or step.target in one.targets)


def _course(prefix: str, target: str, rollout: Rollout | None) -> Course:
    return (prefix, "" if rollout is None else target)


def contradictions(plan: Planned) -> Iterator[str]:
    """Yield in words where what `plan` says it calls is not what its steps are."""
    named = {course for one in plan.called for course in courses_of(one, plan.rollout)}
    known, steps = {target.id for target in plan.targets}, steps_by_course(plan.steps, plan.rollout)
    if len(named) != sum(len(one.targets) for one in plan.called):
        yield "calls an intent twice under one prefix, or on one target"
    for prefix, target in sorted(steps.keys() - named):
        yield f"has steps of `{prefix:.64}`{' on ' + target[:64] if target else ''}, which it does not call"
    for one in plan.called:
        found = [steps.get(course, []) for course in courses_of(one, plan.rollout)]
        if not known.issuperset(one.targets):
            yield f"calls intent `{one.intent:.64}` on a target that it does not have"
        elif (
            not found
            or not all(found)
            or not _carries_out(one, [step for within in found for step in within])
        ):
            yield f"calls intent `{one.intent:.64}` by other steps than it has"
    if plan.called and plan.rollout is None:
        yield from _strays(plan, known)


def _carries_out(one: CalledIntent, steps: list[Step]) -> bool:
    """Return whether `steps` do as much as `one` says, each that is of no further call where it says."""
    effects = [step.call.effect for step in steps if isinstance(step, CallStep)]
    there = all(step.target in one.targets for step in steps if prefixes(step.id)[-1] == one.prefix)
    return there and one.effect is strongest(effects)


def _strays(plan: Planned, known: set[str]) -> Iterator[str]:
    own = {target.id for target in own_targets(plan)}
    if not known <= own.union(*(one.targets for one in plan.called)):
        yield "has a target that is neither its own nor of an intent that it calls"
    if any(step.target not in own and not prefixes(step.id) for step in plan.steps):
        yield "has a step of its own on a target that is not its own"
