"""Where a root keeps its ledger: in a file of its own, or in a PostgreSQL schema that it remembers."""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from rexecop.app.files import read_file, write_new
from rexecop.app.root import Root
from rexecop.operations.errors import StoreUnavailable
from rexecop.store.connection import FileReaders
from rexecop.store.database import Readers
from rexecop.store.errors import ExtraMissing, StorageRefused, StoreMissing
from rexecop.store.uri import POSTGRES_EXTRA, VALUE_LENGTH_MAX, Storage, parse_storage

if TYPE_CHECKING:
    from rexecop.store.checkpoints import Sign
    from rexecop.store.ledger import LedgerStore
    from rexecop.store.postgres_connection import Server

PLACE_BYTES_MAX: Final = VALUE_LENGTH_MAX + 64  # A URL, and an id of 32 digits.


class Place(ABC):
    """Where the ledger of one root is."""

    @abstractmethod
    def create(self, instance: str) -> None:
        """Make an empty ledger for `instance`, and remember where.

        Raises:
            StoreUnavailable: it cannot be made, or something is there. ExtraMissing: see `_server`.
        """

    @abstractmethod
    def open(
        self, *, read_only: bool = False, checkpointer: Sign | None = None, doubt: str | None = None
    ) -> LedgerStore:
        """Open the ledger; see `LedgerStore`."""

    @abstractmethod
    def readers(self) -> Readers:
        """Return connections that only read, without the machinery of a writer."""

    @abstractmethod
    def migrate(self) -> tuple[int, int]:
        """Bring the schema up to date; return its number before and after."""

    def openers(self) -> tuple[str, ...]:
        """Return the files that open the ledger: no program of a call may see them."""
        return ()

    @abstractmethod
    def take_in(self, copy: Path) -> None:
        """Make the ledger of the SQLite file `copy`, which is gone afterwards."""


@dataclass(frozen=True, slots=True)
class FilePlace(Place):
    """In the root."""

    root: Root

    def create(self, instance: str) -> None:
        """Make the file."""
        from rexecop.store.sqlite import SqliteStore

        SqliteStore.create(self.root.ledger, instance).close()

    def open(
        self, *, read_only: bool = False, checkpointer: Sign | None = None, doubt: str | None = None
    ) -> LedgerStore:
        """Open the file."""
        from rexecop.store.sqlite import SqliteStore

        return SqliteStore.open(self.root.ledger, read_only=read_only, checkpointer=checkpointer, doubt=doubt)

    def readers(self) -> Readers:
        """Return connections to the file."""
        return FileReaders(self.root.ledger, None)

    def migrate(self) -> tuple[int, int]:
        """Bring the file up to date."""
        from rexecop.store.sqlite_migrate import migrate

        return migrate(self.root.ledger)

    def take_in(self, copy: Path) -> None:
        """Put the file where it belongs."""
        copy.rename(self.root.ledger)


@dataclass(frozen=True, slots=True)
class ServerPlace(Place):
    """In a PostgreSQL schema. `value` is what the root remembers, `id` what the schema knows the root by."""

    root: Root
    value: str
    storage: Storage
    id: str
    environ: Mapping[str, str]

    def create(self, instance: str) -> None:
        """Make the tables, and a file in the root that says where; neither without the other."""
        server = self._server()
        from rexecop.store.postgres import PostgresStore

        fresh = write_new(self.root.place, f"{self.value}\n{self.id}\n".encode())
        try:
            PostgresStore.create(server, instance)
        except BaseException:
            if fresh:
                self.root.place.unlink()
            raise

    def open(
        self, *, read_only: bool = False, checkpointer: Sign | None = None, doubt: str | None = None
    ) -> LedgerStore:
        """Connect."""
        server = self._server()
        from rexecop.store.postgres import PostgresStore

        return PostgresStore.open(server, read_only=read_only, checkpointer=checkpointer, doubt=doubt)

    def readers(self) -> Readers:
        """Return connections to the server."""
        server = self._server()
        from rexecop.store.postgres_connection import ServerReaders

        return ServerReaders(server)

    def migrate(self) -> tuple[int, int]:
        """Run the migrations that are missing."""
        server = self._server()
        from rexecop.store.postgres_connection import migrate

        return migrate(server)

    def openers(self) -> tuple[str, ...]:
        """Return the password file and private key of the client library that are there."""
        said = dict(parse_qsl(urlsplit(self.storage.url).query))
        named = (
            said.get("passfile", self.environ.get("PGPASSFILE", "~/.pgpass")),
            said.get("sslkey", self.environ.get("PGSSLKEY", "~/.postgresql/postgresql.key")),
        )
        return tuple(path for path in map(os.path.expanduser, named) if os.path.exists(path))

    def take_in(self, copy: Path) -> None:
        """Make the tables of the file's; the root remembers where they are."""
        server = self._server()
        from rexecop.store.postgres import PostgresStore

        PostgresStore.create_from(server, copy)
        write_new(self.root.place, f"{self.value}\n{self.id}\n".encode())
        copy.unlink()

    def _server(self) -> Server:
        """Return how to get there.

        Raises:
            ExtraMissing: the client library is not installed.
        """
        try:
            from rexecop.store.postgres_connection import Server
        except ImportError as error:
            words = f"a PostgreSQL ledger needs the extra `{POSTGRES_EXTRA}`, which is not installed"
            raise ExtraMissing(words, extra=POSTGRES_EXTRA, allowed="sqlite") from error
        return Server(storage=self.storage, password=self._password, root=self.id)

    def _password(self) -> str | None:
        """Return the secret that the URL names, read anew for every connection.

        Raises:
            StoreUnavailable: it cannot be had.
        """
        name = self.storage.password_ref
        if name is None:
            return None
        from rexecop.app.secrets import Locator
        from rexecop.lanes.errors import RequestRefused
        from rexecop.lanes.secrets import Secrets

        async def read() -> str:
            async with Secrets(Locator(self.root, self.environ)).lease([name]) as values:
                return values[name].decode()

        # Whoever connects may be within a loop of their own.
        with ThreadPoolExecutor(1) as threads:
            try:
                return threads.submit(asyncio.run, read()).result()
            except RequestRefused as error:
                words = f"the ledger's password cannot be had: {error.message}"
                raise StoreUnavailable(words, next_steps=("rexecop secrets doctor",)) from error


def ledger_of(
    root: Root, named: str = "sqlite", fresh_id: str = "", environ: Mapping[str, str] = os.environ
) -> Place:
    """Return where the ledger of `root` is: where the root remembers it, if `named` does not say better.

    A root that has none yet is to keep it where `named` says, known there by `fresh_id`.

    Raises:
        StorageRefused, StoragePassword: `named` is nothing allowed, or the root has its ledger in a file.
        StoreMissing: what the root remembers cannot be read.
    """
    storage, kept, known = parse_storage(named), None, fresh_id
    if root.place.exists():
        with suppress(ValueError):
            kept, known, _ = read_file(root.place, bytes_max=PLACE_BYTES_MAX).decode().split("\n")
        if kept is None:
            raise StoreMissing(f"`{root.place}` does not say where the ledger is", path=str(root.place))
        if storage.kind == "sqlite":
            named, storage = kept, replace(parse_storage(kept), remark=storage.remark)
    elif storage.kind == "postgres" and root.ledger.exists():
        words = f"`{root.path}` keeps its ledger in a SQLite file; a backup of it can be restored elsewhere"
        raise StorageRefused(words, allowed="sqlite")
    if storage.kind == "sqlite":
        return FilePlace(root)
    return ServerPlace(root, named, storage, known, environ)
