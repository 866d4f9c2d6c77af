"""Copies of the ledger: taken while others write, and opened without trusting what is in them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw

from rexecop.proof.canonical import commit, digest_of
from rexecop.store.connection import open_reader, translated
from rexecop.store.errors import StoreDamaged, StoreForeign
from rexecop.store.packing import unpack_digest
from rexecop.store.schema import CHUNKS_MAX

_CHUNKS: Final = "SELECT data FROM chunks WHERE place>=? AND place<? ORDER BY place"
_ACTIVE: Final = """
SELECT 1 FROM sqlite_schema WHERE type NOT IN ('table', 'index') OR upper(sql) LIKE 'CREATE VIRTUAL%'
"""


def copy(path: Path, target: Path) -> None:
    """Write a compact copy of the ledger at `path`, as it is at one moment, to the new file `target`.

    Raises:
        StoreUnavailable, StoreDamaged: the ledger cannot be read, or `target` written.
        FileExistsError: there is a `target`.
    """
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    with _reading(path) as connection:
        # It counts the copy as a change; this connection cannot make any.
        connection.pragma("query_only", 0)
        connection.execute("VACUUM INTO ?", (str(target),))


def require_passive(connection: apsw.Connection) -> None:
    """Return only if nothing in the file runs by itself: StoreForeign where there are triggers or views."""
    if connection.execute(_ACTIVE).fetchone() is not None:
        raise StoreForeign("the ledger holds more than tables: something in it would run by itself")


def require_whole(path: Path) -> None:
    """Return only if the ledger at `path` holds nothing that runs by itself, and outputs and inputs as named.

    Raises:
        StoreForeign: it has triggers, views or virtual tables. StoreDamaged: a digest does not fit.
        StoreUnavailable: it cannot be read.
    """
    with _reading(path) as connection:
        require_passive(connection)
        for digest, data in connection.execute("SELECT digest, data FROM inputs"):
            if digest_of(data) != unpack_digest(digest):
                raise StoreDamaged(f"pinned input `{unpack_digest(digest)}` is not what it names")
        for number, commitment, key in connection.execute("SELECT number, commitment, key FROM blobs"):
            places = (number * CHUNKS_MAX, (number + 1) * CHUNKS_MAX)
            data = b"".join(piece for (piece,) in connection.execute(_CHUNKS, places))
            if commit(key, data) != unpack_digest(commitment):
                raise StoreDamaged(f"output `{unpack_digest(commitment)}` is not what was kept")


@contextmanager
def _reading(path: Path) -> Iterator[apsw.Connection]:
    connection = open_reader(path)
    try:
        with translated(path):
            yield connection
    finally:
        connection.close()
