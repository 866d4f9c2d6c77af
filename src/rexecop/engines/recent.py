"""How often before: other operations that changed something lately, counted alike at every gate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rexecop.governance.admission import Policy
from rexecop.operations.ports import Row, Store
from rexecop.proof.records.decision import PolicyRequest, Recent
from rexecop.proof.request import parts_of

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
CHANGES_MAX: Final = 10_000  # Changes looked at; an instance that makes more in a day counts its newest.


def counted(policy: Policy, store: Store, operation: str, request: PolicyRequest) -> PolicyRequest:
    """Return `request` with what was done before it, where a pack in force asks about that.

    Each intent that it calls has counts of its own.
    """
    if not policy.counts:
        return replace(
            request, recent=None, called=tuple(replace(one, recent=None) for one in request.called)
        )
    changes = store.changed_since(request.now - DAY, CHANGES_MAX)
    others = [(target, row) for target, row in changes if row.operation != operation]
    whole, *called = (_counts(part, others) for part in parts_of(request))
    within = (replace(one, recent=recent) for one, recent in zip(request.called, called, strict=True))
    return replace(request, recent=whole, called=tuple(within))


def _counts(request: PolicyRequest, others: Sequence[tuple[str, Row]]) -> Recent:
    targets = {target.id for target in request.targets}
    what = (request.profile, request.intent)
    intent = [(target, row) for target, row in others if (row.profile, row.intent) == what]
    there = [(target, row) for target, row in others if target in targets]
    same = [(target, row) for target, row in intent if target in targets]
    mine = [(target, row) for target, row in others if row.requester == request.principal.person]

    def since(rows: Iterable[tuple[str, Row]], ago: timedelta) -> int:
        return len({row.operation for _, row in rows if row.updated >= request.now - ago})

    return Recent(
        same_hour=since(same, HOUR),
        same_day=since(same, DAY),
        intent_hour=since(intent, HOUR),
        intent_day=since(intent, DAY),
        target_hour=since(there, HOUR),
        target_day=since(there, DAY),
        principal_hour=since(mine, HOUR),
        principal_day=since(mine, DAY),
    )
