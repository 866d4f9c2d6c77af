"""Drills of an instance: asked of a group, answered by its members with their own keys, reported."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rexecop.app.approver import approver_of, signer_of
from rexecop.app.authority import RootAuthority
from rexecop.app.errors import DrillRefused, GroupEmpty
from rexecop.app.instance import Instance
from rexecop.governance.drills import (
    ANSWER_TOPIC,
    DRILL_NAMESPACE,
    DRILL_TOPIC,
    Drill,
    DrillAnswer,
    DrillCall,
    DrillStatement,
    Member,
    drills,
)
from rexecop.proof.codec import encode
from rexecop.proof.principal import Principal
from rexecop.proof.signer import Signer
from rexecop.proof.sshsig import sign
from rexecop.proof.vocabulary import Role

__all__ = ["Drill", "Drills", "Member"]

REASON_LENGTH_MAX: Final = 1000  # A line for those who are asked.


class Drills:
    """The drills in the instance's own chain."""

    def __init__(self, instance: Instance, environ: Mapping[str, str]) -> None:
        self._instance = instance
        self._authority = instance.parts.authority
        self._keyring = instance.parts.keyring
        self._environ = environ

    def view(self) -> tuple[Drill, ...]:
        """Return every drill ever asked, newest first."""
        now = self._instance.parts.world.clock.now()
        return drills(self._authority.trust_records(), self._authority.enrolments(), now)[::-1]

    def named(self, name: str) -> Drill:
        """Return the drill whose digest is `name`, or begins with it, `sha256:` or not.

        Raises:
            DrillRefused: no one drill has that name.
        """
        start = f"sha256:{name.removeprefix('sha256:')}"
        found = [one for one in self.view() if one.drill.startswith(start)]
        if len(found) != 1:
            steps = ("rexecop approve drill list",)
            raise DrillRefused(f"`{name:.80}` names no one drill", next_steps=steps, found=name[:80])
        return found[0]

    async def begin(self, group: str, reason: str | None) -> Drill:
        """Ask everybody in `group`; it is recorded who that is.

        Raises:
            GroupEmpty: see `people_of`. DrillRefused: the reason says nothing, or is a document.
        """
        members = people_of(self._authority, group)
        if reason is not None and not 0 < len(reason.strip()) <= REASON_LENGTH_MAX:
            raise DrillRefused(f"the reason is recorded: 1 to {REASON_LENGTH_MAX} letters")
        call = DrillCall(group=group, members=members, reason=reason)
        by = self._instance.identity().principal
        await self._keyring.note(DRILL_TOPIC, encode(call).decode(), by)
        return self.view()[0]

    def asked(self, name: str | None, *, key: Path | None, agent: bool) -> tuple[DrillStatement, Signer]:
        """Return what the holder of the key would sign: for `name`, or the newest drill that waits for them.

        Raises:
            DrillRefused: none waits for them. ApproverUnknown, IdentityRefused: there is no key to sign with.
        """
        signer = signer_of(key, agent, self._environ, self._authority.approver_keys())
        approver = approver_of(signer, self._authority.enrolments())
        found = self.view() if name is None else (self.named(name),)
        waiting = next((one for one in found if one.waits_for(approver.person)), None)
        now, key_of = self._instance.parts.world.clock.now(), f"key `{approver.credential}`"
        keys = (one for one in self._authority.enrolments() if one.fingerprint == approver.credential)
        if not any(one.role is Role.APPROVER and one.valid_at(now) for one in keys):
            raise _refused(f"{key_of} of `{approver.person}` is no approver's key that stands", approver)
        if waiting is None:
            raise _refused(f"no open drill waits for an answer of `{approver.person}`", approver)
        statement = DrillStatement(
            instance=self._authority.instance, drill=waiting.drill, group=waiting.group, approver=approver
        )
        return statement, signer

    async def answer(self, statement: DrillStatement, signer: Signer) -> Drill:
        """Sign and record the answer; return the drill as it is then."""
        signature = sign(signer, DRILL_NAMESPACE, encode(statement))
        answer = DrillAnswer(statement=statement, signature=signature)
        await self._keyring.note(ANSWER_TOPIC, encode(answer).decode(), statement.approver)
        return self.named(statement.drill)


def people_of(authority: RootAuthority, group: str) -> tuple[str, ...]:
    """Return who is in `group` by the packs in force.

    Raises:
        GroupEmpty: nobody is, or there is no such group.
    """
    groups = authority.policy().groups()
    if found := groups.get(group):
        return tuple(sorted(found))
    some = ", ".join(f"`{name}`" for name, people in groups.items() if people) or "none"
    raise GroupEmpty(
        f"nobody is in group `{group:.80}`; groups with people in the packs: {some}",
        next_steps=("rexecop policy check",),
        found=group[:80],
        allowed=some,
    )


def _refused(what: str, approver: Principal) -> DrillRefused:
    steps = ("rexecop approve drill list", "rexecop keys list")
    return DrillRefused(what, next_steps=steps, person=approver.person)
