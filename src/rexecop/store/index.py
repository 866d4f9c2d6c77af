"""Comparing the index with the fold of the records, and building it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from typing import Final, TypeAlias

from rexecop.operations.ports import Journal, Row
from rexecop.proof.errors import RexecopError
from rexecop.store.apply import Applier
from rexecop.store.database import Readers
from rexecop.store.packing import pack_operation, unpack_operation
from rexecop.store.reading import OpenedRecords, journal_in
from rexecop.store.rows import row_in, save_row
from rexecop.store.writer import Writer

PAGE_OPERATIONS: Final = 200  # Rows rewritten in one transaction: others write in between.

Fold: TypeAlias = Callable[[Journal], Row]
"""Returns the index row that a journal yields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`field` of the index row of `operation` is `stored`, and the records say `folded`."""

    operation: str
    field: str
    stored: str
    folded: str


def compare_index(readers: Readers, fold: Fold, writer: Writer | None = None) -> tuple[Difference, ...]:
    """Return where the index differs from the fold; operations that cannot be folded are named too.

    With `writer`, every row that differs is replaced. A row whose records are damaged
    stays as it is: nothing better is known.
    """
    differences: list[Difference] = []
    for page in _pages(readers):
        wrong: list[tuple[int, Row]] = []
        for number, operation in page:
            row, found = _compare(readers, fold, number, operation)
            differences.extend(found)
            if row is not None and found:
                wrong.append((number, row))
        if wrong and writer is not None:
            writer.run(partial(_save, wrong))
    return tuple(differences)


def _pages(readers: Readers) -> Iterator[list[tuple[int, str]]]:
    """Yield (number, id) of all operations, oldest first."""
    after = 0
    while True:
        with readers.borrow() as connection:
            found = connection.execute(
                "SELECT number, id FROM operations WHERE number>? ORDER BY number LIMIT ?",
                (after, PAGE_OPERATIONS),
            )
            page = [(int(number), unpack_operation(key)) for number, key in found]
        if not page:
            return
        yield page
        after = page[-1][0]


def _save(rows: list[tuple[int, Row]], applier: Applier) -> None:
    for number, row in rows:
        applier.hold(pack_operation(row.operation))
        last = applier.connection.execute("SELECT max(n) FROM records WHERE op=?", (number,)).fetchone()
        # Whoever appended since it was folded has written a newer row.
        if last is not None and last[0] is not None and last[0] + 1 == row.records:
            save_row(applier.connection, number, row)


def _compare(
    readers: Readers, fold: Fold, number: int, operation: str
) -> tuple[Row | None, tuple[Difference, ...]]:
    """Return what the row should be, None where that is not known, and what differs."""
    with readers.borrow() as connection:
        # One moment for both: records that arrive in between are no difference.
        connection.execute("BEGIN")
        try:
            stored = row_in(connection, number)
            journal = journal_in(connection, operation, OpenedRecords())
        except RexecopError as error:
            return None, (_difference(operation, "records", "unreadable", error.message),)
        finally:
            connection.execute("COMMIT")
    if journal.damaged:
        first = journal.damaged[0]
        reason = f"record {first.n}: {first.reason}"
        return None, (_difference(operation, "records", "unreadable", reason),)
    try:
        folded = fold(journal)
    except RexecopError as error:
        return None, (_difference(operation, "records", "unreadable", error.message),)
    if stored is None:
        return folded, (_difference(operation, "row", "missing", folded.state),)
    return folded, tuple(
        _difference(operation, field.name, was, should)
        for field in fields(Row)
        if (was := getattr(stored, field.name)) != (should := getattr(folded, field.name))
    )


def _difference(operation: str, field: str, stored: object, folded: object) -> Difference:
    return Difference(operation=operation, field=field, stored=str(stored), folded=str(folded))
