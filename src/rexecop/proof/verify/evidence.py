"""A bundle opened for verification: its records, by what they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from rexecop.proof.bundle import BundleContents
from rexecop.proof.canonical import Digest, Json, parse_json
from rexecop.proof.chain import Sealed
from rexecop.proof.checkpoint import Checkpoint
from rexecop.proof.errors import ProofError
from rexecop.proof.note import Note
from rexecop.proof.quorum import Groups, ProvedBy
from rexecop.proof.records import Record
from rexecop.proof.records.decision import Decision, Terms
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import CallStep, Plan, Step
from rexecop.proof.trust import Enrolment
from rexecop.proof.verify.report import Finding, NotChecked
from rexecop.proof.verify.trusted import TrustedKeys

PACK_ROLE = "policy-pack"
PACK_KIND = "policy-pack/1"

R = TypeVar("R", bound=Record)

Evaluate = Callable[[Decision, Mapping[Digest, bytes]], Terms]
"""Decides a recorded request again, under the packs given by digest; raises RexecopError if it cannot."""

Members = Callable[[Mapping[Digest, bytes]], Groups]
"""Reads who is in which group from policy packs given by digest; raises RexecopError if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the steps look at. `note` and `checkpoint` are None when the checkpoint cannot be read."""

    contents: BundleContents
    records: tuple[Sealed, ...]
    instance: tuple[Sealed, ...]
    enrolments: tuple[Enrolment, ...]
    note: Note | None
    checkpoint: Checkpoint | None
    trust: TrustedKeys
    earlier: bytes | None
    now: datetime | None
    evaluate: Evaluate | None
    members: Members | None

    def of(self, kind: type[R]) -> list[tuple[Sealed, R]]:
        """Return the operation's records of `kind` in order, each with its digest."""
        return [(sealed, sealed.record) for sealed in self.records if isinstance(sealed.record, kind)]

    def first(self, kind: type[R]) -> tuple[Sealed, R] | None:
        """Return the operation's first record of `kind`."""
        return next(iter(self.of(kind)), None)

    def inputs(self, role: str) -> dict[Digest, bytes]:
        """Return the included inputs of `role`."""
        return {item.digest: item.data for item in self.contents.inputs if item.role == role}

    @property
    def plan(self) -> Plan | None:
        """The plan, if there is one."""
        found = self.first(Plan)
        return found[1] if found else None

    @property
    def intent(self) -> Intent | None:
        """The intent, if there is one."""
        found = self.first(Intent)
        return found[1] if found else None


@dataclass(slots=True)
class Notes:
    """What steps add up beside their findings."""

    findings: list[Finding] = field(default_factory=list)
    not_checked: list[NotChecked] = field(default_factory=list)
    receipts_signed: bool = False
    signer: str | None = None
    witnesses: tuple[str, ...] = ()
    counted: set[Digest] = field(default_factory=set)
    approvals_own: set[Digest] = field(default_factory=set)
    duties: ProvedBy | None = None
    intent_proved: bool = False

    def fault(self, code: str, message: str, record: Sealed | None = None) -> None:
        """Note that something is wrong."""
        self.findings.append(Finding(code=code, message=message, record=record.digest if record else None))

    def skip(self, what: str, why: str) -> None:
        """Note that something was not checked."""
        entry = NotChecked(what=what, why=why)
        if entry not in self.not_checked:
            self.not_checked.append(entry)


def place(sealed: Sealed) -> str:
    """Return how messages name a record."""
    return f"record {sealed.record.n} (`{sealed.record.kind}`)"


def steps_by_key(plan: Plan) -> dict[tuple[str, str], Step]:
    """Return the plan's steps by target and id."""
    return {(step.target, step.id): step for step in plan.steps}


def call_steps(plan: Plan) -> list[CallStep]:
    """Return the steps that make calls."""
    return [step for step in plan.steps if isinstance(step, CallStep)]


def pack_groups(packs: Sequence[bytes]) -> Groups | None:
    """Return the groups that the included policy packs name together; None if one cannot be read.

    A pack is canonical JSON `{"kind": "policy-pack/1", "groups": {GROUP: [PERSON]}, ...}`.
    """
    found: dict[str, set[str]] = {}
    for data in packs:
        try:
            value: Json = parse_json(data, bytes_max=len(data))
        except ProofError:
            return None
        groups = value.get("groups") if isinstance(value, dict) and value.get("kind") == PACK_KIND else None
        if not isinstance(groups, dict):
            return None
        for group, persons in groups.items():
            if not isinstance(persons, list) or not all(isinstance(person, str) for person in persons):
                return None
            found.setdefault(group, set()).update(str(person) for person in persons)
    return {group: frozenset(persons) for group, persons in found.items()}
