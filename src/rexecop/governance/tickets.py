"""Tickets: the right to run one plan once, from a decision and the approvals it asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecop.governance.admission import Answer
from rexecop.governance.errors import (
    ApprovalDenied,
    ApprovalsMissing,
    DecisionBlocked,
    ObligationUnmet,
    TermsStricter,
    TicketRefused,
    TicketUnfit,
)
from rexecop.governance.obligations import approvals_in_words, tighter, unmet
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import Groups, Tally, tally
from rexecop.proof.records.decision import Decision, Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.records.ticket import BudgetUse, Ticket
from rexecop.proof.scope import scope_root, undo_scope_root
from rexecop.proof.times import whole_milliseconds
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Verdict

TICKET_VALID_MAX: Final = timedelta(hours=24)  # A ticket is for work that begins now or in tonight's window.


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """All that a ticket rests on. `answer` is the policy's answer at minting, not that of the plan.

    `instance` are the instance's own records: what was approved beforehand, who gave whom their vote.
    """

    intent: Sealed
    plan: Sealed
    decision: Sealed
    answer: Answer
    preview: Digest
    approvals: Sequence[Sealed]
    enrolments: Sequence[Enrolment]
    groups: Groups
    uses: tuple[BudgetUse, ...] = ()
    instance: Sequence[Sealed] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the ticket stands in its operation, when and by whom it is minted."""

    n: int
    prev: Digest
    at: datetime
    by: Principal


def mint(case: Case, place: Place, *, valid_for: timedelta) -> Ticket:
    """Return the ticket for the plan, valid from `place.at` for `valid_for` or as long as the terms allow.

    Raises:
        TicketUnfit: intent, plan and decision do not belong together, or `valid_for` is out of range.
        DecisionBlocked: policy said no when it planned, or says no now.
        TermsStricter: policy now asks for more than was decided.
        ObligationUnmet: the plan cannot keep to what is asked.
        ApprovalDenied, ApprovalsMissing: people said no, or not enough of them yes.
    """
    asked, planned, decided = _records(case)
    terms = decided.terms
    if not timedelta(0) < valid_for <= TICKET_VALID_MAX:
        raise TicketUnfit(f"a ticket is valid for up to 24 hours, not `{valid_for}`")
    if terms.verdict is Verdict.BLOCKED:
        raise DecisionBlocked(f"policy blocks this operation: {decided.reason}")
    if case.answer.terms.verdict is Verdict.BLOCKED:
        raise DecisionBlocked(f"policy now blocks this operation: {case.answer.reason}")
    stricter = tighter(terms, case.answer.terms)
    if stricter is not None:
        raise TermsStricter(stricter_in_words(stricter, case.answer))
    short = unmet(terms.obligations, planned)
    if short:
        raise ObligationUnmet(f"the plan cannot keep an obligation: {short[0]}")
    counted = _counted(case, terms, place.at) if terms.verdict is Verdict.APPROVAL_REQUIRED else ()
    not_before, expires = _validity(terms, place.at, valid_for)
    return Ticket(
        operation=planned.operation,
        n=place.n,
        prev=place.prev,
        at=place.at,
        by=place.by,
        plan=case.plan.digest,
        decision=case.decision.digest,
        terms=terms_digest(terms),
        approvals=counted,
        mode=asked.mode,
        scope=scope_root(planned),
        undo_scope=undo_scope_root(planned),
        packs=tuple(pack.digest for pack in case.answer.packs),
        not_before=not_before,
        expires=expires,
        uses=case.uses,
    )


def stricter_in_words(what: str, answer: Answer) -> str:
    """Return `what` policy asks now beyond what it asked, and the rules that do."""
    if answer.terms.verdict is Verdict.BLOCKED:
        return f"{what}: {answer.reason}"
    because = ", ".join(f"`{rule.id}`" for rule in answer.rules)
    return f"policy now asks for more: {what}; by {because}"


def require_fits(ticket: Sealed, plan: Sealed) -> None:
    """Return only if `ticket` is for `plan` and its scopes are those of the plan.

    Raises:
        TicketUnfit: it is not, or they are not.
    """
    record, planned = ticket.record, plan.record
    if not isinstance(record, Ticket) or not isinstance(planned, Plan):
        raise TicketUnfit("one of the records is no ticket or no plan")
    if record.plan != plan.digest or record.operation != planned.operation:
        raise TicketUnfit("the ticket was given for another plan")
    if record.scope != scope_root(planned) or record.undo_scope != undo_scope_root(planned):
        raise TicketUnfit("the ticket's scope is not that of its plan")


def _records(case: Case) -> tuple[Intent, Plan, Decision]:
    asked, planned, decided = case.intent.record, case.plan.record, case.decision.record
    if not (isinstance(asked, Intent) and isinstance(planned, Plan) and isinstance(decided, Decision)):
        raise TicketUnfit("a ticket rests on an intent, a plan and a decision, and one of them is missing")
    if planned.intent != case.intent.digest or planned.operation != asked.operation:
        raise TicketUnfit("the plan is not that of the intent")
    if decided.plan != case.plan.digest or decided.operation != planned.operation:
        raise TicketUnfit("the decision is about another plan")
    if decided.request.mode is not asked.mode:
        raise TicketUnfit(f"the decision is about mode `{decided.request.mode}`, asked is `{asked.mode}`")
    return asked, planned, decided


def _counted(case: Case, terms: Terms, at: datetime) -> tuple[Digest, ...]:
    """Return the digests of the approvals that together satisfy `terms`."""
    found = tally(
        intent=case.intent,
        plan=case.plan,
        terms=terms,
        preview=case.preview,
        approvals=case.approvals,
        enrolments=case.enrolments,
        groups=case.groups,
        at=at,
        instance=case.instance,
    )
    require_satisfied(found)
    return tuple(counted.approval for counted in found.counted)


def require_satisfied(found: Tally) -> None:
    """Return only if `found` is a quorum.

    Raises:
        ApprovalDenied: somebody entitled said no. ApprovalsMissing: somebody has not said yes.
    """
    if found.denied_by:
        raise ApprovalDenied(f"`{found.denied_by[0]}` said no", person=found.denied_by[0])
    if not found.satisfied:
        words = approvals_in_words(found.missing) or "a quorum"
        raise ApprovalsMissing(f"approval by {words} is missing")


def _validity(terms: Terms, at: datetime, valid_for: timedelta) -> tuple[datetime, datetime]:
    not_before = at if terms.not_before is None else max(at, terms.not_before)
    expires = not_before + valid_for
    if terms.not_after is not None:
        expires = min(expires, terms.not_after)
    if expires <= not_before:
        raise TicketRefused("the time in which the operation was allowed is over")
    return whole_milliseconds(not_before), whole_milliseconds(expires)
