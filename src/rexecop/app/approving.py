"""Approving: a person signs, with a key of their own, exactly what the preview shows.

Where the terms let sessions approve, whom the identity provider of the service vouches for says it
unsigned, and the record says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rexecop.app.approver import APPROVAL_VALID, Word, approver_of, signer_of
from rexecop.app.authority import RootAuthority
from rexecop.app.identity import Identity, os_user
from rexecop.engines.closing import close
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance.admission import Policy
from rexecop.governance.approvals import approval_statement, groups_of, require_may_approve
from rexecop.governance.errors import (
    AgentApproval,
    AnswerUnfit,
    ApprovalNotAsked,
    ApprovalRefused,
    ApproverNotEstablished,
    KeyEnrolledByRequester,
    NothingToWithdraw,
    SessionMayNotApprove,
)
from rexecop.governance.requests import ApprovalAnswer, ApprovalRequest, RequestedApprover, require_fits
from rexecop.operations.fold import Operation
from rexecop.operations.next import awaited_call
from rexecop.operations.ports import Claim
from rexecop.operations.recorded import typed
from rexecop.proof.call import call_digest
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import Groups
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval, ApprovalStatement
from rexecop.proof.records.decision import Terms, terms_digest
from rexecop.proof.records.instance import Note
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.sshsig import sign
from rexecop.proof.steps import step_terms
from rexecop.proof.vocabulary import Established, Role, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What somebody speaks about: the digests of preview, terms and, of `step`, its exact call."""

    preview: Digest
    terms: Digest
    step: str | None = None
    call: Digest | None = None


class Approving:
    """Takes approvals for the operations of one instance.

    `issuer` returns the identity provider whose sessions may vote where the terms let them; None: nobody's.
    """

    def __init__(
        self,
        world: World,
        authority: RootAuthority,
        environ: Mapping[str, str],
        issuer: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._world = world
        self._authority = authority
        self._environ = environ
        self._issuer = issuer

    async def approve(self, operation: str, *, key: Path | None, agent: bool, word: Word) -> None:
        """Record a signed yes or no, or that one is taken back.

        Raises:
            ApprovalRefused: see `may_approve`.
        """
        signer = signer_of(key, agent, self._environ, self._authority.approver_keys())
        approver = approver_of(signer, self._authority.enrolments())
        session, groups, given = await self._admitted(operation, approver, word)
        statement = self._statement(session, approver, word, given)
        await self._record(session, statement, sign(signer, APPROVAL_NAMESPACE, encode(statement)), groups)

    async def vote(self, operation: str, by: Identity, word: Word, seen: Seen) -> None:
        """Record the unsigned word of whom the identity provider vouches for, about just what they saw.

        Raises:
            ApprovalRefused: as `may_approve`, and where the terms want a yes signed. AnswerUnfit: what is
                asked is not what they saw, or they said it already.
        """
        session, groups, given = await self._admitted(operation, by.principal, word, by)
        op, terms = session.op, terms_digest(_terms(session.op, word))
        if seen != Seen(preview=_shown(op), terms=terms, step=word.step, call=_call(op, word)):
            words = "what is asked is not what you saw; look again"
            raise AnswerUnfit(words, next_steps=(f"rexecop show {operation}",))
        stands = op.given_by(by.principal.person, word.step)
        said = None if stands is None else _said(stands)
        again = said is not None and (said.approves, said.terms) == (word.approves, terms)
        if said is not None and again and not word.withdraws and session.judged_now() < said.expires:
            raise AnswerUnfit(f"`{said.said_by}` said {said.in_a_word} already")
        await self._record(session, self._statement(session, by.principal, word, given), "", groups)

    def vote_refused(self, op: Operation, by: Identity, word: Word) -> ApprovalRefused | None:
        """Return why `vote` would not take `word` of `by` now, None where it would; nothing is recorded."""
        session = Session(self._world.store, self._world.clock, op.id, op)
        try:
            self._given(session, by.principal, word, self._policy(op, word), by)
        except ApprovalRefused as refused:
            return refused
        return None

    def seen(self, op: Operation) -> Seen:
        """Return what who votes on `op` has to see; of a step where one waits.

        Raises:
            ApprovalNotAsked: nothing was decided that anybody could be asked about.
        """
        if op.decision is None:
            raise _not_asked(op, Word())
        step = op.awaited if op.state is State.PAUSED else None
        word = Word(step=None if step is None else step.id)
        named = terms_digest(_terms(op, word))
        return Seen(preview=_shown(op), terms=named, step=word.step, call=_call(op, word))

    async def take(self, answer: ApprovalAnswer) -> None:
        """Record the answer that an approver signed elsewhere.

        Raises:
            ApprovalRefused: as `may_approve`. AnswerUnfit: it answers something else, or is not signed.
        """
        said = answer.statement
        back = said.withdraws is not None
        word = Word(approves=said.approves, withdraws=back, step=said.step, behalf=said.on_behalf_of)
        session, groups, given = await self._admitted(said.operation, said.approver, word)
        op = session.op
        if said.withdraws != given:
            raise AnswerUnfit("the answer takes back another answer than the one that stands")
        require_fits(
            answer,
            plan=op.sealed_plan,
            terms=_terms(op, word),
            shown=_shown(op),
            given=(*op.approvals, *op.step_approvals),
            call=_call(op, word),
            at=session.judged_now(),
        )
        await self._record(session, said, answer.signature, groups)

    async def may_approve(self, operation: str, *, key: Path | None, agent: bool, word: Word) -> None:
        """Return only if the key may say `word` to the operation now.

        Raises:
            ApprovalRefused: the approver may not, or nothing is asked; a refused try is noted in the
                operation's own chain.
        """
        signer = signer_of(key, agent, self._environ, self._authority.approver_keys())
        await self._admitted(operation, approver_of(signer, self._authority.enrolments()), word)

    def asked(self, op: Operation, seen: Seen) -> Terms:
        """Return the terms that a vote on what was `seen` is judged by."""
        return _asked(op, Word(step=seen.step))

    def request(self, op: Operation) -> ApprovalRequest:
        """Return what `op` asks its approvers, for them to answer elsewhere.

        Raises:
            ApprovalNotAsked: it asks nobody.
        """
        intent, plan = op.sealed_intent.record, op.sealed_plan.record
        make = awaited_call(op) if op.state is State.PAUSED else None
        asks = op.decision is not None and op.terms.verdict is Verdict.APPROVAL_REQUIRED
        if make is None and not asks:
            raise ApprovalNotAsked(f"operation `{op.id}` is `{op.state}`; it asks nobody for approval")
        assert isinstance(intent, Intent) and isinstance(plan, Plan)
        step = None if make is None else make.step.id
        approvers = tuple(
            RequestedApprover(
                person=one.person,
                fingerprint=one.fingerprint,
                given=None if (given := op.given_by(one.person, step)) is None else given.digest,
            )
            for one in self._authority.enrolments()
            if one.role is Role.APPROVER and one.valid_at(self._world.clock.now())
        )
        return ApprovalRequest(
            instance=self._authority.instance,
            intent=intent,
            plan=plan,
            terms=op.terms if make is None else op.terms_in_force,
            approvers=approvers,
            step=step,
            call=None if make is None else make.call,
        )

    async def _admitted(
        self, operation: str, approver: Principal, word: Word, unsigned: Identity | None = None
    ) -> tuple[Session, Groups, Digest | None]:
        """Return the operation, who is in which group, and the approval that is taken back, if one is.

        Where nothing is signed, `unsigned` is who says it.
        """
        session = Session.load(self._world.store, self._world.clock, operation)
        policy, own = self._policy(session.op, word), self._authority.instance
        seen = self._world.store.records_of(own)
        try:
            given = self._given(session, approver, word, policy, unsigned)
        except ApprovalRefused as refused:
            await self._note(session, approver, refused)
            refused.next_steps = _ways_out(refused, operation)
            raise
        if word.behalf is not None:  # No vote gets into the log behind the end of what it rests on.
            session.attached.beside = (own, seen)
        return session, policy.groups(), given.digest if given is not None else None

    def _policy(self, op: Operation, word: Word) -> Policy:
        if op.plan is None or not _hears(op, word):
            raise _not_asked(op, word)
        return self._authority.policy(op.the_plan.profile)

    def _given(
        self, session: Session, approver: Principal, word: Word, policy: Policy, unsigned: Identity | None
    ) -> Sealed | None:
        """Return the approval that `word` takes back, if it does; raises ApprovalRefused where it may not."""
        op = session.op
        voter, speaker = (word.behalf, approver.person) if word.behalf else (approver.person, None)
        given = op.given_by(voter, word.step, speaker) if word.withdraws else None
        if policy.entities.type_of(approver.person) == "Agent":
            raise AgentApproval(f"`{approver.person}` is an agent; agents never approve")
        if unsigned is not None:
            self._require_vouched(unsigned)
        if word.withdraws and given is None:
            raise NothingToWithdraw(_nothing(voter, speaker))
        by_key = given is not None and _said(given).approver.established is Established.KEY
        if unsigned is not None and by_key:
            raise NothingToWithdraw(f"what `{voter}` said was signed; it is taken back with the key")
        if given is not None and op.state is State.BLOCKED and not _said(given).refuses:
            raise NothingToWithdraw(f"the operation is blocked by another's no: {op.reason}")
        require_may_approve(
            approver,
            intent=op.sealed_intent,
            plan=op.sealed_plan,
            terms=_asked(op, word),
            enrolments=self._authority.enrolments(),
            groups=policy.groups(),
            at=session.judged_now(),
            word=None if word.withdraws else word.approves,
            behalf=word.behalf,
            instance=self._authority.trust_records() if word.behalf else (),
            signs=unsigned is None,
        )
        return given

    def _require_vouched(self, by: Identity) -> None:
        """Return only if the identity provider of the service says who `by` is, and it is no agent."""
        who, issuer = by.principal, self._issuer()
        if by.sponsor is not None:
            raise AgentApproval(f"`{who.person}` asks for `{by.sponsor}`; agents never approve")
        if who.established is not Established.OIDC:
            words = f"`{who.person}` is known by {who.established}, not by an identity provider"
            raise ApproverNotEstablished(words, person=who.person)
        if issuer is None or not who.credential.startswith(f"{issuer}#"):
            words = f"who says that this is `{who.person}` is not the identity provider of this root"
            raise ApproverNotEstablished(words, person=who.person)

    def _statement(
        self, session: Session, approver: Principal, word: Word, given: Digest | None
    ) -> ApprovalStatement:
        op = session.op
        return approval_statement(
            plan=op.sealed_plan,
            terms=_terms(op, word),
            preview=_shown(op),
            approver=approver,
            approves=word.approves,
            nonce=self._world.ids.nonce(),
            now=session.judged_now(),
            valid_for=APPROVAL_VALID,
            reason=word.reason,
            withdraws=given,
            step=word.step,
            call=_call(op, word),
            behalf=word.behalf,
        )

    async def _record(
        self, session: Session, statement: ApprovalStatement, signature: str, groups: Groups
    ) -> None:
        approver = statement.approver
        session.add(
            Approval,
            approver,
            statement=statement,
            signature=signature,
            groups=groups_of(statement.voter, groups),
            delegate_groups=() if statement.speaker is None else groups_of(statement.speaker, groups),
        )
        session.attached.claims.append(Claim(space="approval", key=statement.nonce))
        if session.op.receipt_due:
            close(session, self._world.signer)
        await session.flush()

    async def _note(self, session: Session, approver: Principal, refused: ApprovalRefused) -> None:
        session.add(
            Note,
            os_user(),
            topic="approval-refused",
            text=f"{approver.person} ({approver.credential}): {refused.message} [{refused.code}]",
        )
        await session.flush()


def _terms(op: Operation, word: Word) -> Terms:
    """Return the terms that `word` names: a step is approved under those the work is done under."""
    return op.terms if word.step is None else op.terms_in_force


def _asked(op: Operation, word: Word) -> Terms:
    """Return the terms that `word` is judged by."""
    step = op.awaited
    return op.terms if word.step is None or step is None else step_terms(op.terms_in_force, step)


def _call(op: Operation, word: Word) -> Digest | None:
    make = awaited_call(op) if word.step is not None else None
    return None if make is None else call_digest(make.call)


def _not_asked(op: Operation, word: Word) -> ApprovalNotAsked:
    """Return why `word` cannot be said now, and what can."""
    awaited = op.awaited if op.state is State.PAUSED else None
    what = f"it is not `{State.WAITING_FOR_APPROVAL}`"
    if word.withdraws:
        what = "nothing said of it can be taken back"
    if awaited is not None:
        what = f"it waits for approval of step `{awaited.id}`"
    elif word.step is not None:
        what = f"it does not wait for approval of step `{word.step:.64}`"
    denied = awaited is not None and any(_said(one).refuses for one in op.said_of(awaited.id))
    verb, back = ("deny", " --withdraw") if denied else ("approve", "")
    step = "" if awaited is None else f"rexecop {verb} {op.id} --step {awaited.id}{back} --key FILE"
    text = f"operation `{op.id}` is `{op.state}`; {what}"
    return ApprovalNotAsked(text, state=str(op.state), next_steps=(step or f"rexecop why {op.id}",))


def _nothing(voter: str, speaker: str | None) -> str:
    if speaker is None:
        return f"`{voter}` has said nothing that stands"
    return f"`{speaker}` has said nothing for `{voter:.64}` that stands"


def _shown(op: Operation) -> Digest:
    return preview_digest(preview(op.sealed_intent, op.sealed_plan))


def _said(given: Sealed) -> ApprovalStatement:
    return typed(given, Approval).statement


def _hears(op: Operation, word: Word) -> bool:
    """Return whether `word` can be said now: until the start, or that of the step."""
    if word.step is not None:
        make = awaited_call(op) if op.state is State.PAUSED else None
        return make is not None and make.step.id == word.step
    if op.decision is None or op.terms.verdict is not Verdict.APPROVAL_REQUIRED:
        return False
    if word.withdraws:
        return op.state in (State.WAITING_FOR_APPROVAL, State.APPROVED, State.BLOCKED)
    no = () if word.approves else (State.APPROVED,)
    return op.state in (State.WAITING_FOR_APPROVAL, *no)


def _ways_out(refused: ApprovalRefused, operation: str) -> tuple[str, ...]:
    """Return what helps where the enroller of the key is the requester: asking as a person with a key."""
    if isinstance(refused, KeyEnrolledByRequester):
        return (
            "rexecop keys new me.key --person ME --role requester",
            "rexecop plan --identity me.key ...",
        )
    if isinstance(refused, SessionMayNotApprove):
        return (f"rexecop show {operation} --request FILE", "rexecop approve --request FILE --key FILE")
    return (f"rexecop why {operation}", "rexecop keys list")
