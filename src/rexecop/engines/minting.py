"""The ticket of an operation, out of what was decided and approved."""

from __future__ import annotations

from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance.admission import Answer
from rexecop.governance.tickets import TICKET_VALID_MAX, Case, Place, mint
from rexecop.operations.fold import Operation
from rexecop.operations.ports import standing_use
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import ENGINE
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.ticket import BudgetUse, Ticket
from rexecop.proof.steps import unspent
from rexecop.proof.vocabulary import Verdict


def ticket_of(world: World, session: Session, answer: Answer, uses: tuple[BudgetUse, ...]) -> Ticket:
    """Return the next ticket of the operation of `session`, where policy gave `answer`.

    Raises:
        TicketRefused: what was decided or approved does not make one.
    """
    op, authority = session.op, world.authority
    asked = op.terms.verdict is Verdict.APPROVAL_REQUIRED  # Otherwise nobody's key or group matters.

    def used_here(sealed: Sealed) -> bool:
        """Whether `sealed` is no use of a standing approval, or one that this operation claimed."""
        record = sealed.record
        if not isinstance(record, Approval) or record.use is None:
            return True
        return world.store.claimed(standing_use(record.statement.nonce, record.use)) == session.id

    return mint(
        Case(
            intent=op.sealed_intent,
            plan=op.sealed_plan,
            decision=op.sealed_decision,
            answer=answer,
            preview=_shown(op),
            approvals=[one for one in unspent(op.approvals, op.ticket) if used_here(one)],
            enrolments=authority.enrolments() if asked else (),
            groups=authority.policy(op.the_plan.profile).groups() if asked else {},
            uses=uses,
            instance=authority.trust_records() if asked else (),
        ),
        Place(n=op.count, prev=op.sealed_head.digest, at=session.now(), by=ENGINE),
        valid_for=TICKET_VALID_MAX,
    )


def _shown(op: Operation) -> Digest:
    """Return the digest of what approvers saw; where nobody is asked, nothing is compared with it."""
    if op.terms.verdict is not Verdict.APPROVAL_REQUIRED:
        return op.sealed_plan.digest
    return preview_digest(preview(op.sealed_intent, op.sealed_plan))
