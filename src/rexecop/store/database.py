"""What the two databases have in common: how their tables are read and written, and what may go wrong.

Statements are written once, with `?` for values and in words that both understand; the few
that cannot be are constants that `store.postgres` replaces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, Protocol, TypeAlias, TypeVar

from rexecop.operations.errors import StoreError, StoreUnavailable

if TYPE_CHECKING:
    from psycopg.rows import TupleRow

T = TypeVar("T")
Value: TypeAlias = int | float | str | bytes | None
"""What a column holds."""


class Cursor(Protocol):
    """The rows that a statement found."""

    def fetchone(self) -> TupleRow | None:
        """Return the next row, None after the last."""
        ...

    def __iter__(self) -> Iterator[TupleRow]:
        """Yield the rows that are left."""
        ...


class Connection(Protocol):
    """One connection; its errors are the database's own."""

    def execute(self, sql: str, values: Sequence[Value] = ..., /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, sql: str, rows: Iterable[Sequence[Value]], /) -> object:
        """Run one statement for every one of `rows`."""
        ...


class Readers(Protocol):
    """Connections that only read; a reader never waits for a writer."""

    def borrow(self) -> AbstractContextManager[Connection]:
        """Lend a connection to one reader; the database's errors leave as the port's.

        Raises:
            StoreUnavailable: the ledger cannot be read, or was closed.
        """
        ...

    def remembered(self, connection: Connection, what: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` finds by `connection`, which is `what`, or what it found if nothing changed."""
        ...

    def close(self) -> None:
        """Close every connection that is not lent; the others are closed when they come back."""
        ...


IDLE_MAX: Final = 8  # Readers kept open; more at once open and close their own.


class Closable(Connection, Protocol):
    """A connection that a pool opened."""

    def close(self) -> None:
        """Let go of the database."""
        ...


C = TypeVar("C", bound=Closable)


class Pool(ABC, Generic[C]):
    """`Readers` that are kept open and lent again; a reader takes a free one and waits for nobody."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._idle: list[C] = []
        self._closed = False

    def borrow(self) -> AbstractContextManager[C]:
        """Lend a connection to one reader; see `Readers`."""
        return _Lent(self)

    def remembered(self, connection: Connection, what: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` finds; see `Readers`."""
        return read()

    def take(self) -> C:
        """Return a connection that `take_back` gets again."""
        if self._closed:
            raise StoreUnavailable(f"the ledger `{self._place}` was closed")
        kept = self._kept()
        return self._open() if kept is None else kept

    def take_back(self, connection: C) -> None:
        """Keep a connection that was lent, or close it."""
        # It may have met an error: it is only kept when it holds nothing open.
        if self._closed or len(self._idle) >= IDLE_MAX or self._is_busy(connection):
            connection.close()
        else:
            self._idle.append(connection)

    def _kept(self) -> C | None:
        while self._idle:
            connection = self._idle.pop()
            if self._is_usable(connection):
                return connection
            connection.close()
        return None

    def close(self) -> None:
        """Close every connection that is not lent; the others are closed when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    @abstractmethod
    def _open(self) -> C:
        """Return a new connection that only reads."""

    @abstractmethod
    def meaning(self, error: BaseException) -> StoreError | None:
        """Return the port's error for one of the database's, None for any other."""

    @abstractmethod
    def _is_busy(self, connection: C) -> bool:
        """Return whether `connection` cannot be lent to another reader."""

    def _is_usable(self, connection: C) -> bool:
        """Return whether `connection`, which lay idle, still leads somewhere."""
        return True


class _Lent(AbstractContextManager[C]):
    """A connection on loan; a class, because an operation borrows a dozen and a generator costs more."""

    __slots__ = ("_connection", "_pool")

    def __init__(self, pool: Pool[C]) -> None:
        self._pool = pool

    def __enter__(self) -> C:
        self._connection = self._pool.take()
        return self._connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.take_back(self._connection)
        meant = None if error is None else self._pool.meaning(error)
        if meant is not None:
            raise meant from error


class Contended(Exception):
    """Somebody else was in the way, and nothing was written: the same may be tried again."""


class Uncertain(Exception):
    """Whether the transaction was committed cannot be told, because of `reason`."""

    def __init__(self, reason: StoreError) -> None:
        super().__init__(reason.message)
        self.reason = reason
