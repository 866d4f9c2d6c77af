"""Index rows as they are stored: one per operation."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from rexecop.operations.ports import Lease, Row
from rexecop.proof.merkle import HASH_BYTES
from rexecop.store.database import Connection
from rexecop.store.errors import StoreDamaged
from rexecop.store.packing import pack_digest, pack_time, unpack_digest, unpack_operation, unpack_time
from rexecop.store.schema import UNDER_WAY

ROWS_MAX: Final = 1000  # One page of a listing.
READ_MAX: Final = 4096  # Rows of the newest pages, some 4 MB: what is listed again says mostly the same.

_ROW: Final = """
SELECT number, id, state, intent, profile, environment, target, mode, requester,
  created, updated, records, head, waiting FROM operations
"""

NEWEST_CHANGES: Final = """
SELECT changes.target, records.op FROM changes JOIN records ON records.leaf=changes.leaf
ORDER BY changes.leaf DESC LIMIT ?
"""


TALLIES: Final = """
SELECT state, mode, profile, intent, count(*), min(updated) FROM operations
WHERE number>0 AND state IS NOT NULL GROUP BY state, mode, profile, intent ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many operations of one intent and mode are in one state, and when the oldest last changed."""

    state: str
    mode: str
    profile: str
    intent: str
    count: int
    oldest: datetime


def tallies_in(connection: Connection) -> Sequence[Tally]:
    """Return how many operations there are of each kind, in order: one pass over the index."""
    found: list[Tally] = []
    for state, mode, profile, intent, count, oldest in connection.execute(TALLIES):
        with suppress(StoreDamaged):  # One that is damaged hides no other.
            names = {"state": str(state), "mode": str(mode), "profile": str(profile), "intent": str(intent)}
            found.append(Tally(**names, count=_int(count), oldest=unpack_time(_int(oldest))))
    return found


def rows_in(
    connection: Connection, *, state: str | None, waiting: str, after: int, limit: int
) -> Sequence[tuple[int, Row]]:
    """Return (short number, row), newest first, as far as what is given narrows them down."""
    wanted = "state=?" if state is not None else "state IS NOT NULL"
    if state is not None and f"'{state}'" in UNDER_WAY:
        wanted += f" AND {UNDER_WAY}"  # Said again, so that the index of those few is looked at.
    below = "AND number<?" if after > 0 else ""
    below += " AND substr(waiting,1,?)=?" if waiting else ""
    values: list[str | int] = [*([state] if state is not None else []), *([after] if after > 0 else [])]
    values += [len(waiting), waiting] if waiting else []
    found = connection.execute(
        f"{_ROW} WHERE number>0 AND {wanted} {below} ORDER BY number DESC LIMIT ?",
        (*values, max(0, min(limit, ROWS_MAX))),
    )
    return tuple((row[0], _row(row)) for row in found)  # It may be lent to several who look.


def changed_in(connection: Connection, moment: datetime, limit: int) -> Sequence[tuple[str, Row]]:
    """Return (target, row of the operation) of the newest changes that may be of `moment` or later."""
    found: list[tuple[str, Row]] = []
    for target, number in list(connection.execute(NEWEST_CHANGES, (limit,))):
        row = row_in(connection, number)
        # Older ones lie before it in the log, so their attempts are older still.
        if row is not None and row.updated < moment:
            break
        if row is not None:
            found.append((str(target), row))
    return found


def under_way_in(connection: Connection) -> Sequence[tuple[int, Row, Lease | None]]:
    """Return number, row and lease of every operation that began and has not ended, oldest first."""
    found = connection.execute(
        f"{_ROW.replace('FROM', ', runner, fence, expires FROM')} LEFT JOIN leases ON op=number"
        f" WHERE {UNDER_WAY} ORDER BY number"
    )
    rows: list[tuple[int, Row, Lease | None]] = []
    for row in found:
        with suppress(StoreDamaged):  # One that is damaged hides no other.
            rows.append((row[0], here := _row(row[:14]), lease_of(here.operation, row[14:])))
    return rows


def lease_of(operation: str, row: tuple[object, ...] | None) -> Lease | None:
    """Return the lease of `operation` that `row` (runner, fence, expires) is; None without a runner."""
    if row is None or row[0] is None:
        return None
    ends = unpack_time(_int(row[2]))
    return Lease(operation=operation, runner=str(row[0]), fence=_int(row[1]), expires=ends)


def row_in(connection: Connection, number: int) -> Row | None:
    """Return the index row of the operation with `number`, or None where it has none that can be read."""
    row = connection.execute(f"{_ROW} WHERE number=?", (number,)).fetchone()
    try:
        return None if row is None or row[2] is None else _row(row)
    except StoreDamaged:
        return None


def save_row(connection: Connection, number: int, row: Row) -> None:
    """Make `row` the index row of the operation with `number`."""
    connection.execute(
        "UPDATE operations SET state=?, intent=?, profile=?, environment=?, target=?, mode=?, requester=?,"
        " created=?, updated=?, records=?, head=?, waiting=? WHERE number=?",
        (*columns(row), number),
    )


def columns(row: Row) -> tuple[str | int | bytes, ...]:
    """Return `row` as it is stored."""
    texts = (row.state, row.intent, row.profile, row.environment, row.target, row.mode, row.requester)
    times = (pack_time(row.created), pack_time(row.updated))
    return (*texts, *times, row.records, pack_digest(row.head), row.waiting)


@lru_cache(READ_MAX)  # By all that is stored of it, so a row that changed is another.
def _row(row: tuple[object, ...]) -> Row:
    _, key, *texts, created, updated, records, head, waiting = row
    if not (isinstance(key, bytes | str) and isinstance(head, bytes) and len(head) == HASH_BYTES):
        raise StoreDamaged("an index row is damaged; `rexecop doctor` rebuilds it")
    state, intent, profile, environment, target, mode, requester = map(str, texts)
    return Row(
        operation=unpack_operation(key),
        state=state,
        intent=intent,
        profile=profile,
        environment=environment,
        target=target,
        mode=mode,
        requester=requester,
        created=unpack_time(_int(created)),
        updated=unpack_time(_int(updated)),
        records=_int(records),
        head=unpack_digest(head),
        waiting=str(waiting),
    )


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0
