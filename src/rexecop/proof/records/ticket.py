"""`ticket/1`: the right to run one plan once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.vocabulary import Mode


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """The `n`-th use, from 1, of what `subject` may do in `scope`."""

    scope: str
    subject: str
    n: int


def budget_subjects(intent: Intent, plan: Plan, scope: str) -> tuple[str, ...]:
    """Return whom or what a budget of `scope` counts for `plan`: each intent that it calls as well."""
    if scope == "intent":
        names = dict.fromkeys((intent.intent, *(one.intent for one in plan.called)))
        return tuple(f"{intent.profile.name}/{name}" for name in names)
    counts = scope == "principal" or (scope == "agent" and intent.sponsor is not None)
    return (intent.by.person,) if counts else ()


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
