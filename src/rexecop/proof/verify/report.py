"""What a verification found: a ladder, claims, faults with codes, and what was not checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from rexecop.proof.canonical import Digest
from rexecop.proof.quorum import ProvedBy
from rexecop.proof.verify.codes import CODES
from rexecop.proof.vocabulary import State


class Rung(StrEnum):
    """How much stands behind the evidence; each rung includes the ones before it."""

    CONSISTENT = "consistent"
    SIGNED = "signed"
    LOGGED = "logged"
    WITNESSED = "witnessed"


RUNGS = tuple(Rung)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong: `code` is stable, `record` names where, if one record is to blame."""

    code: str
    message: str
    record: Digest | None = None

    @property
    def step(self) -> int:
        """The number of the step that found it."""
        return int(self.code[1:3])

    @property
    def meaning(self) -> str:
        """What the code stands for, whatever the case."""
        return CODES[self.code]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotChecked:
    """Something a reader might take for checked, and why it was not."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """That the log had this size and root `at` that time at the latest, says `authority`."""

    authority: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """That these are all changes of `target` (None: of any target) the instance recorded in a window.

    `start` (None: the beginning of the log) and `end` are when the heads at its ends were
    recorded; `ended` counts how the changes ended, `unknown` names those of which it is
    not known whether they happened.
    """

    target: str | None
    start: datetime | None
    end: datetime
    targets: int
    changes: int
    ended: Mapping[str, int]
    unknown: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """What the evidence shows beside the ladder.

    `approvals` count towards tickets, `approvals_own` of them by keys that this verifier
    itself trusts for approvers, `approvals_sponsor` by the sponsor of the agent that asked.
    Nobody signed `approvals_unsigned`: whose they are is the instance's word on an identity provider's.
    `approvals_for` are those who voted for another person, as `ben for ana`, each once.
    `duties` is None when no approval was needed or counted.
    `attestations` are how the targets of attempts were attested, each once.
    `instance_keys` are fingerprints the bundle names for its instance: a hint what to
    compare, never a reason to trust. `complete` is what a window is shown to hold all of.
    `signer_path` are fingerprints from a trusted key to the checkpoint's signer, one where
    it is trusted itself. `stamped` is what trusted time stamp authorities say of the
    checkpoint, oldest first.
    """

    approvals: int = 0
    approvals_own: int = 0
    approvals_sponsor: int = 0
    approvals_unsigned: int = 0
    approvals_for: tuple[str, ...] = ()
    duties: ProvedBy | None = None
    attestations: tuple[str, ...] = ()
    witnesses: tuple[str, ...] = ()
    instance_keys: tuple[str, ...] = ()
    complete: Completeness | None = None
    signer_path: tuple[str, ...] = ()
    stamped: tuple[Stamp, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationVerdict:
    """One operation of the bundle; `state` is None while it has no receipt."""

    operation: str
    state: State | None
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The verdict on one bundle.

    `rungs` are those reached, lowest first; `signer` is the key that signed the
    checkpoint, trusted or followed from one that is.
    """

    operations: tuple[OperationVerdict, ...]
    instance: str
    records: int
    log_size: int | None
    trusted: bool
    signer: str | None
    findings: tuple[Finding, ...]
    rungs: tuple[Rung, ...]
    claims: Claims
    not_checked: tuple[NotChecked, ...]

    @property
    def operation(self) -> str:
        """The operation the bundle is of; empty for a window, or when that cannot be read."""
        return self.operations[0].operation if len(self.operations) == 1 else ""

    @property
    def state(self) -> State | None:
        """The state of the operation the bundle is of; None for a window, or without a receipt."""
        return self.operations[0].state if len(self.operations) == 1 else None

    def holds(self, required: Rung) -> bool:
        """Return whether nothing is wrong and `required` is reached."""
        return not self.findings and required in self.rungs

    def answer(self, required: Rung = Rung.LOGGED) -> str:
        """Return the verdict in one line."""
        if self.findings:
            return f"refused: {self.findings[0].code} {self.findings[0].message}"
        if self.holds(required):
            return f"verified: {self.rungs[-1]}"
        if not self.trusted:
            return "not verified: no trusted key"
        reached = self.rungs[-1] if self.rungs else "nothing"
        return f"not verified: {reached} is reached, {required} is required"
