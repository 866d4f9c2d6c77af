"""Judging a plan by its facts: the rules of its intent, and of every intent that it calls."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from rexecop.operations.profile_model import Profile
from rexecop.operations.validation import Facts, evaluate, gather, gather_within, merged
from rexecop.proof.called import WITHIN, Planned, courses_of, own_targets, steps_by_course
from rexecop.proof.canonical import Json
from rexecop.proof.records.plan import CalledIntent
from rexecop.proof.records.validation import RuleResult, RuleVerdict


def judge(
    plan: Planned,
    intent: str,
    profile: Profile,
    found: Mapping[str, Mapping[str, Json] | None],
    parameters: Mapping[str, Json] | None,
    *,
    evaluated: bool,
    skipped: Collection[str] = (),
) -> tuple[RuleVerdict, tuple[RuleResult, ...], Facts]:
    """Return the verdict, every rule's result and the facts, from the facts of each step (by its id).

    Rules of an intent that is called are named with its prefix. Where all of its steps were `skipped`
    it was not called, so there is nothing to judge. `evaluated` is as in `validation.evaluate`.
    """
    facts = gather(plan, profile.normalizers, found, parameters)
    own = {target.id: facts[target.id] for target in own_targets(plan)}
    results = [evaluate(profile.rules.get(intent, ()), own, evaluated)]
    for one in _made(plan, skipped):
        within = gather_within(plan, one, profile.normalizers, found)
        there = {target: within[target] for target in one.targets}
        verdict, said = evaluate(profile.rules.get(one.intent, ()), there, evaluated)
        results.append((verdict, tuple(replace(r, rule=f"{one.prefix}{WITHIN}{r.rule}") for r in said)))
    return merged(verdict for verdict, _ in results), tuple(r for _, said in results for r in said), facts


def _made(plan: Planned, skipped: Collection[str]) -> Iterator[CalledIntent]:
    """Yield what `plan` calls, for the targets on which any of it was done."""
    steps = steps_by_course(plan.steps, plan.rollout) if plan.called else {}
    for one in plan.called:
        courses = zip(one.targets, courses_of(one, plan.rollout), strict=True)
        targets = [
            target
            for target, course in courses
            if any(step.id not in skipped for step in steps.get(course, ()))
        ]
        if targets:
            yield replace(one, targets=tuple(targets))
