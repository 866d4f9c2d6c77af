"""The ledger in a PostgreSQL schema, shared by processes of any number of machines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from rexecop.operations.ports import Appended, Batch
from rexecop.store import connection as files
from rexecop.store import copying
from rexecop.store.checkpoints import Checkpointer, Sign
from rexecop.store.connection import translated as file_translated
from rexecop.store.database import Connection
from rexecop.store.errors import LogBehind
from rexecop.store.ledger import Condition, LedgerStore
from rexecop.store.postgres_apply import EVERYTHING
from rexecop.store.postgres_connection import (
    Server,
    ServerConnection,
    ServerReaders,
    create,
    open_connection,
    translated,
)
from rexecop.store.postgres_log import STAND_SECONDS, Integrator
from rexecop.store.postgres_presence import Presence
from rexecop.store.postgres_transactions import BEHIND_SECONDS_MAX, ServerTransactions
from rexecop.store.writer import Writer

SETTLE_NAP_SECONDS: Final = 0.005
SETTLE_SECONDS_MAX: Final = 15.0  # Long enough for whoever took over from an integrator that stood still.

_WAITING: Final = "SELECT max(seq) FROM records WHERE leaf IS NULL AND seq<=?"
_EXTENT: Final = """
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class
WHERE relnamespace=current_schema()::regnamespace AND relkind='r'
"""
_SOUND: Final = """
SELECT current_setting('server_version'), current_setting('data_checksums'),
  current_setting('fsync'), current_setting('full_page_writes'),
  (SELECT string_agg(indexrelid::regclass::text, ', ') FROM pg_index JOIN pg_class ON pg_class.oid=indrelid
   WHERE relnamespace=current_schema()::regnamespace AND NOT indisvalid),
  (SELECT count(*) FROM records WHERE leaf IS NULL AND added < clock_timestamp() - interval '%d s')
"""


class PostgresStore(LedgerStore):
    """The ledger in one schema of a database.

    Appending makes a record durable and gives it its place within its operation; its place in the
    log it has a moment later, given by whichever process is elected.
    """

    # A server that crashes leaves its clients alive: a fence that it forgot would be given twice.
    leases_are_durable = True

    def __init__(
        self, server: Server, readers: ServerReaders, writer: Writer | None, doubt: str | None = None
    ) -> None:
        super().__init__(server.place, readers, writer, doubt)
        self.server = server
        self._integrator = Integrator(server)
        self._presence: Presence | None = None

    @classmethod
    def create(cls, server: Server, instance_id: str) -> None:
        """Make an empty ledger for `instance_id`, in a schema of its own.

        Raises:
            StoreExists, StoreOtherRoot, StoreForeign: something is there.
            StoreUnavailable: it cannot be made.
        """
        create(server, {"instance": instance_id, "epoch": "1"})

    @classmethod
    def create_from(cls, server: Server, copy: Path) -> None:
        """Make a ledger of the SQLite file `copy`, whole or not at all.

        Raises:
            StoreExists, StoreOtherRoot, StoreForeign, StoreUnavailable: see `create`.
        """
        source = files.open_reader(copy)
        try:
            with file_translated(copy):
                create(server, {}, lambda target: copying.from_file(source, target))
        finally:
            source.close()

    @classmethod
    def open(
        cls,
        server: Server,
        *,
        read_only: bool = False,
        checkpointer: Sign | None = None,
        doubt: str | None = None,
    ) -> Self:
        """Open the ledger of `server`; with `checkpointer` this process stands for integrator, and signs.

        `doubt` says why this may not be the root that was last written: then nothing changing is
        appended, and nothing signed.

        Raises:
            StoreMissing, StoreForeign, StoreNewer, StoreOutdated, StoreOtherRoot, StoreReadOnly,
                StoreUnavailable.
        """
        readers = ServerReaders(server)
        if read_only:
            with readers.borrow():
                return cls(server, readers, None)
        writer = Writer(ServerTransactions(server))
        store = cls(server, readers, writer, doubt)
        if checkpointer is not None and doubt is None:
            store._checkpointer = Checkpointer(
                checkpointer, readers, writer, store._opened, store._integrator.run, STAND_SECONDS
            )
            writer.on_commit = store._checkpointer.wake
            store._checkpointer.wake()  # Whoever wrote last may not have lived to see it integrated.
        return store

    def close(self) -> None:
        """Finish what was begun, and let somebody else be the integrator."""
        if self._presence is not None:
            self._presence.close()
        super().close()
        self._integrator.close()

    async def append(self, batch: Batch) -> Appended:
        """Append `batch`; when the log is behind, only once it has caught up."""
        try:
            return await super().append(batch)
        except LogBehind:
            await asyncio.to_thread(self.settle)
            return await super().append(batch)

    def append_sync(self, batch: Batch) -> Appended:
        """Do as `append` for a caller without an event loop."""
        try:
            return super().append_sync(batch)
        except LogBehind:
            self.settle()
            return super().append_sync(batch)

    def _require_harmless(self, batch: Batch) -> None:
        """Return only if nothing is appended or this is the root that was last written."""
        if batch.records:
            self.require_sure()

    def be_heard(self, runner: str) -> None:
        """Let every machine hear from now on that `runner`, this process, lives."""
        if self._presence is None and self._writer is not None:
            self._presence = Presence(self.server, self._readers, runner)

    def is_heard(self) -> bool:
        """Return whether nobody can take this process for gone now."""
        return self._presence is None or self._presence.is_heard()

    def silent(self) -> frozenset[str]:
        """Return the runners that were silent while this process was heard; none where it is not."""
        return frozenset() if self._presence is None else self._presence.silent()

    def settle(self) -> None:
        """Give every record its place, or wait until the elected process has; see `LedgerStore`."""
        if self._writer is None:
            return
        newest, began, deposed = 2**63 - 1, time.monotonic(), False
        while True:
            self._integrator.run()
            if self._integrator.is_elected:
                if self._checkpointer is None:
                    self._integrator.resign()  # Nobody here would come back to it.
                return
            with self._readers.borrow() as connection:
                row = connection.execute(_WAITING, (newest,)).fetchone()
            if row is None or row[0] is None:
                return
            newest, waited = min(newest, int(row[0])), time.monotonic() - began
            if waited > BEHIND_SECONDS_MAX and not deposed:
                with translated(self.place):
                    self._integrator.take_over()
                deposed = True
            if waited > SETTLE_SECONDS_MAX:
                raise LogBehind(
                    f"records of `{self.place}` have waited {waited:.0f} s for their places in the log"
                )
            time.sleep(SETTLE_NAP_SECONDS)

    def clear_wal(self) -> bool:
        """Return False: the server's own log, its pages and its replicas are not ours to clear."""
        return False

    def copy_to(self, target: Path) -> None:
        """Write a snapshot to a SQLite ledger; everybody else waits only until it has begun."""
        files.create(target, {})
        snapshot = open_connection(self.server, writing=False)
        try:
            with self._quiet():
                self.settle()
                snapshot.script("BEGIN; SELECT 1 FROM meta")
            made = files.open_writer(target, files.Patience())
            try:
                with file_translated(target), translated(self.place):
                    copying.to_file(snapshot, made)
            finally:
                made.close()
        finally:
            snapshot.close()

    @contextmanager
    def _quiet(self) -> Iterator[ServerConnection]:
        """Let nobody append meanwhile, once every transaction that was under way has ended."""
        with self._repairing() as connection:
            space = (connection.lock_space, EVERYTHING)
            connection.execute("SELECT pg_advisory_xact_lock(?, ?)", space)
            yield connection

    @contextmanager
    def _repairing(self) -> Iterator[ServerConnection]:
        connection = open_connection(self.server, writing=True)
        try:
            with translated(self.place):
                connection.script("BEGIN")
                yield connection
                connection.script("COMMIT")
        finally:
            connection.close()

    def _extent(self, connection: Connection) -> dict[str, int]:
        row = connection.execute(_EXTENT).fetchone()
        return {"bytes": 0 if row is None else int(row[0])}

    def condition(self) -> Condition:
        """Return what the server says of its indexes and of how it keeps its promises."""
        with self._readers.borrow() as connection:
            row = connection.execute(_SOUND % BEHIND_SECONDS_MAX).fetchone()
        version, checksums, fsync, pages, invalid, waiting = row or ("", "off", "off", "off", None, 0)
        faults = (
            *((f"indexes that cannot be used: {invalid}",) if invalid else ()),
            *((f"{waiting} records wait for their places in the log",) if waiting else ()),
        )
        off = [name for name, value in (("fsync", fsync), ("full_page_writes", pages)) if value != "on"]
        return Condition(
            words=f"PostgreSQL {str(version).split()[0]} at {self.place}, page checksums {checksums}",
            faults=faults,
            doubts=tuple(f"the server may lose what it said is written: `{name}` is off" for name in off),
        )
