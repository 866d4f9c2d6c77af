"""`ticket/1`: the right to run one plan once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.records.intent import Intent
from rexecop.proof.vocabulary import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """The `n`-th use, from 1, of what `subject` may do in `scope`."""

    scope: str
    subject: str
    n: int


def budget_subject(intent: Intent, scope: str) -> str | None:
    """Return who or what a budget of `scope` counts for `intent`; None where it counts nobody."""
    if scope == "intent":
        return f"{intent.profile.name}/{intent.intent}"
    counts = scope == "principal" or (scope == "agent" and intent.sponsor is not None)
    return intent.by.person if counts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket(Record):
    """Leave to run `plan` once, in `mode`, on the terms decided and approved.

    `scope` is the Merkle root over (target, step, template digest) of the work,
    `undo_scope` of its compensations. `packs` names the policy in force when the
    same terms were found again at minting. `uses` are what it takes of budgets.
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
    uses: tuple[BudgetUse, ...] = ()
