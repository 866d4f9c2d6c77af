"""Operations page by page, as far as they are somebody's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from rexecop.app.door import Matter
from rexecop.app.instance import Instance
from rexecop.app.reading import LINES_MAX, operation_line
from rexecop.app.views import OperationLine
from rexecop.operations.machine import TERMINAL
from rexecop.operations.ports import Row
from rexecop.proof.canonical import Digest

LOOKED_AT_MAX: Final = 3_000  # Rows one page looks through where few are meant: some 60 ms.
CHUNK: Final = 200
SEARCHED: Final = 500  # Rows read at one time where most are somebody else's, or not what is looked for.

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
    return Glance(matter=matter_of(row), head=row.head, over=row.state in TERMINAL)


@lru_cache(LINES_MAX)
def matter_of(row: Row) -> Matter:
    """Return what an act on the operation of `row` is about."""
    return Matter(intent=f"{row.profile}/{row.intent}", target=row.target, environment=row.environment)


def page(
    instance: Instance, may: May, *, limit: int, state: str | None = None, words: str = "", before: int = 0
) -> OperationsPage:
    """Return at most `limit` operations below number `before` (0: all) that `may` be seen.

    They are in `state`, where one is named, and have all of `words`. So many rows are looked through for one
    page; it may hold few or none and still have a next one.
    """
    store, found, looked = instance.parts.world.store, list[OperationLine](), 0
    wanted, may = words.lower().split(), cache(may)  # Most rows of a page are about the same few things.
    # Where nothing is left out the first rows are those.
    chunk = SEARCHED if wanted else min(CHUNK, limit + 1)
    while looked < LOOKED_AT_MAX:
        rows = store.rows(state=state, after=before, limit=chunk)
        for number, row in rows:
            if _says(row, wanted) and may(matter_of(row)):
                if len(found) == limit:
                    return OperationsPage(operations=tuple(found), next=str(before))
                found.append(operation_line(number, row))
            before, looked = number, looked + 1
        if len(rows) < chunk:
            return OperationsPage(operations=tuple(found), next=None)
        chunk = SEARCHED
    return OperationsPage(operations=tuple(found), next=str(before))


def _says(row: Row, wanted: list[str]) -> bool:
    if not wanted:
        return True
    said = f"{row.operation} {row.profile}/{row.intent} {row.target} {row.requester} {row.mode} {row.state}"
    return all(word in said.lower() for word in wanted)
