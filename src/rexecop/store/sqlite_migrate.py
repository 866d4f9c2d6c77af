"""Bringing a ledger's file up to date: all at once or not at all, and only where somebody says so."""

from __future__ import annotations

from pathlib import Path

import apsw

from rexecop.store import schema
from rexecop.store.backup import require_passive
from rexecop.store.connection import INCREMENTAL, Patience, open_outdated, require_ours, translated
from rexecop.store.errors import StoreDamaged


def migrate(path: Path, vfs: str | None = None) -> tuple[int, int]:
    """Bring the ledger at `path` up to date; return its schema's number before and after.

    Whoever is killed meanwhile leaves the old one, whole; nothing of records and outputs is rewritten
    but where they lie in the file.

    Raises:
        StoreMissing, StoreForeign, StoreNewer, StoreOtherRoot, StoreReadOnly, StoreUnavailable.
        StoreDamaged: its pages are not sound, before or after; it is as it was.
    """
    with translated(path):
        connection = open_outdated(path, Patience(), vfs)
        try:
            before = require_ours(connection, path)
            if before < schema.VERSION:
                require_passive(connection)
                _require_sound(connection, path)
                _give_back_later(connection)
                return _raise(connection, path)
            schema.require_current(str(path), before, schema.VERSION)
            return before, before
        finally:
            connection.close()


def _raise(connection: apsw.Connection, path: Path) -> tuple[int, int]:
    connection.execute("BEGIN IMMEDIATE")
    before = require_ours(connection, path)  # Another process may have been sooner.
    for number, statements in schema.migrations("sqlite").items():
        if number > before:
            connection.execute(statements)
    connection.pragma("user_version", max(before, schema.VERSION))
    _require_sound(connection, path)
    connection.execute("COMMIT")
    return before, max(before, schema.VERSION)


def _give_back_later(connection: apsw.Connection) -> None:
    """Let free pages be given back a few at a time; a file that was made otherwise is written anew once."""
    if connection.pragma("auto_vacuum") != INCREMENTAL:
        connection.pragma("auto_vacuum", INCREMENTAL)
        connection.execute("VACUUM")


def _require_sound(connection: apsw.Connection, path: Path) -> None:
    (found,) = next(connection.execute("PRAGMA quick_check(1)"))
    if found != "ok":
        raise StoreDamaged(
            f"the ledger `{path}` is damaged, so its schema stays as it is: {found}", path=str(path)
        )
