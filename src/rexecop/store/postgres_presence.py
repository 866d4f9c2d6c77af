"""Who lives, as the server hears it: each process that drives says so, from a thread of its own.

A process of another machine that was silent for a while is gone, or as good as gone: it stands still,
or cannot reach the server. Silence counts only for who was heard of all that while itself, so
that nobody is taken for gone because the server was: it may have been restarted, its machine may have
slept, its clock may have been set.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Final

import psycopg

from rexecop.operations.errors import StoreError
from rexecop.proof.errors import RexecopError
from rexecop.store.database import Connection, Readers
from rexecop.store.postgres_connection import Server, ServerConnection, open_connection

SAY_SECONDS: Final = 0.5
SILENT_SECONDS: Final = 3.0  # A thread that is not let run for so long has a machine that does nothing else.
GAP_SECONDS: Final = 1.5  # Who was not heard of for so long heard nobody either.
LOOK_SECONDS: Final = 0.25  # For so long an answer is used again.
CLOSE_SECONDS_MAX: Final = 1.0
FORGET: Final = "10 minutes"  # Longer than any lease: whoever has none need not be known.

_SAY: Final = f"""
INSERT INTO presence(runner, since, seen) VALUES(?, clock_timestamp(), clock_timestamp())
ON CONFLICT(runner) DO UPDATE SET seen=excluded.seen, since=CASE
  WHEN presence.seen BETWEEN excluded.seen - interval '{GAP_SECONDS} s' AND excluded.seen THEN presence.since
  ELSE excluded.seen END
"""
_SILENT: Final = f"""
SELECT other.runner FROM presence AS other, presence AS own, clock_timestamp() AS now
WHERE own.runner=? AND own.seen > now - interval '{GAP_SECONDS} s'
  AND own.since <= now - interval '{SILENT_SECONDS} s' AND other.seen < now - interval '{SILENT_SECONDS} s'
"""
_FORGET: Final = f"DELETE FROM presence WHERE runner=? OR seen < clock_timestamp() - interval '{FORGET}'"


def say_in(connection: Connection, runner: str) -> None:
    """Write down that `runner` lives, and since when it was heard of without a gap."""
    connection.execute(_SAY, (runner,))


def silent_in(connection: Connection, runner: str) -> frozenset[str]:
    """Return those that were silent while `runner` was heard."""
    return frozenset(str(row[0]) for row in connection.execute(_SILENT, (runner,)))


class Presence:
    """Lets the server of a ledger hear that `runner`, this process, lives, until it is closed."""

    def __init__(self, server: Server, readers: Readers, runner: str) -> None:
        self._server = server
        self._readers = readers
        self._runner = runner
        self._connection: ServerConnection | None = None
        self._heard: float | None = None
        self._silent: tuple[float, frozenset[str]] = (-LOOK_SECONDS, frozenset())
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rexecop-presence", daemon=True)
        self._thread.start()

    def is_heard(self) -> bool:
        """Return whether nobody can take this process for gone now."""
        heard = self._heard
        return heard is None or time.monotonic() - heard < SILENT_SECONDS

    def silent(self) -> frozenset[str]:
        """Return the runners that were silent while this one was heard.

        Raises:
            StoreUnavailable: the server cannot be reached.
        """
        looked, found = self._silent
        if time.monotonic() - looked >= LOOK_SECONDS:
            with self._readers.borrow() as connection:
                found = silent_in(connection, self._runner)
            self._silent = (time.monotonic(), found)
        return found

    def close(self) -> None:
        """Say no more, and be forgotten; nobody waits long for a server that is not there."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS_MAX)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._say()
            except (psycopg.Error, RexecopError):
                self._hang_up()
            self._closing.wait(SAY_SECONDS)
        with suppress(psycopg.Error, StoreError):
            if self._connection is not None:
                self._connection.execute(_FORGET, (self._runner,))
        self._hang_up()

    def _say(self) -> None:
        if self._connection is None:
            self._connection = open_connection(self._server, writing=True)
        began = time.monotonic()  # The server hears it later than this.
        say_in(self._connection, self._runner)
        self._heard = began

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
