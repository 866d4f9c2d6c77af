"""Standing approvals of an instance: given, listed, revoked, and used by plans they cover."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from rexecop.app.approver import approver_of, signer_of
from rexecop.app.authority import RootAuthority
from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.governance.approvals import groups_of, require_may_approve
from rexecop.governance.errors import ApprovalRefused, StandingRefused
from rexecop.governance.standing import coverage, coverage_in_words, standing_statement
from rexecop.operations.errors import AppendConflict, ClaimTaken
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Claim, standing_use
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.codec import encode
from rexecop.proof.principal import Principal
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, Approval, ApprovalStatement, Coverage
from rexecop.proof.records.decision import terms_digest
from rexecop.proof.signer import Signer
from rexecop.proof.sshsig import sign
from rexecop.proof.standing import given_standing, outside
from rexecop.proof.vocabulary import State

RACES_MAX: Final = 8  # As many others may take a use in the same instant.


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingView:
    """One standing approval: what it covers in words, and how much of it is left."""

    standing: str
    person: str
    covers: str
    uses: int
    used: int
    until: datetime
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a new standing approval is to allow beyond the plan it is made from."""

    uses: int
    until: datetime
    allow: Mapping[str, str]
    targets: tuple[str, ...] = ()
    reason: str | None = None


class StandingApprovals:
    """The standing approvals in the instance's own chain."""

    def __init__(self, world: World, authority: RootAuthority, environ: Mapping[str, str]) -> None:
        self._world = world
        self._authority = authority
        self._environ = environ

    def covered(self, op: Operation, wanted: Standing) -> Coverage:
        """Return what `wanted`, made from the plan of `op`, would cover.

        Raises:
            StandingRefused: it cannot be bounded like that.
        """
        intent, plan = op.the_intent, op.the_plan
        return coverage(intent, plan, allow=wanted.allow, targets=wanted.targets, uses=wanted.uses)

    async def give(self, op: Operation, wanted: Standing, *, key: Path | None, agent: bool) -> StandingView:
        """Record a standing approval like the plan of `op`, signed by an approver's key.

        Raises:
            ApprovalRefused: the key may not approve that plan itself, or see `covered`.
        """
        signer, approver = self._who(key, agent)
        self._require_approver(op, approver)
        statement = standing_statement(
            self.covered(op, wanted),
            op.terms,
            instance=self._authority.instance,
            approver=approver,
            nonce=self._world.ids.nonce(),
            now=self._world.clock.now(),
            until=wanted.until,
            reason=wanted.reason,
        )
        sealed = await self._record(signer, statement)
        return self._view(sealed.digest, sealed)

    async def revoke(self, name: str, reason: str | None, *, key: Path | None, agent: bool) -> StandingView:
        """Take a standing approval back, at once, with a key of the person who gave it.

        Raises:
            StandingRefused: none that stands is called `name`, or another person gave it.
        """
        signer, approver = self._who(key, agent)
        standing = self._standing()
        found = [digest for digest in standing if digest.removeprefix("sha256:").startswith(name)]
        found += [digest for digest in standing if digest == name]
        if len(found) != 1:
            raise StandingRefused(
                f"`{name:.80}` names no one standing approval", next_steps=("rexecop standing list",)
            )
        given = standing[found[0]].statement
        if given.approver.person != approver.person:
            raise StandingRefused(
                f"`{given.approver.person}` gave it, and nobody else takes it back",
                next_steps=("rexecop keys revoke FINGERPRINT",),
            )
        statement = ApprovalStatement(
            operation=given.operation,
            plan=given.plan,
            terms=given.terms,
            preview=given.preview,
            approves=False,
            expires=given.expires,
            nonce=self._world.ids.nonce(),
            approver=approver,
            reason=reason,
            withdraws=found[0],
        )
        await self._record(signer, statement)
        return next(view for view in self.view() if view.standing == found[0])

    def view(self) -> tuple[StandingView, ...]:
        """Return every standing approval ever given, oldest first."""
        return tuple(
            self._view(sealed.digest, sealed)
            for sealed in self._authority.trust_records()
            if isinstance(sealed.record, Approval) and sealed.record.statement.covers is not None
        )

    async def use(self, session: Session) -> None:
        """Let standing approvals say yes to a plan that waits, as far as they cover it."""
        for _ in range(RACES_MAX):
            if session.op.state is not State.WAITING_FOR_APPROVAL:
                return
            for given in self._standing().values():
                self._use_one(session, given)
            try:
                await session.flush()
                return
            except (ClaimTaken, AppendConflict):
                session.reload()  # Somebody else took this use: the next one may be free.

    def _use_one(self, session: Session, given: Approval) -> None:
        op, said = session.op, given.statement
        if op.state is not State.WAITING_FOR_APPROVAL or said.covers is None:
            return
        number = self._used(said, said.covers) + 1
        fits = (
            said.terms == terms_digest(op.terms) and outside(said.covers, op.the_intent, op.the_plan) is None
        )
        if not fits or number > said.covers.uses or session.judged_now() >= said.expires:
            return
        try:
            self._require_approver(op, said.approver)
        except ApprovalRefused:
            return  # It would not count: the requester's own, a key that was revoked, no longer in the group.
        groups = self._authority.policy(op.the_plan.profile).groups()
        session.add(
            Approval,
            statement=said,
            signature=given.signature,
            groups=groups_of(said.approver.person, groups),
            use=number,
        )
        session.attached.claims.append(standing_use(said.nonce, number))

    def _require_approver(self, op: Operation, approver: Principal) -> None:
        require_may_approve(
            approver,
            intent=op.sealed_intent,
            plan=op.sealed_plan,
            terms=op.terms,
            enrolments=self._authority.enrolments(),
            groups=self._authority.policy(op.the_plan.profile).groups(),
            at=self._world.clock.now(),
        )

    def _who(self, key: Path | None, agent: bool) -> tuple[Signer, Principal]:
        signer = signer_of(key, agent, self._environ, self._authority.approver_keys())
        return signer, approver_of(signer, self._authority.enrolments())

    def _standing(self) -> dict[Digest, Approval]:
        return given_standing(self._authority.trust_records(), self._world.clock.now())

    def _used(self, said: ApprovalStatement, covers: Coverage) -> int:
        claims = [standing_use(said.nonce, n) for n in range(1, covers.uses + 1)]
        free = (n for n, claim in enumerate(claims) if self._world.store.claimed(claim) is None)
        return next(free, covers.uses)

    async def _record(self, signer: Signer, statement: ApprovalStatement) -> Sealed:
        session = Session.load(self._world.store, self._world.clock, self._authority.instance)
        sealed = session.add(
            Approval,
            statement.approver,
            statement=statement,
            signature=sign(signer, APPROVAL_NAMESPACE, encode(statement)),
            groups=(),
        )
        session.attached.claims.append(Claim(space="approval", key=statement.nonce))
        await session.flush()
        return sealed

    def _view(self, digest: Digest, sealed: Sealed) -> StandingView:
        record = sealed.record
        assert isinstance(record, Approval) and record.statement.covers is not None
        said, covers = record.statement, record.statement.covers
        used = self._used(said, covers)
        state = "standing" if digest in self._standing() else "revoked"
        if state == "standing" and used >= covers.uses:
            state = "used up"
        if state == "standing" and self._world.clock.now() >= said.expires:
            state = "expired"
        return StandingView(
            standing=digest,
            person=said.approver.person,
            covers=coverage_in_words(covers),
            uses=covers.uses,
            used=used,
            until=said.expires,
            state=state,
        )
