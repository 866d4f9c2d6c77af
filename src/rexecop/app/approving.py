"""Approving: a person signs, with a key of their own, exactly what the preview shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecop.app.authority import RootAuthority
from rexecop.app.errors import IdentityRefused
from rexecop.app.identity import enrolled, os_user
from rexecop.engines.closing import close
from rexecop.engines.driver import World
from rexecop.engines.session import Session
from rexecop.governance.approvals import approval_statement, require_may_approve
from rexecop.governance.errors import (
    ApprovalNotAsked,
    ApprovalRefused,
    ApproverUnknown,
    KeyEnrolledByRequester,
)
from rexecop.keys import agent_signers, load_ssh_signer
from rexecop.operations.ports import Claim
from rexecop.proof.codec import encode
from rexecop.proof.preview import preview, preview_digest
from rexecop.proof.principal import Principal
from rexecop.proof.quorum import Groups
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval
from rexecop.proof.records.instance import Note
from rexecop.proof.signer import Signer
from rexecop.proof.sshsig import sign
from rexecop.proof.vocabulary import Established, Role, State

APPROVAL_VALID: Final = timedelta(hours=24)  # What was looked at yesterday is looked at again.


class Approving:
    """Takes approvals for the operations of one instance."""

    def __init__(self, world: World, authority: RootAuthority, environ: Mapping[str, str]) -> None:
        self._world = world
        self._authority = authority
        self._environ = environ

    async def approve(
        self, operation: str, *, key: Path | None, agent: bool, approves: bool, reason: str | None
    ) -> None:
        """Record a signed yes or no.

        Raises:
            ApprovalRefused: see `may_approve`.
        """
        session, signer, approver, groups = await self._admitted(operation, key, agent)
        op = session.op
        statement = approval_statement(
            plan=op.sealed_plan,
            terms=op.terms,
            preview=preview_digest(preview(op.sealed_intent, op.sealed_plan)),
            approver=approver,
            approves=approves,
            nonce=self._world.ids.nonce(),
            now=session.judged_now(),
            valid_for=APPROVAL_VALID,
            reason=reason,
        )
        session.add(
            Approval,
            approver,
            statement=statement,
            signature=sign(signer, APPROVAL_NAMESPACE, encode(statement)),
            groups=tuple(sorted(name for name, people in groups.items() if approver.person in people)),
        )
        session.attached.claims.append(Claim(space="approval", key=statement.nonce))
        if op.receipt_due:
            close(session, self._world.signer)
        await session.flush()

    async def may_approve(self, operation: str, *, key: Path | None, agent: bool) -> None:
        """Return only if the key may say yes or no to the operation now.

        Raises:
            ApprovalRefused: the approver may not, or nothing is asked; a refused try is noted in the
                operation's own chain.
        """
        await self._admitted(operation, key, agent)

    async def _admitted(
        self, operation: str, key: Path | None, agent: bool
    ) -> tuple[Session, Signer, Principal, Groups]:
        session = Session.load(self._world.store, self._world.clock, operation)
        op = session.op
        policy = self._authority.policy(op.the_plan.profile) if op.plan is not None else None
        if op.state is not State.WAITING_FOR_APPROVAL or policy is None:
            raise ApprovalNotAsked(
                f"operation `{operation}` is `{op.state}`; it does not wait for approval", state=str(op.state)
            )
        signer = self._signer(key, agent)
        approver = self._approver(signer)
        groups = policy.groups()
        try:
            require_may_approve(
                approver,
                intent=op.sealed_intent,
                plan=op.sealed_plan,
                terms=op.terms,
                enrolments=self._authority.enrolments(),
                groups=groups,
                at=session.judged_now(),
            )
        except ApprovalRefused as refused:
            await self._note(session, approver, refused)
            refused.next_steps = _ways_out(refused, operation)
            raise
        return session, signer, approver, groups

    def _signer(self, key: Path | None, agent: bool) -> Signer:
        if key is not None:
            return load_ssh_signer(key)
        socket = self._environ.get("SSH_AUTH_SOCK") if agent else None
        if not socket:
            raise IdentityRefused(
                "name the approver's key, or run an SSH agent", next_steps=("rexecop approve ID --key FILE",)
            )
        trusted = self._authority.enrolments()
        for signer in agent_signers(Path(socket)):
            if enrolled(signer.public.fingerprint, (Role.APPROVER,), trusted) is not None:
                return signer
        raise ApproverUnknown("no key in the SSH agent is enrolled for an approver", agent=socket)

    def _approver(self, signer: Signer) -> Principal:
        fingerprint = signer.public.fingerprint
        trusted = self._authority.enrolments()
        enrolment = enrolled(fingerprint, (Role.APPROVER,), trusted) or enrolled(
            fingerprint, (Role.REQUESTER,), trusted
        )
        if enrolment is None:
            raise ApproverUnknown(
                f"key `{fingerprint}` is enrolled for nobody here",
                fingerprint=fingerprint,
                next_steps=("rexecop keys trust FILE.pub --person NAME --role approver",),
            )
        return Principal(person=enrolment.person, established=Established.KEY, credential=fingerprint)

    async def _note(self, session: Session, approver: Principal, refused: ApprovalRefused) -> None:
        session.add(
            Note,
            os_user(),
            topic="approval-refused",
            text=f"{approver.person} ({approver.credential}): {refused.message} [{refused.code}]",
        )
        await session.flush()


def _ways_out(refused: ApprovalRefused, operation: str) -> tuple[str, ...]:
    """Return what helps where the enroller of the key is the requester: asking as a person with a key."""
    if isinstance(refused, KeyEnrolledByRequester):
        return (
            "rexecop keys new me.key --person ME --role requester",
            "rexecop plan --identity me.key ...",
        )
    return (f"rexecop why {operation}", "rexecop keys list")
