"""The integrator: one elected process gives records their places in the Merkle log.

A record never gets a place before the one that it follows: rows are numbered as they are
added, under the lock of their chain, and taken in that order. They are found by having no
leaf, never by being newer than the last one: a transaction may end long after it took its
numbers. A second integrator would be stopped by the unique leaves.
"""

from __future__ import annotations

import threading
from typing import Final

import psycopg

from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import HASH_BYTES, Frontier
from rexecop.store.errors import StoreDamaged
from rexecop.store.log import nodes_in, size_in
from rexecop.store.postgres_apply import INTEGRATOR
from rexecop.store.postgres_connection import Server, ServerConnection, open_connection, translate

POLL_SECONDS: Final = 0.05  # How soon records of other processes are looked for.
STAND_SECONDS: Final = 1.0  # How soon one that was not elected stands again.
PAGE_RECORDS: Final = 2000  # One transaction's worth.

# One whose predecessor has no place yet and would come later waits for it; that cannot be, and costs little.
_NEXT: Final = """
SELECT seq, nodes FROM records WHERE leaf IS NULL AND NOT EXISTS (
  SELECT 1 FROM records AS before
  WHERE before.op=records.op AND before.n=records.n-1 AND before.leaf IS NULL AND before.seq>records.seq)
ORDER BY seq LIMIT ? FOR UPDATE
"""
_ANY: Final = "SELECT 1 FROM records WHERE leaf IS NULL LIMIT 1"
_PLACE: Final = "UPDATE records SET leaf=?, nodes=? WHERE seq=? AND leaf IS NULL"
_PLACE_CHANGES: Final = """
UPDATE changes SET leaf=records.leaf FROM records
WHERE changes.leaf IS NULL AND records.op=changes.op AND records.n=changes.place AND records.leaf IS NOT NULL
"""
_HOLDER: Final = """
SELECT pg_terminate_backend(pid) FROM pg_locks
WHERE locktype='advisory' AND classid::int8=? AND objid=? AND objsubid=2 AND granted
  AND database=(SELECT oid FROM pg_database WHERE datname=current_database())
"""


class Integrator:
    """Stands for election and, once elected, gives places until it hangs up."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._turn = threading.Lock()
        self._connection: ServerConnection | None = None
        self._elected = False
        self._frontier = Frontier.empty()

    def run(self) -> float:
        """Give places to all records that have none, if elected; return after how many seconds to come again.

        Raises:
            StoreDamaged: nothing can follow the log. StoreUnavailable: the server cannot be reached.
        """
        with self._turn:
            try:
                if not self._is_elected():
                    return STAND_SECONDS
                while self._page():
                    pass
                return POLL_SECONDS
            except psycopg.Error as error:
                self._hang_up()
                raise translate(error, self._server.place) from error
            except BaseException:
                self._hang_up()
                raise

    @property
    def is_elected(self) -> bool:
        """Whether the last `run` gave places."""
        return self._elected

    def take_over(self) -> None:
        """Hang up for whoever is elected and does nothing: stopped, or cut off from the server."""
        with self._turn:
            if self._connection is not None and not self._elected:
                space = self._connection.lock_space % 2**32
                self._connection.execute(_HOLDER, (space, INTEGRATOR))

    def close(self) -> None:
        """Let somebody else be elected, and hang up."""
        self.resign()
        with self._turn:
            self._hang_up()

    def resign(self) -> None:
        """Let somebody else be elected, at once."""
        with self._turn:
            if self._elected and self._connection is not None:
                self._elected = False
                try:
                    self._connection.script("SELECT pg_advisory_unlock_all()")
                except psycopg.Error:
                    self._hang_up()

    def _is_elected(self) -> bool:
        if self._connection is None or not self._connection.is_alive():
            self._hang_up()
            self._connection = open_connection(self._server, writing=True)
        if not self._elected:
            keys = (self._connection.lock_space, INTEGRATOR)
            row = self._connection.execute("SELECT pg_try_advisory_lock(?, ?)", keys).fetchone()
            self._elected = row is not None and bool(row[0])
        return self._elected

    def _page(self) -> bool:
        """Give some records their places in one transaction; return whether there were any."""
        connection = self._connection
        assert connection is not None
        if connection.execute(_ANY).fetchone() is None:
            return False
        connection.script("BEGIN")
        # Another one that thinks it is elected is waited for here; the log ends where that one left it.
        rows = list(connection.execute(_NEXT, (PAGE_RECORDS,)))
        size = size_in(connection)
        if size != self._frontier.size:
            try:
                self._frontier = Frontier.load(size, nodes_in(connection))
            except ProofError as error:
                raise StoreDamaged(f"nothing can follow the log: {error.message}") from error
        after, nodes = self._frontier.extend([bytes(row[1][:HASH_BYTES]) for row in rows])
        both = enumerate(zip(rows, nodes, strict=True), start=size)
        connection.executemany(_PLACE, [(leaf, made, row[0]) for leaf, (row, made) in both])
        connection.execute(_PLACE_CHANGES)
        connection.script("COMMIT")
        self._frontier = after
        return bool(rows)

    def _hang_up(self) -> None:
        self._elected = False
        if self._connection is not None:
            self._connection.close()
            self._connection = None
