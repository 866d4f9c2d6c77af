"""What may go by its age and breaks no proof: outputs of operations that ended, and keys that were used."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

from rexecop.operations.errors import AppendConflict
from rexecop.operations.ports import REVIEW_BY
from rexecop.proof.canonical import Digest
from rexecop.store.apply import Applier
from rexecop.store.database import Connection, Readers, Value
from rexecop.store.errors import StoreDamaged
from rexecop.store.packing import (
    pack_digest,
    pack_operation,
    pack_time,
    unpack_body,
    unpack_digest,
    unpack_operation,
)
from rexecop.store.prepare import Prepared
from rexecop.store.reading import count_in
from rexecop.store.writer import Writer

PAGE_OPERATIONS: Final = 200
IDEMPOTENCY: Final = "idempotency"

_NAMED: Final = re.compile(rb'"commitment":"(sha256:[0-9a-f]{64})"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """What `operation`, which ended long ago, kept: outputs, and how many bytes of them."""

    operation: str
    outputs: tuple[Digest, ...]
    bytes: int


def place_outputs(readers: Readers, writing: Callable[[], Writer]) -> None:
    """Find out which operation put out what was kept before the ledger noted that."""
    after = -(2**63)
    while True:
        with readers.borrow() as connection:
            if connection.execute("SELECT 1 FROM blobs WHERE op IS NULL LIMIT 1").fetchone() is None:
                return
            page = connection.execute(
                "SELECT number FROM operations WHERE number>? ORDER BY number LIMIT ?",
                (after, PAGE_OPERATIONS),
            )
            numbers = [int(number) for (number,) in page]
            found = [(number, key) for number in numbers for key in _kept_by(connection, number)]
        if not numbers:
            return
        after = numbers[-1]
        if found:
            writing().run(partial(_place, found))


def _place(found: Sequence[tuple[int, bytes]], applier: Applier) -> None:
    sql = "UPDATE blobs SET op=? WHERE commitment=? AND op IS NULL"
    applier.connection.executemany(sql, found)


def _kept_by(connection: Connection, number: int) -> Iterator[bytes]:
    for (body,) in connection.execute("SELECT body FROM records WHERE op=? ORDER BY n", (number,)):
        with suppress(StoreDamaged):  # What it named is not known, and stays.
            yield from (pack_digest(Digest(one.decode())) for one in _NAMED.findall(unpack_body(body)))


def aged_outputs(readers: Readers, before: datetime, states: Collection[str]) -> Iterator[Aged]:
    """Yield the operations that keep outputs and are in one of `states` since before `before`."""
    ended, values = _ended(before, states)
    after = 0
    while True:
        with readers.borrow() as connection:
            page = list(
                connection.execute(
                    f"SELECT number, id FROM operations WHERE number>? AND {ended}"
                    " AND EXISTS(SELECT 1 FROM blobs WHERE op=operations.number) ORDER BY number LIMIT ?",
                    (after, *values, PAGE_OPERATIONS),
                )
            )
            kept = {
                number: list(
                    connection.execute(
                        "SELECT commitment, kept FROM blobs WHERE op=? ORDER BY number", (number,)
                    )
                )
                for number, _ in page
            }
        if not page:
            return
        after = int(page[-1][0])
        for number, key in page:
            outputs = tuple(unpack_digest(commitment) for commitment, _ in kept[number])
            size = sum(int(size) for _, size in kept[number])
            yield Aged(operation=unpack_operation(key), outputs=outputs, bytes=size)


def erase_aged(
    applier: Applier, record: Prepared | None, ended: Mapping[str, int], outputs: Sequence[Digest]
) -> None:
    """Erase `outputs` of operations that still have as many records as `ended` says; `record` says so.

    Raises:
        AppendConflict: one has others, or the instance's chain has; nothing was erased.
    """
    for operation, count in sorted(ended.items()):
        applier.hold(pack_operation(operation))
        if count_in(applier.connection, operation) != count:
            raise AppendConflict(f"`{operation}` went on meanwhile", operation=operation)
    if record is not None:
        applier.append(record)
    for commitment in outputs:
        applier.erase(commitment)


def count_keys(connection: Connection, before: datetime, states: Collection[str]) -> int:
    """Return how many idempotency keys are of operations in one of `states` since before `before`."""
    where, values = _of_keys(before, states)
    row = connection.execute(f"SELECT count(*) FROM claims WHERE {where}", values).fetchone()
    return 0 if row is None else int(row[0])


def forget_keys(applier: Applier, before: datetime, states: Collection[str]) -> None:
    """Forget these keys: whoever uses one again asks for something new."""
    where, values = _of_keys(before, states)
    applier.connection.execute(f"DELETE FROM claims WHERE {where}", values)


def _of_keys(before: datetime, states: Collection[str]) -> tuple[str, tuple[Value, ...]]:
    ended, values = _ended(before, states)
    return f"space=? AND op IN (SELECT number FROM operations WHERE {ended})", (IDEMPOTENCY, *values)


def _ended(before: datetime, states: Collection[str]) -> tuple[str, tuple[Value, ...]]:
    """Return the condition for operations that ended before `before` and are done with, and its values."""
    # What holds a lock or waits for a review is looked at again.
    condition = (
        f"updated<? AND state IN ({','.join('?' * len(states))}) AND substr(coalesce(waiting, ''),1,?)<>?"
        " AND NOT EXISTS(SELECT 1 FROM locks WHERE locks.op=operations.number)"
    )
    return condition, (pack_time(before), *states, len(REVIEW_BY), REVIEW_BY)
