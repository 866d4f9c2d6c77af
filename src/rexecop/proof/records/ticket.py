"""`ticket/1`: the right to run one plan once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket(Record):
    """Leave to run `plan` once, in `mode`, on the terms decided and approved.

    `scope` is the Merkle root over (target, step, template digest) of the work,
    `undo_scope` of its compensations. `packs` names the policy in force when the
    same terms were found again at minting.
    """

    kind: ClassVar[str] = "ticket/1"

    plan: Digest
    decision: Digest
    terms: Digest
    approvals: tuple[Digest, ...]
    mode: Mode
    scope: Digest
    undo_scope: Digest | None
    packs: tuple[Digest, ...]
    not_before: datetime
    expires: datetime
