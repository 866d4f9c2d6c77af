"""The writer's transactions in PostgreSQL, and what became of one whose end was not heard."""

from __future__ import annotations

import time
from typing import Final

import psycopg
from psycopg.pq import TransactionStatus

from rexecop.operations.errors import StoreError, StoreUnavailable
from rexecop.store.database import Uncertain
from rexecop.store.postgres_apply import EVERYTHING, ServerApplier
from rexecop.store.postgres_connection import (
    Server,
    ServerConnection,
    connect,
    contended,
    open_connection,
    translate,
)

BEHIND_SECONDS_MAX: Final = 5  # Records get their places within some 50 ms; later something is wrong.
RESOLVE_SECONDS_MAX: Final = 20.0  # A server that restarts is there again; longer nobody should wait.
RESOLVE_NAP_SECONDS: Final = 0.1

# Servers that share a past number their transactions alike: a number means one only in its timeline.
_TIMELINE: Final = "left(pg_walfile_name(pg_current_wal_lsn()), 8)"
_STATUS: Final = f"SELECT {_TIMELINE}, pg_xact_status(%s::text::xid8)"


class ServerTransactions:
    """`Transactions` over one connection, which is opened again when it was lost before a commit."""

    apart = True

    def __init__(self, server: Server) -> None:
        self._server = server
        self.place = server.place
        self._connection = open_connection(server, writing=True)
        self._number = self._timeline = ""
        self._begun = False
        self.applier = ServerApplier(self._connection)

    def begin(self, *, durable: bool, wait: bool) -> None:
        """Begin beside other writers; nothing is written yet, so a lost connection is opened again."""
        for again in (True, False):
            if not self._connection.is_alive():
                self._reconnect()
            try:
                self._start(durable)
                return
            except psycopg.OperationalError:
                if not again or not self._connection.raw.broken:
                    raise

    def _start(self, durable: bool) -> None:
        self._begun = True
        space = self._connection.lock_space
        row = self._connection.script(
            "BEGIN;"
            + ("" if durable else "SET LOCAL synchronous_commit=off;")
            + f"SELECT pg_advisory_xact_lock_shared({space}, {EVERYTHING});"
            f"SELECT pg_current_xact_id()::text, {_TIMELINE}, EXISTS(SELECT 1 FROM records WHERE leaf IS NULL"
            f" AND added < clock_timestamp() - interval '{BEHIND_SECONDS_MAX} s')"
        )[0]
        self._number, self._timeline, self.applier.behind = str(row[0]), str(row[1]), bool(row[2])

    def commit(self) -> None:
        """Commit; when the answer is lost the server is asked what became of the transaction."""
        try:
            ended = self._connection.raw.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if not self._connection.raw.broken:
                raise translate(error, self.place) from error
            self._resolve(error)
        else:
            if ended.statusmessage != "COMMIT":
                raise StoreUnavailable(
                    f"the ledger `{self.place}` rolled the transaction back", path=self.place
                )
        self._begun = False

    def _resolve(self, cause: psycopg.Error) -> None:
        """Return if the transaction was committed.

        Raises:
            StoreUnavailable: it was not. Uncertain: the server does not say, or is not there.
        """
        lost, until = self._connection.raw.info.backend_pid, time.monotonic() + RESOLVE_SECONDS_MAX
        while time.monotonic() < until:
            status = self._status(lost)
            if status == "committed":
                return
            if status == "aborted":
                raise translate(cause, self.place) from cause
            if status == "unknown":
                break
            time.sleep(RESOLVE_NAP_SECONDS)
        words = f"`{self.place}` was lost while it committed, and what became of that is not known"
        raise Uncertain(StoreUnavailable(words, path=self.place)) from cause

    def _status(self, lost: int) -> str | None:
        """Return what the server says of the transaction that session `lost` was in; None: not yet."""
        try:
            asking = connect(self._server, writing=True)
            try:
                row = asking.raw.execute(_STATUS, (self._number,)).fetchone()
                timeline, status = row or (None, None)
                if timeline != self._timeline or status is None:
                    return "unknown"
                if status == "in progress":  # The server has not noticed that nobody listens any more.
                    asking.raw.execute("SELECT pg_terminate_backend(%s)", (lost,))
                return str(status)
            finally:
                asking.close()
        except (psycopg.Error, StoreError):
            return None

    def rollback(self) -> None:
        """Roll back what is open; with a connection that is given up its transaction ends as well."""
        if not self._begun:
            return
        self._begun = False
        try:
            if self._connection.raw.info.transaction_status != TransactionStatus.IDLE:
                self._connection.script("ROLLBACK")
        except psycopg.Error:
            self._connection.close()

    def meaning(self, error: BaseException) -> StoreError | None:
        """Return the port's error for one of the server's."""
        if not isinstance(error, psycopg.Error):
            return None
        if (again := contended(error)) is not None:
            raise again from error
        return translate(error, self.place)

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _reconnect(self) -> None:
        self._connection.close()
        fresh: ServerConnection = open_connection(self._server, writing=True)
        self._connection = fresh
        self.applier.use(fresh)
