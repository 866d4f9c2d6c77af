"""The default ledger: one SQLite file, shared safely by the processes of one machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

import apsw

from rexecop.store import backup, schema
from rexecop.store import connection as connections
from rexecop.store.checkpoints import Checkpointer, Sign
from rexecop.store.database import Connection
from rexecop.store.ledger import Condition, LedgerStore
from rexecop.store.sqlite_transactions import SqliteTransactions
from rexecop.store.writer import Writer

SQLITE_FIXED: Final = (3, 51, 3)  # Before it, two writers at the wrong moment could damage the file.
GIVEN_BACK_PAGES: Final = 512  # In one transaction: 2 MiB, which holds nobody up for long.
FAULTS_MAX: Final = 20  # Of the faults SQLite finds in its pages, so many are told.


class SqliteStore(LedgerStore):
    """The ledger in one file."""

    def __init__(
        self, path: Path, readers: connections.FileReaders, writer: Writer | None, doubt: str | None = None
    ) -> None:
        super().__init__(str(path), readers, writer, doubt)
        self._path = path

    @classmethod
    def create(cls, path: Path, instance_id: str, *, checkpointer: Sign | None = None) -> Self:
        """Make an empty ledger for `instance_id`, readable by its owner alone, and open it.

        Raises:
            StoreExists: there is something at `path`. StoreUnavailable: it cannot be written.
        """
        connections.create(path, {"instance": instance_id, "epoch": 1})
        return cls.open(path, checkpointer=checkpointer)

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        read_only: bool = False,
        checkpointer: Sign | None = None,
        vfs: str | None = None,
        doubt: str | None = None,
    ) -> Self:
        """Open the ledger at `path`; with `checkpointer`, commits are covered within 50 ms.

        `vfs` names another SQLite file layer than the system's. `doubt` says why this may be
        a copy of the ledger that was last written: then nothing changing is appended, and nothing signed.

        Raises:
            StoreMissing, StoreForeign, StoreNewer, StoreDamaged, StoreReadOnly, StoreUnavailable.
        """
        readers = connections.FileReaders(path, vfs)
        if read_only:
            with readers.borrow():
                return cls(path, readers, None)
        patience = connections.Patience()
        writer = Writer(SqliteTransactions(connections.open_writer(path, patience, vfs), patience, path))
        store = cls(path, readers, writer, doubt)
        if checkpointer is not None and doubt is None:
            store._checkpointer = Checkpointer(checkpointer, readers, writer, store._opened)
            writer.on_commit = store._checkpointer.wake
        return store

    def clear_wal(self) -> bool:
        """Leave nothing in the write-ahead log; False while a reader still needs what is in it."""
        connection = connections.open_writer(self._path, connections.Patience())
        try:
            with connections.translated(self._path):
                busy, _, _ = next(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)"))
            return not busy
        finally:
            connection.close()

    def free_bytes(self) -> int:
        """Return how many bytes of the file are in free pages."""
        with self._readers.borrow() as connection:
            return self._extent(connection)["freelist_count"] * schema.PAGE_BYTES

    def give_back(self) -> None:
        """Make the file smaller by its free pages; each transaction is a short one."""
        connection = connections.open_writer(self._path, connections.Patience())
        try:
            with connections.translated(self._path):
                while (before := int(connection.pragma("freelist_count"))) > 0:
                    list(connection.execute(f"PRAGMA incremental_vacuum({GIVEN_BACK_PAGES})"))
                    if int(connection.pragma("freelist_count")) >= before:
                        return
        finally:
            connection.close()

    def copy_to(self, target: Path) -> None:
        """Write a compact copy; see `LedgerStore`."""
        backup.copy(self._path, target)

    @contextmanager
    def _repairing(self) -> Iterator[apsw.Connection]:
        """Lend a transaction; unlike the writer's it needs no sound tree, and no store opened for writing."""
        connection = connections.open_writer(self._path, connections.Patience())
        try:
            with connections.translated(self._path):
                connection.execute("BEGIN IMMEDIATE")
                yield connection
                connection.execute("COMMIT")
        finally:
            connection.close()

    def _extent(self, connection: Connection) -> dict[str, int]:
        pages = {
            name: connection.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count")
        }
        return {name: 0 if row is None else int(row[0]) for name, row in pages.items()}

    def integrity(self) -> tuple[str, ...]:
        """Return what SQLite finds wrong with its own pages; nothing if they are sound."""
        with self._readers.borrow() as connection:
            found = list(connection.execute(f"PRAGMA quick_check({FAULTS_MAX})"))
        return tuple(str(text) for (text,) in found if text != "ok")

    def condition(self) -> Condition:
        """Return what SQLite finds wrong with its pages, and whether it is one that damages files."""
        version = self.sqlite_version()
        fixed = tuple(int(part) for part in version.split(".")[:3]) >= SQLITE_FIXED
        return Condition(
            words=f"SQLite {version}, pages sound",
            faults=self.integrity(),
            doubts=() if fixed else ("this SQLite may damage a file that two processes write",),
        )

    @staticmethod
    def sqlite_version() -> str:
        """Return the version of the SQLite in use."""
        return apsw.sqlite_lib_version()
