"""A pool of read-only connections: a reader takes a free one and never waits for a writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from rexecop.operations.errors import StoreUnavailable
from rexecop.store.connection import open_reader, translated

IDLE_MAX: Final = 8  # Connections kept open; more readers at once open and close their own.


class Readers:
    """Lends connections; each is used by one reader at a time."""

    def __init__(self, path: Path, vfs: str | None) -> None:
        self._path = path
        self._vfs = vfs
        self._idle: list[apsw.Connection] = []
        self._closed = False

    @contextmanager
    def borrow(self) -> Iterator[apsw.Connection]:
        """Lend a connection; SQLite's errors leave as the port's.

        Raises:
            StoreUnavailable: the ledger cannot be read, or was closed.
        """
        if self._closed:
            raise StoreUnavailable(f"the ledger `{self._path}` was closed")
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = open_reader(self._path, self._vfs)
        try:
            with translated(self._path):
                yield connection
        finally:
            self._take_back(connection)

    def _take_back(self, connection: apsw.Connection) -> None:
        # A connection may have met an error: it is only kept when it holds nothing open.
        if self._closed or len(self._idle) >= IDLE_MAX or connection.in_transaction:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection that is not lent; the others are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
