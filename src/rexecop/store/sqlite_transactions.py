"""The writer's transactions in SQLite: one lock for all processes, and one flush for each commit."""

from __future__ import annotations

from pathlib import Path

import apsw

from rexecop.operations.errors import StoreError
from rexecop.store.connection import Patience, translate, was_not_written
from rexecop.store.database import Contended, Uncertain
from rexecop.store.sqlite_apply import SqliteApplier


class SqliteTransactions:
    """`Transactions` over one connection."""

    apart = False

    def __init__(self, connection: apsw.Connection, patience: Patience, path: Path) -> None:
        self._connection = connection
        self._patience = patience
        self._path = path
        self._flushing = True
        self.place = str(path)
        self.applier = SqliteApplier(connection)

    def begin(self, *, durable: bool, wait: bool) -> None:
        """Take the write lock."""
        self._patience.waiting = wait
        self._flush(durable)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except apsw.BusyError as error:
            if wait:
                raise
            raise Contended from error

    def commit(self) -> None:
        """Commit; after a flush that failed it cannot be known whether that is on the disk."""
        try:
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            reason = translate(error, self._path)
            if was_not_written(error):
                raise reason from error
            raise Uncertain(reason) from error

    def rollback(self) -> None:
        """Roll back what is open."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as error:
            raise translate(error, self._path) from error

    def meaning(self, error: BaseException) -> StoreError | None:
        """Return the port's error for one of SQLite's."""
        return translate(error, self._path) if isinstance(error, apsw.Error) else None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _flush(self, durable: bool) -> None:
        if durable is not self._flushing:
            self._connection.pragma("synchronous", "full" if durable else "normal")
            self._flushing = durable
