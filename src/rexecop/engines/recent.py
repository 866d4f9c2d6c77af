"""How often before: other operations that changed something lately, counted alike at every gate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Final

from rexecop.governance.admission import Policy
from rexecop.operations.ports import Row, Store
from rexecop.proof.records.decision import PolicyRequest, Recent

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
CHANGES_MAX: Final = 10_000  # Changes looked at; an instance that makes more in a day counts its newest.


def counted(policy: Policy, store: Store, operation: str, request: PolicyRequest) -> PolicyRequest:
    """Return `request` with what was done before it, where a pack in force asks about that."""
    if not policy.counts:
        return request if request.recent is None else replace(request, recent=None)
    changes = store.changed_since(request.now - DAY, CHANGES_MAX)
    others = [(target, row) for target, row in changes if row.operation != operation]
    targets = {target.id for target in request.targets}
    what = (request.profile, request.intent)
    intent = [(target, row) for target, row in others if (row.profile, row.intent) == what]
    there = [(target, row) for target, row in others if target in targets]
    same = [(target, row) for target, row in intent if target in targets]
    mine = [(target, row) for target, row in others if row.requester == request.principal.person]

    def since(rows: Iterable[tuple[str, Row]], ago: timedelta) -> int:
        return len({row.operation for _, row in rows if row.updated >= request.now - ago})

    recent = Recent(
        same_hour=since(same, HOUR),
        same_day=since(same, DAY),
        intent_hour=since(intent, HOUR),
        intent_day=since(intent, DAY),
        target_hour=since(there, HOUR),
        target_day=since(there, DAY),
        principal_hour=since(mine, HOUR),
        principal_day=since(mine, DAY),
    )
    return replace(request, recent=recent)
