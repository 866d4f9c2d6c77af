"""Connections to a PostgreSQL ledger, its numbered schema, and what the server's errors mean."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Final

import psycopg
from psycopg import errors as pg
from psycopg.adapt import Dumper
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from rexecop.operations.errors import StoreError, StoreUnavailable
from rexecop.store import checkpoints, reading, repair, rows, schema
from rexecop.store.database import Contended, Pool, Value
from rexecop.store.errors import (
    BatchRefused,
    StoreBusy,
    StoreDamaged,
    StoreExists,
    StoreForeign,
    StoreMissing,
    StoreOtherRoot,
    StoreOutdated,
    StoreReadOnly,
)
from rexecop.store.packing import Short
from rexecop.store.schema import require_current
from rexecop.store.uri import Storage

KIND: Final = "rexecop-ledger"  # What tells our schema from others, in its `meta` table.
CONNECT_SECONDS_MAX: Final = 10
SILENCE_MS_MAX: Final = 30_000  # Unanswered for so long, a connection is given up, not waited for.
LOCK_SECONDS_MAX: Final = 60  # Ours hold locks for milliseconds; longer is another program.
PAUSE_SECONDS_MAX: Final = 10  # A writer that stops in mid-transaction must not stop all others.

# The statements that SQLite and PostgreSQL have no common words for.
_OTHER_WORDS: Final = {
    # A change that has no leaf yet is newer than all that have one.
    rows.NEWEST_CHANGES: "SELECT target, op FROM changes ORDER BY leaf DESC NULLS FIRST LIMIT ?",
    reading.LAST_CHANGE: f"""
SELECT CASE WHEN EXISTS (SELECT 1 FROM changes WHERE leaf IS NULL) THEN {2**63 - 1} ELSE max(leaf) END
FROM changes
""",
    checkpoints.PAGE: """
SELECT string_agg(leaf || ':' || encode(nodes, 'hex') || ':' || encode(body, 'hex'), ',' ORDER BY leaf)
FROM records WHERE leaf>=? AND leaf<?
""",
    # Several may add to one note, and would add to the same old one.
    checkpoints.NOTE: "SELECT note FROM checkpoints WHERE size=? FOR UPDATE",
    repair.PLACE: "SELECT id, n FROM records LEFT JOIN operations ON number=op WHERE leaf=?",
}
_SETTINGS: Final = """
SELECT set_config('search_path', %s, false),
  set_config('default_transaction_read_only', %s, false),
  set_config('default_transaction_isolation', %s, false),
  set_config('lock_timeout', %s, false),
  set_config('idle_in_transaction_session_timeout', %s, false),
  set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""
_THERE: Final = """
SELECT to_regclass('meta')::oid::int8,
  (SELECT count(*) FROM pg_class WHERE relnamespace=to_regnamespace(%s)),
  pg_is_in_recovery() OR (to_regclass('records') IS NOT NULL AND NOT
    (has_table_privilege('records', 'INSERT') AND has_table_privilege('records', 'UPDATE')))
"""


class _ShortDumper(Dumper):
    """Columns of ids and keys hold texts here."""

    def dump(self, obj: Short) -> bytes:
        """Return the text that the short form stands for."""
        return obj.text.encode()


@cache
def _native(sql: str) -> bytes:
    """Return a statement of the house as PostgreSQL's client takes it."""
    return _OTHER_WORDS.get(sql, sql).replace("?", "%s").encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Where a ledger is, how to get there, and the id of the root it must be of, if that is known."""

    storage: Storage
    password: Callable[[], str | None]
    root: str | None = None

    @property
    def place(self) -> str:
        """What people call it."""
        return self.storage.place


class ServerConnection:
    """One connection, which takes the statements that are written for both databases.

    `lock_space` tells the advisory locks of this ledger from those of others in the database.
    """

    def __init__(self, raw: psycopg.Connection[TupleRow]) -> None:
        self.raw = raw
        self.lock_space = 0

    def execute(self, sql: str, values: Sequence[Value] = (), /) -> psycopg.Cursor[TupleRow]:
        """Run one statement."""
        return self.raw.execute(_native(sql), values, binary=True)

    def executemany(self, sql: str, values: Iterable[Sequence[Value]], /) -> None:
        """Run one statement for every one of `values`."""
        with self.raw.cursor() as cursor:
            cursor.executemany(_native(sql), values)

    def script(self, sql: str) -> list[TupleRow]:
        """Run the statements of `sql`, one after the other in one message; return the rows of the last."""
        cursor = self.raw.execute(sql.encode(), prepare=False)
        while cursor.nextset():
            pass
        return cursor.fetchall() if cursor.description is not None else []

    def is_alive(self) -> bool:
        """Return whether the server has not hung up on this connection while it lay idle."""
        if self.raw.closed:
            return False
        readable, _, _ = select.select([self.raw.fileno()], [], [], 0)
        return not readable

    def close(self) -> None:
        """Hang up."""
        with suppress(psycopg.Error):
            self.raw.close()


def connect(server: Server, *, writing: bool) -> ServerConnection:
    """Return a connection, set up and not looked at.

    Raises:
        psycopg.Error: there is none to be had. StoreError, LaneError: the password cannot be had.
    """
    options: dict[str, str | int] = {
        "connect_timeout": CONNECT_SECONDS_MAX,
        "tcp_user_timeout": SILENCE_MS_MAX,
        "application_name": "rexecop",
        "client_encoding": "utf8",
    }
    if (password := server.password()) is not None:
        options["password"] = password
    raw = psycopg.connect(server.storage.url, autocommit=True, **options)  # type: ignore[arg-type]
    raw.adapters.register_dumper(Short, _ShortDumper)
    found = ServerConnection(raw)
    try:
        # Nothing that others may create comes before what is ours.
        path = f"{server.storage.schema}, pg_temp"
        mode = ("off", "read committed") if writing else ("on", "repeatable read")
        limits = (f"{LOCK_SECONDS_MAX}s", f"{PAUSE_SECONDS_MAX}s")
        raw.execute(_SETTINGS, (path, *mode, *limits))
    except BaseException:
        found.close()
        raise
    return found


def open_connection(server: Server, *, writing: bool) -> ServerConnection:
    """Return a connection to a ledger that is ours to use.

    Raises:
        StoreMissing, StoreForeign, StoreNewer, StoreOutdated, StoreOtherRoot, StoreReadOnly,
            StoreUnavailable: it is not, or cannot be reached.
    """
    with translated(server.place):
        found = connect(server, writing=writing)
        try:
            _require_ours(found, server, writing=writing)
        except BaseException:
            found.close()
            raise
        return found


def _require_ours(connection: ServerConnection, server: Server, *, writing: bool) -> None:
    place = server.place
    found = connection.raw.execute(_THERE, (server.storage.schema,)).fetchone()
    oid, tables, barred = found or (None, 0, False)
    if oid is None:
        if tables:
            raise StoreForeign(f"`{place}` holds tables, but not a ledger of this program", path=place)
        raise StoreMissing(f"there is no ledger at `{place}`", path=place, next_steps=("rexecop init",))
    require_current(place, _version(connection, server), len(migrations()))
    if writing and barred:
        raise StoreReadOnly(f"the ledger `{place}` may not be written by this user", path=place)
    connection.lock_space = (oid + 2**31) % 2**32 - 2**31


def _version(connection: ServerConnection, server: Server) -> int:
    """Return the schema's number, if it is one of ours and of the root it should be of."""
    try:
        said = {str(name): str(value) for name, value in connection.execute("SELECT name, value FROM meta")}
    except pg.UndefinedColumn:
        said = {}
    if said.get("kind") != KIND or not said.get("schema", "").isdecimal():
        words = f"`{server.place}` holds tables, but not a ledger of this program"
        raise StoreForeign(words, path=server.place)
    if server.root is not None and said.get("root") != server.root:
        raise StoreOtherRoot(
            f"`{server.place}` holds the ledger of another root, instance `{said.get('instance')}`;"
            " each root has a schema of its own",
            path=server.place,
        )
    return int(said["schema"])


def migrations() -> tuple[str, ...]:
    """Return what makes schema 1, what makes schema 2 of it, and so on."""
    return tuple(schema.migrations("postgres").values())


def create(
    server: Server, values: dict[str, str], fill: Callable[[ServerConnection], None] = lambda connection: None
) -> None:
    """Make an empty ledger, whole or not at all, with `values` in its meta table, and `fill` it.

    Raises:
        StoreExists: this root has one there. StoreOtherRoot, StoreForeign: something else is there.
        StoreUnavailable: it cannot be written.
    """
    with _setting_up(server) as connection:
        connection.raw.execute(f"CREATE SCHEMA IF NOT EXISTS {server.storage.schema}".encode())
        try:
            _require_ours(connection, server, writing=True)
            raise StoreExists(f"there is a ledger at `{server.place}` already", path=server.place)
        except StoreMissing:
            for sql in migrations():
                connection.script(sql)
        said = {**values, "kind": KIND, "schema": str(len(migrations())), "root": server.root or ""}
        connection.executemany("INSERT INTO meta(name, value) VALUES(?, ?)", list(said.items()))
        fill(connection)


def migrate(server: Server) -> tuple[int, int]:
    """Bring the ledger's schema up to date; return its number before and after.

    Raises:
        StoreMissing, StoreForeign, StoreNewer, StoreOtherRoot, StoreReadOnly, StoreUnavailable.
    """
    with _setting_up(server) as connection:
        newest = len(migrations())
        try:
            _require_ours(connection, server, writing=True)
        except StoreOutdated:
            before = _version(connection, server)
            for sql in migrations()[before:]:
                connection.script(sql)
            connection.execute("UPDATE meta SET value=? WHERE name='schema'", (str(newest),))
            return before, newest
        return newest, newest


@contextmanager
def _setting_up(server: Server) -> Iterator[ServerConnection]:
    """Lend a transaction that only one process at a time has in this database."""
    with translated(server.place):
        connection = connect(server, writing=True)
        try:
            connection.script(f"BEGIN; SELECT pg_advisory_xact_lock(hashtext('{KIND}'))")
            yield connection
            connection.script("COMMIT")
        finally:
            connection.close()


# --- errors ---


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn the server's errors into the port's."""
    try:
        yield
    except psycopg.Error as error:
        raise translate(error, place) from error


def translate(error: psycopg.Error, place: str) -> StoreError:
    """Return what `error` means to whoever uses the ledger at `place`."""
    for kinds, make, words in _MEANINGS:
        if isinstance(error, kinds):
            return make(f"the ledger `{place}` {words}", path=place, sqlstate=error.sqlstate)
    if isinstance(error, psycopg.DataError):
        return BatchRefused(f"the ledger `{place}` cannot hold this: {_first(error)}")
    return StoreUnavailable(
        f"the ledger `{place}` failed: {_first(error)}", path=place, sqlstate=error.sqlstate
    )


def contended(error: psycopg.Error) -> Contended | None:
    """Return what says that the transaction may be tried again from its beginning, if it may."""
    return Contended() if isinstance(error, pg.DeadlockDetected | pg.SerializationFailure) else None


def _first(error: psycopg.Error) -> str:
    """Return the first line of what the server said; what follows repeats statements and values."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


_MEANINGS: Final[tuple[tuple[tuple[type[psycopg.Error], ...], type[StoreUnavailable], str], ...]] = (
    ((pg.InsufficientPrivilege, pg.ReadOnlySqlTransaction), StoreReadOnly, "may not be written by this user"),
    (
        (pg.UndefinedTable, pg.UndefinedColumn),
        StoreForeign,
        "lacks what this version needs",
    ),
    ((pg.DiskFull,), StoreUnavailable, "cannot grow: the server's disk is full"),
    ((pg.LockNotAvailable,), StoreBusy, f"has been held by another process for {LOCK_SECONDS_MAX} s"),
    ((pg.DataCorrupted, pg.IndexCorrupted), StoreDamaged, "is damaged: its pages contradict one another"),
)


class ServerReaders(Pool[ServerConnection]):
    """A pool of connections that only read; after the server was gone it opens new ones."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.place)
        self._server = server

    def _open(self) -> ServerConnection:
        return open_connection(self._server, writing=False)

    def meaning(self, error: BaseException) -> StoreError | None:
        return translate(error, self._server.place) if isinstance(error, psycopg.Error) else None

    def _is_busy(self, connection: ServerConnection) -> bool:
        return connection.raw.closed or connection.raw.info.transaction_status != TransactionStatus.IDLE

    def _is_usable(self, connection: ServerConnection) -> bool:
        return connection.is_alive()
