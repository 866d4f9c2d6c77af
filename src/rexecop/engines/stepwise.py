"""Steps that need approvals of their own: whether the call that is due has them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from rexecop.governance.errors import ApprovalDenied, TicketRefused
from rexecop.governance.tickets import require_satisfied
from rexecop.operations.fold import Operation
from rexecop.operations.next import Make
from rexecop.proof.call import call_digest
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.quorum import Tally, tally

if TYPE_CHECKING:
    from rexecop.engines.world import Authority


def count(op: Operation, make: Make, authority: Authority, at: datetime) -> Tally:
    """Return what the approvals of the call `make` come to at `at`."""
    return tally(
        intent=op.sealed_intent,
        plan=op.sealed_plan,
        terms=op.terms_in_force,
        preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
        approvals=op.step_approvals,
        enrolments=authority.enrolments(),
        groups=authority.policy(op.the_plan.profile).groups(),
        at=at,
        instance=authority.trust_records(),
        step=make.step,
        call=call_digest(make.call),
    )


def require_approved(op: Operation, make: Make, authority: Authority, at: datetime) -> None:
    """Return only if everybody that the step asks has approved this very call.

    Raises:
        ApprovalDenied: somebody said no. ApprovalsMissing: somebody has not said yes.
    """
    try:
        require_satisfied(count(op, make, authority, at))
    except TicketRefused as refused:
        verb, back = ("deny", " --withdraw") if isinstance(refused, ApprovalDenied) else ("approve", "")
        what = f"rexecop {verb} {op.id} --step {make.step.id}{back} --key FILE"
        steps = (f"rexecop show {op.id}", what)
        raise type(refused)(f"step `{make.step.id}`: {refused.message}", next_steps=steps) from refused
