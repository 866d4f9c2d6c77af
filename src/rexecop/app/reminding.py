"""Reminders: which operations wait for whose yes since when, noted in each; they go where notices go."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from rexecop.app.drilling import people_of
from rexecop.app.instance import Instance
from rexecop.app.telling import expiry
from rexecop.app.views import OperationLine
from rexecop.engines.errors import JournalDamaged
from rexecop.engines.session import Session
from rexecop.engines.telling import ESCALATED as ESCALATION
from rexecop.engines.telling import REMINDED as REMINDER
from rexecop.governance.approvals import require_may_approve
from rexecop.governance.errors import ApprovalRefused
from rexecop.governance.grammar import Escalation
from rexecop.governance.obligations import approvals_in_words
from rexecop.operations.errors import AppendConflict
from rexecop.operations.fold import Operation
from rexecop.operations.next import awaited_call
from rexecop.operations.recorded import typed
from rexecop.proof.delegation import delegations, persons_of
from rexecop.proof.kinship import person_key
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import Approval
from rexecop.proof.records.decision import ApprovalRule, Terms
from rexecop.proof.records.instance import Note
from rexecop.proof.steps import step_terms
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Established, State

__all__ = ["ESCALATION", "REMINDER", "Escalation", "Waiting", "remind"]

REMIND_EVERY: Final = timedelta(hours=1)  # Whoever is asked more often stops reading.
PAGE: Final = 500  # Rows of the index read at one time.


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An operation that waits for approval since `since`: whose yes would count, and who is told now.

    It waits as a whole, or paused before `step`, whose exact call is asked about.
    `expires` is when a yes comes too late. `missing` says in words what is missing. `waits_for` are
    those of them who may and did not say anything yet; of these, `remind` were not reminded within
    the hour, and of whom it is escalated to, `escalate`. With `noted` False somebody else wrote to the
    operation: the next run records it.
    """

    operation_id: str
    number: int
    intent: str
    target: str
    requester: str
    since: datetime
    missing: str
    waits_for: tuple[str, ...]
    remind: tuple[str, ...] = ()
    escalate: tuple[str, ...] = ()
    noted: bool = True
    expires: datetime | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """What is asked of people since `since`: under which terms, what is missing, what was said."""

    terms: Terms
    missing: tuple[ApprovalRule, ...]
    said: tuple[Approval, ...]
    since: datetime
    step: str | None = None


async def remind(instance: Instance, escalation: Escalation | None) -> tuple[Waiting, ...]:
    """Return what waits for approval, newest first; who is reminded or told now is noted in each.

    Without `escalation` the rules that asked for the approval say what is escalated to whom.

    Raises:
        GroupEmpty: nobody is in the group to escalate to.
    """
    if escalation is not None:
        people_of(instance.parts.authority, escalation.group)
    found: list[Waiting] = []
    for state in (State.WAITING_FOR_APPROVAL, State.PAUSED):
        after = 0
        while lines := instance.list(state=state, after=after, limit=PAGE):
            for line in lines:
                try:
                    op = instance.operation(line.operation_id)
                except JournalDamaged:
                    continue  # Nothing of it can be read; `recover` names it.
                if (question := _question(instance, op)) is not None:
                    found.append(await _told(instance, op, question, line, escalation))
            after = lines[-1].number
    return tuple(found)


def _question(instance: Instance, op: Operation) -> _Question | None:
    """Return what `op` asks of people before it goes on, if it does."""
    if op.state is State.WAITING_FOR_APPROVAL:
        return _Question(
            terms=op.terms,
            missing=op.missing_approvals(),
            said=op.standing_approvals(),
            since=op.the_decision.at,
            step=None,
        )
    if op.state is not State.PAUSED or (make := awaited_call(op)) is None:
        return None
    if not (missing := op.missing_for(make.step)):
        return None
    journal = (sealed.record for sealed in instance.parts.world.store.journal(op.id).records)
    return _Question(
        terms=step_terms(op.terms_in_force, make.step),
        missing=missing,
        said=tuple(typed(sealed, Approval) for sealed in op.said_of(make.step.id)),
        since=max(record.at for record in journal if not isinstance(record, Note | Approval)),
        step=make.step.id,
    )


def _asked(instance: Instance, op: Operation, question: _Question) -> tuple[str, ...]:
    """Return whose yes would fill a place that is open, and was not heard yet: with a key that counts or,
    where the terms take that, by session.

    Beside somebody who gave their vote away stands who has it.
    """
    authority, now = instance.parts.authority, instance.parts.world.clock.now()
    everybody = authority.policy(op.the_plan.profile).groups()
    groups = {rule.group: everybody.get(rule.group, frozenset()) for rule in question.missing}
    given = delegations(authority.trust_records(), now)
    heard: set[str] = set().union(*(persons_of(said.statement) for said in question.said))
    found: set[str] = set()
    asked = [
        Principal(person=one.person, established=Established.KEY, credential=one.fingerprint)
        for one in authority.enrolments()
    ]
    if question.terms.session_may_approve:
        by_session = sorted(set().union(*groups.values()))
        asked += [Principal(person=one, established=Established.OIDC, credential="") for one in by_session]
    for approver in asked:
        me, signs = approver.person, approver.established is Established.KEY
        gifts = (gift.record.statement for gift in given if signs)
        givers = {gift.giver.person for gift in gifts if gift.delegate == me}
        for voter in (me, *sorted(givers)):
            known = any(voter in people for people in groups.values())
            if not known or heard & {person_key(voter), person_key(me)}:
                continue
            with suppress(ApprovalRefused):
                require_may_approve(
                    approver,
                    intent=op.sealed_intent,
                    plan=op.sealed_plan,
                    terms=question.terms,
                    enrolments=authority.enrolments(),
                    groups=everybody,
                    at=now,
                    behalf=None if voter == me else voter,
                    instance=authority.trust_records(),
                    signs=signs,
                )
                found.add(me)
    return tuple(sorted(found))


async def _told(
    instance: Instance,
    op: Operation,
    question: _Question,
    line: OperationLine,
    escalation: Escalation | None,
) -> Waiting:
    """Return how `op` waits; who is reminded and told now is noted, each at most once in `REMIND_EVERY`."""
    parts, since = instance.parts, question.since
    waiting = Waiting(
        operation_id=op.id,
        number=line.number,
        intent=line.intent,
        target=line.target,
        requester=line.requester,
        since=since,
        missing=approvals_in_words(question.missing) + _of_what(op, question),
        waits_for=_asked(instance, op, question),
        expires=expiry(op, question.step),
        step=question.step,
    )
    # The fold that was judged is the one that is written to: whoever wrote in between wins.
    session = Session(parts.world.store, parts.world.clock, op.id, op)
    now = session.judged_now()
    late = _late(instance, op, escalation, now - since)
    groups = instance.parts.authority.policy(op.the_plan.profile).groups()
    people = tuple(sorted({person for group in late for person in groups.get(group, ())}))
    last = {
        (note.topic, person): note.at
        for note in (sealed.record for sealed in parts.world.store.journal(op.id).records)
        if isinstance(note, Note) and note.topic in (REMINDER, ESCALATION)
        for person in note.text.split("\n")
    }
    due: dict[str, tuple[str, ...]] = {}
    for topic, asked in ((REMINDER, waiting.waits_for), (ESCALATION, people)):
        due[topic] = tuple(
            one for one in asked if (topic, one) not in last or now - last[topic, one] >= REMIND_EVERY
        )
        if due[topic]:
            session.add(Note, instance.identity().principal, topic=topic, text="\n".join(due[topic]))
    try:
        await session.flush()
    except AppendConflict:
        return replace(waiting, noted=False)
    asked = tuple(sorted({rule.group for rule in question.missing}))
    for topic, to in ((REMINDER, asked), (ESCALATION, late)):
        if due[topic]:
            text = f"waits for approval by {waiting.missing} since {format_time(since)}"
            await instance.parts.telling.tell(
                op, topic, to, about=format_time(now), text=text, people=due[topic], step=question.step
            )
    return replace(waiting, remind=due[REMINDER], escalate=due[ESCALATION])


def _of_what(op: Operation, question: _Question) -> str:
    if question.step is not None:
        return f" for step `{question.step}`"
    return " for what is left" if op.leaves else ""


def _late(
    instance: Instance, op: Operation, escalation: Escalation | None, waited: timedelta
) -> tuple[str, ...]:
    """Return the groups to which `op` is escalated after it waited so long."""
    policy = instance.parts.authority.policy(op.the_plan.profile)
    said = policy.escalations(rule.id for rule in op.the_decision.rules)
    which = said if escalation is None else {escalation}
    return tuple(sorted({one.group for one in which if waited >= one.after}))
