"""Delegations of an instance: votes given to others, listed, and taken back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rexecop.app.approver import approver_of, signer_of
from rexecop.app.instance import Instance
from rexecop.engines.session import Session
from rexecop.governance.approvals import groups_of
from rexecop.governance.delegation import (
    delegation_statement,
    read_scope,
    require_reason,
    scope_in_words,
    signed_in_words,
)
from rexecop.governance.errors import DelegationRefused
from rexecop.operations.ports import Claim
from rexecop.proof.codec import encode
from rexecop.proof.delegation import Given, delegations
from rexecop.proof.principal import Principal
from rexecop.proof.records.delegation import DELEGATION_NAMESPACE, Delegation, DelegationStatement
from rexecop.proof.signer import Signer
from rexecop.proof.sshsig import sign
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationView:
    """One delegation: who gave whom their vote, for what, from when until when, and whether it stands.

    `state` is `standing`, `revoked`, `ended`, or `void` where the giver's key counts no more.
    """

    delegation: str
    giver: str
    delegate: str
    scope: str
    since: datetime
    until: datetime
    reason: str
    state: str
    revoked: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A delegation about to be signed by `signer`."""

    statement: DelegationStatement
    signer: Signer

    @property
    def text(self) -> str:
        """Everything that is signed, as lines of plain text."""
        return signed_in_words(self.statement)


class Delegations:
    """The delegations in the instance's own chain."""

    def __init__(self, instance: Instance, environ: Mapping[str, str]) -> None:
        self._instance = instance
        self._world = instance.parts.world
        self._authority = instance.parts.authority
        self._environ = environ

    def view(self) -> tuple[DelegationView, ...]:
        """Return every delegation ever given, newest first."""
        now, given = self._given()
        return tuple(_view(one, self._authority.enrolments(), now) for one in reversed(given))

    def _given(self) -> tuple[datetime, tuple[Given, ...]]:
        """Return what is given by now, which is never before what was recorded last."""
        chain = self._authority.trust_records()
        now = max(self._world.clock.now(), *(one.record.at for one in chain[-1:]))
        return now, delegations(chain, now)

    def prepare(
        self, to: str, *, until: str, scope: Sequence[str], reason: str, key: Path | None, agent: bool
    ) -> Prepared:
        """Return what the holder of the key would sign to give `to` their vote until the moment `until`.

        Raises:
            DelegationRefused: `to` could not vote, or it cannot be given like that.
            ExpiryRefused: `until` is no moment to come.
            ApproverUnknown, IdentityRefused: there is no key to sign with.
        """
        signer, giver = self._who(key, agent)
        moment = self._instance.moment(until)
        self._require_delegate(to)
        statement = delegation_statement(
            instance=self._authority.instance,
            giver=giver,
            delegate=to,
            scope=read_scope(scope),
            nonce=self._world.ids.nonce(),
            now=self._world.clock.now(),
            until=moment,
            reason=reason,
        )
        return Prepared(statement=statement, signer=signer)

    async def give(self, prepared: Prepared) -> DelegationView:
        """Sign and record the delegation."""
        return await self._record(prepared.signer, prepared.statement)

    async def revoke(self, name: str, *, reason: str, key: Path | None, agent: bool) -> DelegationView:
        """Take a delegation back, at once, with a key of the person who gave it.

        Raises:
            DelegationRefused: none that stands is called `name`, or another person gave it.
        """
        signer, giver = self._who(key, agent)
        start = f"sha256:{name.removeprefix('sha256:')}"
        standing = (one for one in self._given()[1] if one.revoked is None)
        found = [one for one in standing if one.sealed.digest.startswith(start)]
        if len(found) != 1:
            raise DelegationRefused(
                f"`{name:.80}` names no one delegation that stands",
                next_steps=("rexecop delegate list",),
                found=name[:80],
            )
        said = found[0].record.statement
        if said.giver.person != giver.person:
            raise DelegationRefused(
                f"`{said.giver.person}` gave it, and nobody else takes it back",
                next_steps=(f"rexecop keys revoke {said.giver.credential}",),
                person=giver.person,
            )
        require_reason(reason)
        back = DelegationStatement(
            instance=said.instance,
            giver=giver,
            delegate=said.delegate,
            until=said.until,
            nonce=self._world.ids.nonce(),
            reason=reason,
            withdraws=found[0].sealed.digest,
        )
        return await self._record(signer, back)

    async def _record(self, signer: Signer, statement: DelegationStatement) -> DelegationView:
        session = Session.load(self._world.store, self._world.clock, self._authority.instance)
        signature = sign(signer, DELEGATION_NAMESPACE, encode(statement))
        sealed = session.add(Delegation, statement.giver, statement=statement, signature=signature)
        session.attached.claims.append(Claim(space="delegation", key=statement.nonce))
        await session.flush()
        about = statement.withdraws or sealed.digest
        return next(view for view in self.view() if view.delegation == about)

    def _who(self, key: Path | None, agent: bool) -> tuple[Signer, Principal]:
        signer = signer_of(key, agent, self._environ, self._authority.approver_keys())
        giver = approver_of(signer, self._authority.enrolments())
        if not self._stands(giver.person, giver.credential):
            raise DelegationRefused(
                f"key `{giver.credential}` of `{giver.person}` is no approver's key that stands",
                next_steps=("rexecop keys list",),
                person=giver.person,
            )
        return signer, giver

    def _require_delegate(self, to: str) -> None:
        policy = self._authority.policy()
        kind, shown = policy.entities.type_of(to), f"`{to:.64}`"
        trust = f"rexecop keys trust FILE.pub --person {to:.64} --role approver"
        for words, wrong, step in (
            (f"no policy pack knows {shown} as a person", kind is None, "rexecop policy check"),
            (f"{shown} is no person; only people approve", kind != "User", "rexecop policy check"),
            (f"{shown} is in no group", not groups_of(to, policy.groups()), "rexecop policy check"),
            (f"{shown} has no approver's key that stands", not self._stands(to), trust),
        ):
            if wrong:
                raise DelegationRefused(words, next_steps=(step,), person=to[:64])

    def _stands(self, person: str, fingerprint: str | None = None) -> bool:
        now = self._world.clock.now()
        return any(
            one.role is Role.APPROVER and one.person == person and one.valid_at(now)
            for one in self._authority.enrolments()
            if fingerprint in (None, one.fingerprint)
        )


def _view(given: Given, enrolled: Sequence[Enrolment], now: datetime) -> DelegationView:
    record, said = given.record, given.record.statement
    counts = any(
        one.role is Role.APPROVER and one.valid_at(now) and one.valid_at(record.at)
        for one in enrolled
        if (one.person, one.fingerprint) == (said.giver.person, said.giver.credential)
    )
    state = "ended" if now >= said.until else "standing" if counts else "void"
    return DelegationView(
        delegation=given.sealed.digest,
        giver=said.giver.person,
        delegate=said.delegate,
        scope=scope_in_words(said),
        since=record.at,
        until=said.until,
        reason=said.reason,
        state="revoked" if given.revoked is not None else state,
        revoked=given.revoked,
    )
