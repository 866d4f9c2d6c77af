"""Asking policy about a plan, and recording what it answered: the same at every gate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from rexecop.engines.session import Session
from rexecop.governance.admission import Answer, Policy
from rexecop.governance.obligations import unmet
from rexecop.governance.steps import admit
from rexecop.governance.windows import Schedule
from rexecop.proof.records.decision import Decision, Opinion, PolicyRequest
from rexecop.proof.records.plan import Plan, Step
from rexecop.proof.request import parts_of
from rexecop.proof.vocabulary import Gate, Verdict


class Opinions(Protocol):
    """A decision point outside this instance, whose no counts on top of ours."""

    async def of(self, request: PolicyRequest) -> Opinion | None:
        """Return what it says to `request`, None where nobody is to be asked; it never raises.

        An answer that does not come in time, or is none, is a no.
        """
        ...


def ask(
    policy: Policy,
    request: PolicyRequest,
    plan: Plan,
    schedule: Schedule | None = None,
    due: Step | None = None,
    *,
    signed: bool = False,
) -> Answer:
    """Return the answer of `policy`, held to the `schedule` of the environment too.

    A plan that cannot keep what it would be obliged to is blocked. Whether people can be told is no
    question any more once it began: a file that somebody edits must not leave work half done. Just
    before a call only its step, `due`, is looked at; all are where that is not given. `signed` says that
    the terms in force ask for a signed profile, whatever the packs ask now.
    """
    answer = admit(policy, request, plan, *(() if schedule is None else (schedule,)))
    able = policy.able if request.gate is not Gate.CALL else None
    short = unmet(answer.terms.obligations, plan, able, None if due is None else (due,))
    answer = block(answer, f"the plan cannot keep an obligation: {short[0]}") if short else answer
    return require_signed(answer, policy, plan, request.now, signed=signed)


def require_signed(
    answer: Answer, policy: Policy, plan: Plan, now: datetime, *, signed: bool = False
) -> Answer:
    """Return `answer`, blocked where the profile has to be signed and no signature of it counts at `now`."""
    if not signed and not answer.terms.obligations.signed_profile:
        return answer
    why = policy.able.unsigned(plan, now)
    words = f"the profile has to be signed, and {why}: `rexecop profile verify PROFILE`"
    return answer if why is None else block(answer, words)


async def consult(opinions: Opinions | None, answer: Answer, request: PolicyRequest) -> Answer:
    """Return `answer`, blocked where the decision point outside denies; a no of ours is not put to it.

    It is asked about every intent that the plan calls as well.
    """
    if opinions is None or answer.terms.verdict is Verdict.BLOCKED:
        return answer
    for part in parts_of(request):
        opinion = await opinions.of(part)
        if opinion is None:
            return answer
        if not opinion.allowed:
            words = f"`{opinion.source}` denies: {opinion.reason}"
            return block(replace(answer, opinion=opinion), words)
        answer = replace(answer, opinion=answer.opinion or opinion)
    return answer


def block(answer: Answer, reason: str) -> Answer:
    """Return `answer` as a no for `reason`; what is blocked already keeps its own reason."""
    if answer.terms.verdict is Verdict.BLOCKED:
        return answer
    return replace(
        answer, terms=replace(answer.terms, verdict=Verdict.BLOCKED, approvals=(), steps=()), reason=reason
    )


def record_decision(session: Session, request: PolicyRequest, answer: Answer) -> None:
    """Hold the decision on the plan of `session` as its next record."""
    session.add(
        Decision,
        at=request.now,
        plan=session.op.sealed_plan.digest,
        request=request,
        terms=answer.terms,
        rules=answer.rules,
        packs=answer.packs,
        errors=answer.errors,
        reason=answer.reason,
        opinion=answer.opinion,
    )
