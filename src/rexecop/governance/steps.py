"""Admission of a plan with its steps: what policy asks of the whole, and of single calls beyond that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.obligations import merge_limits, merge_obligations
from rexecop.governance.windows import Schedule
from rexecop.proof.call import Call
from rexecop.proof.records.decision import PolicyRequest, StepTerms, Terms
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.request import intents_within, request_of_call, requested
from rexecop.proof.steps import merge_approvals
from rexecop.proof.vocabulary import Gate, Verdict


def admit(policy: Policy, request: PolicyRequest, plan: Plan, *schedules: Schedule) -> Answer:
    """Return the answer to `request` about `plan`, whose terms name each step that asks for more approval.

    That is a step which the plan marks, and one whose call policy asks more for than for the whole.
    Where policy speaks of calls, all that the plan could make are admitted with it: one that would
    be denied blocks the whole, and what any of them is obliged to the whole is. Elsewhere a step
    that policy would not allow is not named; its call is refused when it is due.
    """
    calls = (step for step in plan.steps if isinstance(step, CallStep))
    if request.gate is Gate.CALL:
        # Records made before a request named its call leave it to the plan.
        due = request.call or next((requested(one.call) for one in calls if one.id == request.step), None)
        return decide(policy, replace(request, call=due), *schedules)
    targets = {target.id: target for target in request.targets}
    answer = decide(policy, request, *schedules)
    if answer.terms.verdict is Verdict.BLOCKED:
        return answer
    obligations, steps = [answer.terms.obligations], list[StepTerms]()
    for step in calls:
        within = intents_within(request, plan, (step,))
        found = [
            decide(
                policy,
                request_of_call(
                    request, targets.get(step.target), step.id, requested(call), request.now, within
                ),
            )
            for call in _decided(policy, step)
        ]
        denied = next((one for one in found if one.terms.verdict is Verdict.BLOCKED), None)
        if policy.calls and denied is not None:
            return replace(denied, reason=f"step `{step.id}`: {denied.reason}")
        if policy.calls:
            obligations += (one.terms.obligations for one in found)
        steps += _asking(answer.terms, step, [one.terms for one in found])
    if not steps and len(obligations) == 1:
        return answer
    terms, reason = answer.terms, answer.reason
    if steps:
        names = ", ".join(f"`{one.step}`" for one in steps)
        terms, reason = replace(terms, steps=tuple(steps)), f"{reason}; approval just before {names}"
    return replace(answer, terms=replace(terms, obligations=merge_obligations(obligations)), reason=reason)


def _decided(policy: Policy, step: CallStep) -> Iterator[Call]:
    """Yield the calls of `step` that policy could say more of than of the whole."""
    if policy.calls or "step" in policy.facts.read:
        yield step.call
    if policy.calls:
        more = (step.undo, None if step.probe is None else step.probe.call)
        yield from (call for call in more if call is not None)


def _asking(terms: Terms, step: CallStep, found: Sequence[Terms]) -> Iterator[StepTerms]:
    asked = {rule.group: rule.count for rule in terms.approvals}
    needed = merge_approvals(one.approvals for one in found)
    more = tuple(rule for rule in needed if rule.count > asked.get(rule.group, 0))
    if more or step.asks:
        yield StepTerms(
            step=step.id,
            approvals=merge_approvals((more, step.asks)),
            approval_limits=merge_limits((terms.approval_limits, *(one.approval_limits for one in found))),
            sponsor_may_approve=not step.asks
            and all(one.sponsor_may_approve for one in found if one.approvals),
            session_may_approve=not step.asks
            and all(one.session_may_approve for one in found if one.approvals),
        )
