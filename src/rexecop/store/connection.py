"""Connections to the ledger's file, and what SQLite's failures mean to an operator.

Nobody but SQLite may open the file: a process that opens it another way and closes it
again drops, by POSIX rules, every lock SQLite holds on it in that process.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import apsw

from rexecop.operations.errors import StoreError, StoreUnavailable
from rexecop.store import schema
from rexecop.store.database import Connection, Pool
from rexecop.store.errors import (
    StoreBusy,
    StoreDamaged,
    StoreExists,
    StoreForeign,
    StoreMissing,
    StoreOtherRoot,
    StoreReadOnly,
)
from rexecop.store.locking import require_locks

T = TypeVar("T")

BUSY_SECONDS_MAX: Final = 60.0  # Ours hold the write lock for milliseconds; longer is another program.
BUSY_NAP_SECONDS: Final = 0.0005  # About one commit: whoever waits is there when the lock is free.
BUSY_NAP_SECONDS_MAX: Final = 0.01
INCREMENTAL: Final = 2  # Of `auto_vacuum`: free pages can be given back a few at a time.
WAL_BYTES_KEPT: Final = 16 * 1024 * 1024  # A burst must not keep its disk space for ever.
CACHE_KIB: Final = 8 * 1024  # The right edges of all trees with room; the rest is the kernel's to cache.
READER_CACHE_KIB: Final = 2 * 1024
FOUND_MAX: Final = 8  # Pages that a reader remembers.

_Pragmas: TypeAlias = tuple[tuple[str, str | int], ...]
_WRITER: Final[_Pragmas] = (
    ("journal_mode", "wal"),
    ("synchronous", "full"),
    ("journal_size_limit", WAL_BYTES_KEPT),
    ("temp_store", "memory"),
    ("cache_size", -CACHE_KIB),
    ("secure_delete", 1),  # What was erased leaves no copy in the file's free pages.
    ("trusted_schema", 0),
)
_MIGRATING: Final[_Pragmas] = (("synchronous", "full"), ("secure_delete", 1), ("trusted_schema", 0))
_READER: Final[_Pragmas] = (
    ("query_only", 1),
    ("temp_store", "memory"),
    ("cache_size", -READER_CACHE_KIB),
    ("trusted_schema", 0),
)

# Failures after which SQLite has certainly not made the transaction durable: the frame
# that commits is the last thing written, and it was not written.
NOT_WRITTEN: Final = frozenset({apsw.SQLITE_FULL, apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_BUSY})


class Patience:
    """SQLite's busy handler: waits for other processes while `waiting` is set."""

    def __init__(self) -> None:
        self.waiting = True
        self._since = 0.0

    def __call__(self, tried: int) -> bool:
        """Sleep a little and return whether to try again."""
        if not self.waiting:
            return False
        if tried == 0:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > BUSY_SECONDS_MAX:
            return False
        time.sleep(min(BUSY_NAP_SECONDS * (1 + tried // 8), BUSY_NAP_SECONDS_MAX))
        return True


def create(path: Path, values: dict[str, str | int]) -> None:
    """Make an empty ledger at `path`, mode 0600, whole or not at all, with `values` in its meta table.

    Raises:
        StoreExists: there is something at `path`. StoreLocks: the disk keeps no processes apart.
        StoreUnavailable: it cannot be written.
    """
    fresh = path.with_name(f"{path.name}.new-{os.getpid()}")
    try:
        require_locks(path.parent)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        try:
            _fill(fresh, values)
            os.link(fresh, path)
        finally:
            for suffix in ("", "-wal", "-shm"):
                with suppress(FileNotFoundError):
                    os.unlink(f"{fresh}{suffix}")
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError as error:
        raise StoreExists(f"there is a file at `{path}` already", path=str(path)) from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreUnavailable(f"the ledger `{path}` cannot be made: {reason.lower()}") from error
    except apsw.Error as error:
        raise translate(error, path) from error


def _fill(fresh: Path, values: dict[str, str | int]) -> None:
    connection = apsw.Connection(str(fresh), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        connection.pragma("page_size", schema.PAGE_BYTES)
        connection.pragma("auto_vacuum", INCREMENTAL)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.execute("BEGIN IMMEDIATE")
        for statements in schema.migrations("sqlite").values():
            connection.execute(statements)
        connection.executemany("INSERT INTO meta(name, value) VALUES(?, ?)", list(values.items()))
        connection.pragma("application_id", schema.APPLICATION_ID)
        connection.pragma("user_version", schema.VERSION)
        connection.execute("COMMIT")
    finally:
        connection.close()


def open_writer(path: Path, patience: Patience, vfs: str | None = None) -> apsw.Connection:
    """Return a connection that writes to the ledger at `path`, each commit flushed.

    Raises:
        StoreMissing, StoreForeign, StoreNewer, StoreOutdated, StoreOtherRoot, StoreLocks, StoreDamaged,
            StoreReadOnly, StoreUnavailable.
    """
    _require_writable(path)
    with translated(path):
        return _connect(path, str(path), apsw.SQLITE_OPEN_READWRITE, vfs, patience, _WRITER)


def open_outdated(path: Path, patience: Patience, vfs: str | None = None) -> apsw.Connection:
    """Return a connection to a ledger of any schema, for whoever brings it up to date.

    Raises:
        StoreMissing, StoreForeign, StoreOtherRoot, StoreLocks, StoreReadOnly, StoreUnavailable.
    """
    _require_writable(path)
    with translated(path):
        return _connect(path, str(path), apsw.SQLITE_OPEN_READWRITE, vfs, patience, _MIGRATING)


def open_reader(path: Path, vfs: str | None = None) -> apsw.Connection:
    """Return a connection that only reads; writers never hold it up.

    Where the folder cannot be written and no writer left anything behind, the file is
    read as one that does not change.

    Raises:
        StoreMissing, StoreForeign, StoreNewer, StoreOutdated, StoreOtherRoot, StoreDamaged, StoreUnavailable.
    """
    _require_there(path)
    with translated(path):
        try:
            return _connect(path, str(path), apsw.SQLITE_OPEN_READONLY, vfs, Patience(), _READER)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            wal = Path(f"{path}-wal")
            if wal.exists() and wal.stat().st_size > 0:
                raise
            flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
            return _connect(path, f"{path.absolute().as_uri()}?immutable=1", flags, vfs, Patience(), _READER)


def _connect(
    path: Path, name: str, flags: int, vfs: str | None, patience: Patience, pragmas: _Pragmas
) -> apsw.Connection:
    connection = apsw.Connection(name, flags=flags, vfs=vfs)
    try:
        connection.set_busy_handler(patience)
        version = require_ours(connection, path)
        if pragmas is not _MIGRATING:
            schema.require_current(str(path), version, schema.VERSION)
        if pragmas is not _READER and connection.readonly("main"):
            raise StoreReadOnly(f"the ledger `{path}` may not be written by this user", path=str(path))
        for pragma, value in pragmas:
            connection.pragma(pragma, value)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_writable(path: Path) -> None:
    _require_there(path)
    if not os.access(path.parent, os.W_OK):
        words = "may not be written here: its folder is read-only"
        raise StoreReadOnly(f"the ledger `{path}` {words}", path=str(path))
    require_locks(path.parent)


def _require_there(path: Path) -> None:
    try:
        there = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        there = None
    except OSError as error:
        raise StoreUnavailable(f"the ledger `{path}` cannot be reached: {error.strerror}") from error
    if there is None or stat.S_ISDIR(there.st_mode):
        raise StoreMissing(f"there is no ledger at `{path}`", path=str(path))
    if not stat.S_ISREG(there.st_mode) or _names(path, there) > 1:
        # Each name would have a write-ahead log of its own, and the two together damage the file.
        words = "is a link, or has a second name: another root would write the same file"
        raise StoreOtherRoot(f"the ledger `{path}` {words}", path=str(path), links=there.st_nlink)


def _names(path: Path, there: os.stat_result) -> int:
    """Return how many names the file has, without one under which it was made."""
    if there.st_nlink == 1:
        return 1
    made = [file for file in path.parent.glob(f"{path.name}.new-*") if file.samefile(path)]
    return there.st_nlink - len(made)


def require_ours(connection: apsw.Connection, path: Path) -> int:
    """Return the schema's number of a file that is a ledger, or raise StoreForeign."""
    application, version = connection.pragma("application_id"), connection.pragma("user_version")
    if application != schema.APPLICATION_ID or version < schema.VERSION_MIN:
        raise StoreForeign(f"`{path}` is a SQLite file, but not a ledger of this program", path=str(path))
    return int(version)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into the port's."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: apsw.Error, path: Path) -> StoreUnavailable:
    """Return what `error` means to whoever uses the ledger at `path`."""
    for kinds, make, words in _MEANINGS:
        if isinstance(error, kinds):
            return make(f"the ledger `{path}` {words}", path=str(path), sqlite=_result(error))
    return StoreUnavailable(f"the ledger `{path}` failed: {error}", path=str(path), sqlite=_result(error))


def was_not_written(error: apsw.Error) -> bool:
    """Return whether a commit that failed so has certainly left nothing behind."""
    return _result(error) in NOT_WRITTEN or _result(error) & 0xFF in (apsw.SQLITE_FULL, apsw.SQLITE_BUSY)


def _result(error: apsw.Error) -> int:
    found = getattr(error, "extendedresult", getattr(error, "result", 0))
    return found if isinstance(found, int) else 0


_MEANINGS: Final[tuple[tuple[tuple[type[apsw.Error], ...], type[StoreUnavailable], str], ...]] = (
    ((apsw.NotADBError,), StoreForeign, "is not a SQLite file"),
    ((apsw.CorruptError, apsw.FormatError), StoreDamaged, "is damaged: its pages contradict one another"),
    ((apsw.FullError,), StoreUnavailable, "cannot grow: the disk is full"),
    (
        (apsw.BusyError, apsw.LockedError, apsw.ProtocolError),
        StoreBusy,
        f"has been held by another process for {BUSY_SECONDS_MAX:.0f} s",
    ),
    ((apsw.ReadOnlyError,), StoreReadOnly, "may not be written by this user"),
    (
        (apsw.CantOpenError, apsw.PermissionsError),
        StoreUnavailable,
        "cannot be opened: it, or its folder, may not be used by this user",
    ),
    ((apsw.IOError,), StoreUnavailable, "cannot be read or written: the disk reports an error"),
    ((apsw.ConnectionClosedError,), StoreUnavailable, "was closed"),
)


class FileReaders(Pool[apsw.Connection]):
    """A pool of connections to one file.

    Each remembers what it found last, as long as the file has no newer commit: SQLite lets other threads
    run at every row, so that in a service rows cost many times what they cost alone.
    """

    def __init__(self, path: Path, vfs: str | None) -> None:
        super().__init__(str(path))
        self._path = path
        self._vfs = vfs
        self._found: WeakKeyDictionary[Connection, tuple[object, dict[Hashable, object]]] = (
            WeakKeyDictionary()
        )

    def remembered(self, connection: Connection, what: Hashable, read: Callable[[], T]) -> T:
        row = connection.execute("PRAGMA data_version").fetchone()
        version, found = self._found.get(connection, (None, {}))
        if row is None or row[0] != version:
            found = {}
            self._found[connection] = (None if row is None else row[0], found)
        if what not in found:
            if len(found) >= FOUND_MAX:
                found.clear()
            found[what] = read()  # If somebody commits just now it is newer than its version: read once more.
        return cast(T, found[what])

    def _open(self) -> apsw.Connection:
        return open_reader(self._path, self._vfs)

    def meaning(self, error: BaseException) -> StoreError | None:
        return translate(error, self._path) if isinstance(error, apsw.Error) else None

    def _is_busy(self, connection: apsw.Connection) -> bool:
        return connection.in_transaction
