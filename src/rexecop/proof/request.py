"""What policy is asked about a plan: a function of intent and plan, so that nothing else can be asked.

The planner asks with it, and a verifier makes it again from the records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from rexecop.proof.call import Call, ScriptedRequest
from rexecop.proof.called import courses_of, is_within, own_targets, steps_by_course
from rexecop.proof.records.decision import (
    PolicyRequest,
    Recent,
    RequestCall,
    RequestIntent,
    RequestTarget,
)
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import CalledIntent, CallStep, Plan, PlannedTarget, Step
from rexecop.proof.vocabulary import Effect, Gate, Grade

_GRADES: Final = tuple(Grade)  # Strongest first.


def requested(call: Call) -> RequestCall:
    """Return `call` as policy is asked about it."""
    return RequestCall(connector=call.connector, action=call.action, effect=call.effect)


def policy_request(
    intent: Intent,
    plan: Plan,
    *,
    gate: Gate,
    now: datetime,
    step: str | None = None,
    recent: Recent | None = None,
    call: RequestCall | None = None,
) -> PolicyRequest:
    """Return what policy is asked about `plan` of `intent`, at `gate` for `call` of `step`, at `now`.

    `recent` is what was counted then; it is the only fact beside the instant that no record of the
    operation holds, for the intents that the plan calls too.
    """
    return PolicyRequest(
        gate=gate,
        principal=intent.by,
        profile=intent.profile.name,
        intent=intent.intent,
        effect=plan.effect,
        mode=intent.mode,
        risk=plan.risk,
        environment=intent.environment.id,
        targets=tuple(map(_target, own_targets(plan))),
        simulated=_is_simulated(plan.steps),
        pinned=plan.pinned is not None,
        origin=intent.origin.channel,
        now=now,
        sponsor=intent.sponsor,
        grade=_grade(plan.steps),
        parameters=intent.parameters,
        step=step,
        break_glass=intent.break_glass,
        recent=recent,
        override_window=intent.override_window is not None,
        call=call,
        called=requested_intents(plan, step),
    )


def requested_intents(plan: Plan, step: str | None = None) -> tuple[RequestIntent, ...]:
    """Return the intents that `plan` calls as policy is asked about them; with `step` those it is within."""
    due = [one for one in plan.steps if one.id == step] if plan.called else []
    named = [
        one
        for one in plan.called
        if step is None or any(is_within(one, found, plan.rollout) for found in due)
    ]
    if not named:
        return ()
    own, steps = tuple(map(_target, own_targets(plan))), steps_by_course(plan.steps, plan.rollout)
    return tuple(
        _called(
            one, plan, own, [found for at in courses_of(one, plan.rollout) for found in steps.get(at, ())]
        )
        for one in named
    )


def parts_of(request: PolicyRequest) -> tuple[PolicyRequest, ...]:
    """Return the requests that `request` comes to: for the intent itself, and for each that it calls."""
    if not request.called:
        return (request,)
    whole = replace(request, called=())
    return whole, *(
        replace(
            whole,
            intent=one.intent,
            effect=one.effect,
            risk=one.risk,
            simulated=one.simulated,
            targets=one.targets or request.targets,
            grade=one.grade,
            parameters=one.parameters,
            recent=one.recent,
        )
        for one in request.called
    )


def _called(
    one: CalledIntent, plan: Plan, own: tuple[RequestTarget, ...], steps: list[Step]
) -> RequestIntent:
    targets = tuple(_target(target) for target in plan.targets if target.id in one.targets)
    return RequestIntent(
        prefix=one.prefix,
        intent=one.intent,
        effect=one.effect,
        risk=one.risk,
        simulated=_is_simulated(steps),
        targets=() if targets == own else targets,
        grade=_grade(steps),
        parameters=one.parameters,
    )


def _target(target: PlannedTarget) -> RequestTarget:
    return RequestTarget(id=target.id, type=target.type, criticality=target.criticality, groups=target.groups)


def _is_simulated(steps: Iterable[Step]) -> bool:
    calls = [step for step in steps if isinstance(step, CallStep)]
    return bool(calls) and all(isinstance(step.call.request, ScriptedRequest) for step in calls)


def _grade(steps: Iterable[Step]) -> str | None:
    """Return the weakest read grade."""
    calls = [step for step in steps if isinstance(step, CallStep) and step.call.effect is Effect.READ]
    grades = [step.grade for step in calls if step.grade is not None]
    return str(max(grades, key=_GRADES.index)) if grades else None
