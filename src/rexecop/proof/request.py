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


def request_target(target: PlannedTarget) -> RequestTarget:
    """Return `target` as policy sees it."""
    return RequestTarget(id=target.id, type=target.type, criticality=target.criticality, groups=target.groups)


def intents_within(whole: PolicyRequest, plan: Plan, steps: Iterable[Step]) -> tuple[RequestIntent, ...]:
    """Return those intents of `whole`, as asked about `plan`, in whose course any of `steps` is."""
    due = tuple(steps) if plan.called else ()
    return tuple(
        asked
        for asked, one in zip(whole.called, plan.called, strict=False)
        if any(is_within(one, step, plan.rollout) for step in due)
    )


def request_of_call(
    whole: PolicyRequest,
    target: RequestTarget | None,
    step: str,
    call: RequestCall | None,
    now: datetime,
    within: tuple[RequestIntent, ...],
) -> PolicyRequest:
    """Return what policy is asked just before `call` of `step`, whose plan it was asked `whole` about.

    It is asked about the call's own `target`, also for the intents that it is `within`, and told how many
    the plan has. Where glass is broken one rule that lets it be broken is enough for all targets, and it
    is asked about them all; so it is where the plan does not have the target.
    """
    targets, planned = whole.targets, None
    if target is not None and len(targets) > 1 and not whole.break_glass:
        targets, planned = (target,), len(targets)
        within = tuple(replace(one, targets=()) for one in within)
    return replace(
        whole,
        gate=Gate.CALL,
        step=step,
        call=call,
        now=now,
        targets=targets,
        targets_planned=planned,
        called=within,
    )


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
        targets=tuple(map(request_target, own_targets(plan))),
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
        called=requested_intents(plan),
    )


def requested_intents(plan: Plan) -> tuple[RequestIntent, ...]:
    """Return the intents that `plan` calls as policy is asked about them, in its order."""
    if not plan.called:
        return ()
    own = tuple(map(request_target, own_targets(plan)))
    targets = {target.id: request_target(target) for target in plan.targets}
    steps = steps_by_course(plan.steps, plan.rollout)
    return tuple(
        _called(
            one,
            own,
            tuple(targets[name] for name in one.targets if name in targets),
            [found for at in courses_of(one, plan.rollout) for found in steps.get(at, ())],
        )
        for one in plan.called
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
    one: CalledIntent, own: tuple[RequestTarget, ...], targets: tuple[RequestTarget, ...], steps: list[Step]
) -> RequestIntent:
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


def _is_simulated(steps: Iterable[Step]) -> bool:
    calls = [step for step in steps if isinstance(step, CallStep)]
    return bool(calls) and all(isinstance(step.call.request, ScriptedRequest) for step in calls)


def _grade(steps: Iterable[Step]) -> str | None:
    """Return the weakest read grade."""
    calls = [step for step in steps if isinstance(step, CallStep) and step.call.effect is Effect.READ]
    grades = [step.grade for step in calls if step.grade is not None]
    return str(max(grades, key=_GRADES.index)) if grades else None
