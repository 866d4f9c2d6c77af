"""What is approved beside a whole plan: a single step, or what is left of it under stricter terms.

Shared by who asks, who makes the call, and who verifies.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from rexecop.proof.chain import Sealed
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import ApprovalRule, StepTerms, Terms
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Verdict


def merge_approvals(parts: Iterable[Sequence[ApprovalRule]]) -> tuple[ApprovalRule, ...]:
    """Return all that is asked: different groups add up, the same group takes the highest count."""
    counts: dict[str, int] = {}
    for rules in parts:
        for rule in rules:
            counts[rule.group] = max(rule.count, counts.get(rule.group, 0))
    return tuple(ApprovalRule(count=counts[group], group=group) for group in sorted(counts))


def asked_for(terms: Terms, step: str) -> StepTerms:
    """Return what `terms` say of the step called `step`; nothing is asked where they do not name it."""
    return next((one for one in terms.steps if one.step == step), StepTerms(step=step, approvals=()))


def is_asking(terms: Terms, step: CallStep) -> bool:
    """Return whether the call of `step` needs approvals of its own: those of `step_terms` are not empty."""
    return bool(step.asks or asked_for(terms, step.id).approvals)


def step_terms(terms: Terms, step: CallStep) -> Terms:
    """Return the terms that approvals of `step` are counted under; `approvals` is empty where none is asked.

    What the plan asks for the step is asked even where the terms leave it out.
    """
    asked = asked_for(terms, step.id)
    return replace(
        terms,
        verdict=Verdict.APPROVAL_REQUIRED,
        approvals=merge_approvals((asked.approvals, step.asks)),
        approval_limits=asked.approval_limits,
        sponsor_may_approve=asked.sponsor_may_approve,
        session_may_approve=asked.session_may_approve,
    )


def unspent(approvals: Iterable[Sealed], ticket: Sealed | None) -> list[Sealed]:
    """Return what of `approvals` a ticket after `ticket` may count: a yes is spent by the ticket after it.

    A no stands until it is taken back, whatever ticket was minted since.
    """
    after = -1 if ticket is None else ticket.record.n
    return [one for one in approvals if one.record.n > after or not _approves(one)]


def _approves(sealed: Sealed) -> bool:
    return isinstance(sealed.record, Approval) and sealed.record.statement.approves
