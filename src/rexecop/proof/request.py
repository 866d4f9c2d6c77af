"""What policy is asked about a plan: a function of intent and plan, so that nothing else can be asked.

The planner asks with it, and a verifier makes it again from the records.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from rexecop.proof.call import Call, ScriptedRequest
from rexecop.proof.records.decision import PolicyRequest, Recent, RequestCall, RequestTarget
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import CallStep, Plan, PlannedTarget
from rexecop.proof.vocabulary import Effect, Gate, Grade

_GRADES: Final = tuple(Grade)  # Strongest first.


def requested(call: Call) -> RequestCall:
    """Return `call` as policy is asked about it."""
    return RequestCall(connector=call.connector, action=call.action, effect=call.effect)


def request_target(target: PlannedTarget) -> RequestTarget:
    """Return `target` as policy sees it."""
    return RequestTarget(id=target.id, type=target.type, criticality=target.criticality, groups=target.groups)


def request_of_call(
    whole: PolicyRequest, target: RequestTarget | None, step: str, call: RequestCall | None, now: datetime
) -> PolicyRequest:
    """Return what policy is asked just before `call` of `step`, whose plan it was asked `whole` about.

    It is asked about the call's own `target`, and told how many the plan has. Where glass is broken
    one rule that lets it be broken is enough for all targets, and it is asked about them all; so it is
    where the plan does not have the target.
    """
    targets, planned = whole.targets, None
    if target is not None and len(targets) > 1 and not whole.break_glass:
        targets, planned = (target,), len(targets)
    return replace(
        whole, gate=Gate.CALL, step=step, call=call, now=now, targets=targets, targets_planned=planned
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
    operation holds.
    """
    calls = [found for found in plan.steps if isinstance(found, CallStep)]
    grades = [call.grade for call in calls if call.grade is not None and call.call.effect is Effect.READ]
    return PolicyRequest(
        gate=gate,
        principal=intent.by,
        profile=intent.profile.name,
        intent=intent.intent,
        effect=plan.effect,
        mode=intent.mode,
        risk=plan.risk,
        environment=intent.environment.id,
        targets=tuple(map(request_target, plan.targets)),
        simulated=bool(calls) and all(isinstance(call.call.request, ScriptedRequest) for call in calls),
        pinned=plan.pinned is not None,
        origin=intent.origin.channel,
        now=now,
        sponsor=intent.sponsor,
        grade=str(max(grades, key=_GRADES.index)) if grades else None,
        parameters=intent.parameters,
        step=step,
        break_glass=intent.break_glass,
        recent=recent,
        override_window=intent.override_window is not None,
        call=call,
    )
