"""Admission of a plan with its steps: what policy asks of the whole, and of single calls beyond that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rexecop.governance.admission import Answer, Policy, decide
from rexecop.governance.obligations import merge_limits
from rexecop.governance.windows import Schedule
from rexecop.proof.records.decision import PolicyRequest, StepTerms, Terms
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.steps import merge_approvals
from rexecop.proof.vocabulary import Gate, Verdict


def admit(policy: Policy, request: PolicyRequest, plan: Plan, *schedules: Schedule) -> Answer:
    """Return the answer to `request` about `plan`, whose terms name each step that asks for more approval.

    That is a step which the plan marks, and one whose call policy asks more for than for the whole.
    A step that policy would not allow at all is not named; its call is refused when it is due.
    """
    answer = decide(policy, request, *schedules)
    if request.gate is Gate.CALL or answer.terms.verdict is Verdict.BLOCKED:
        return answer
    steps = tuple(_asking(policy, request, plan, answer.terms))
    if not steps:
        return answer
    names = ", ".join(f"`{one.step}`" for one in steps)
    terms, reason = replace(answer.terms, steps=steps), f"{answer.reason}; approval just before {names}"
    return replace(answer, terms=terms, reason=reason)


def _asking(policy: Policy, request: PolicyRequest, plan: Plan, terms: Terms) -> Iterator[StepTerms]:
    asked = {rule.group: rule.count for rule in terms.approvals}
    # A policy that never looks at the step says nothing of one that it does not say of the whole.
    looks = "step" in policy.facts.read
    for step in plan.steps:
        if not isinstance(step, CallStep) or not (looks or step.asks):
            continue
        found = terms
        if looks:
            found = decide(policy, replace(request, gate=Gate.CALL, step=step.id)).terms
        more = tuple(rule for rule in found.approvals if rule.count > asked.get(rule.group, 0))
        if more or step.asks:
            yield StepTerms(
                step=step.id,
                approvals=merge_approvals((more, step.asks)),
                approval_limits=merge_limits((terms.approval_limits, found.approval_limits)),
                sponsor_may_approve=found.sponsor_may_approve and not step.asks,
            )
