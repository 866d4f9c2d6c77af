"""Comparing the index with the fold of the records, and building it anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Final, TypeAlias

import apsw

from rexecop.operations.ports import Journal, Row
from rexecop.proof.errors import RexecopError
from rexecop.store.errors import StoreDamaged
from rexecop.store.readers import Readers
from rexecop.store.reading import OpenedRecords, journal
from rexecop.store.rows import operations, row_of, save_row
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


@dataclass(frozen=True, slots=True)
class _Found:
    """An operation whose stored row is not what its records say; `row` is what belongs there."""

    number: int
    row: Row | None
    differences: tuple[Difference, ...]


def compare_index(readers: Readers, fold: Fold) -> tuple[Difference, ...]:
    """Return where the index differs from the fold; operations that cannot be folded are named too."""
    return tuple(difference for found in _walk(readers, fold) for difference in found.differences)


def rebuild_index(readers: Readers, writer: Writer, fold: Fold) -> tuple[Difference, ...]:
    """Replace every row that differs from the fold, and return what differed.

    A row whose records are damaged stays as it is: nothing better is known.
    """
    differences: list[Difference] = []
    page: list[tuple[int, Row]] = []

    def save() -> None:
        rows = tuple(page)
        writer.run(lambda applier: _save(applier.connection, rows))
        page.clear()

    for found in _walk(readers, fold):
        differences.extend(found.differences)
        if found.row is not None and found.differences:
            page.append((found.number, found.row))
        if len(page) == PAGE_OPERATIONS:
            save()
    if page:
        save()
    return tuple(differences)


def _save(connection: apsw.Connection, rows: tuple[tuple[int, Row], ...]) -> None:
    for number, row in rows:
        last = connection.execute("SELECT max(n) FROM records WHERE op=?", (number,)).fetchone()
        # Whoever appended since it was folded has written a newer row.
        if last is not None and last[0] is not None and last[0] + 1 == row.records:
            save_row(connection, number, row)


def _walk(readers: Readers, fold: Fold) -> Iterator[_Found]:
    after = 0
    while True:
        with readers.borrow() as connection:
            page = operations(connection, after, PAGE_OPERATIONS)
        for number, operation in page:
            yield _compare(readers, fold, number, operation)
        if not page:
            return
        after = page[-1][0]


def _compare(readers: Readers, fold: Fold, number: int, operation: str) -> _Found:
    with readers.borrow() as connection:
        # One moment for both: records that arrive in between are no difference.
        connection.execute("BEGIN")
        try:
            stored = _stored(connection, operation)
            found = journal(connection, operation, OpenedRecords())
        except RexecopError as error:
            return _Found(number, None, (_unreadable(operation, error.message),))
        finally:
            connection.execute("COMMIT")
    if found.damaged:
        damaged = found.damaged[0]
        return _Found(number, None, (_unreadable(operation, f"record {damaged.n}: {damaged.reason}"),))
    try:
        folded = fold(found)
    except RexecopError as error:
        return _Found(number, None, (_unreadable(operation, error.message),))
    return _Found(number, folded, _differences(operation, stored, folded))


def _stored(connection: apsw.Connection, operation: str) -> Row | None:
    try:
        return row_of(connection, operation)
    except StoreDamaged:
        return None


def _unreadable(operation: str, reason: str) -> Difference:
    return Difference(operation=operation, field="records", stored="unreadable", folded=reason)


def _differences(operation: str, stored: Row | None, folded: Row) -> tuple[Difference, ...]:
    if stored is None:
        return (Difference(operation=operation, field="row", stored="missing", folded=folded.state),)
    return tuple(
        Difference(operation=operation, field=field.name, stored=str(was), folded=str(should))
        for field in fields(Row)
        if (was := getattr(stored, field.name)) != (should := getattr(folded, field.name))
    )
