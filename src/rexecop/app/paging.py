"""Operations page by page, as far as they are somebody's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rexecop.app.door import Matter
from rexecop.app.instance import Instance
from rexecop.app.reading import operation_line
from rexecop.app.views import OperationLine
from rexecop.operations.machine import TERMINAL
from rexecop.operations.ports import Row
from rexecop.proof.canonical import Digest

LOOKED_AT_MAX: Final = 2_000  # Rows one page looks through where most are somebody else's: some 30 ms.
CHUNK: Final = 200

May = Callable[[Matter], bool]
"""Whether something is the caller's business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationsPage:
    """Operations, newest first; `next` is the cursor of the next page, None where there is none."""

    operations: tuple[OperationLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """An operation at one glance: what it is about, its newest record, and whether it is over."""

    matter: Matter
    head: Digest
    over: bool


def glance(instance: Instance, operation: str) -> Glance:
    """Return the operation of that id at a glance, which costs a tenth of all that is to be said of it.

    Raises:
        OperationUnknown: there is none.
    """
    row = instance.parts.world.store.row(operation)[1]
    return Glance(matter=_of(row), head=row.head, over=row.state in TERMINAL)


def _of(row: Row) -> Matter:
    return Matter(intent=f"{row.profile}/{row.intent}", target=row.target, environment=row.environment)


def page(instance: Instance, *, state: str | None, before: int, limit: int, may: May) -> OperationsPage:
    """Return at most `limit` operations below number `before` (0: all) that `may` be seen.

    So many rows are looked through for one page; it may hold few or none and still have a next one.
    """
    store, found, looked = instance.parts.world.store, list[OperationLine](), 0
    while looked < LOOKED_AT_MAX:
        rows = store.rows(state=state, after=before, limit=min(CHUNK, limit + 1))
        for number, row in rows:
            if may(_of(row)):
                if len(found) == limit:
                    return OperationsPage(operations=tuple(found), next=str(before))
                found.append(operation_line(number, row))
            before, looked = number, looked + 1
        if len(rows) < min(CHUNK, limit + 1):
            return OperationsPage(operations=tuple(found), next=None)
    return OperationsPage(operations=tuple(found), next=str(before))
