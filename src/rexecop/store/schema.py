"""The ledger's numbered schema, in either database, and what tells its file from other files.

`migrations` holds a folder for each database. The first file of one makes all tables, every later
one makes the next schema of the one before; the number in its name is the schema's.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final

from rexecop.store.errors import StoreNewer, StoreOutdated

APPLICATION_ID: Final = 0x52784F70  # "RxOp", in the header of every SQLite file of ours.
VERSION: Final = 4  # Of the file; a test holds it to the newest migration, which nothing reads to open one.
VERSION_MIN: Final = 3  # Those before it were never released.
PAGE_BYTES: Final = 4096  # The unit disks write; larger pages make every small commit longer.
CHUNK_BYTES: Final = 256 * 1024  # Output is kept in pieces of this size.
CHUNKS_MAX: Final = 4096  # Pieces of one blob: a place is blob * CHUNKS_MAX + piece.

UNDER_WAY: Final = (
    "state IN ('running', 'paused', 'resuming', 'retrying', 'validating', 'indeterminate', 'undoing')"
)

TABLE_NAMES: Final = (
    "meta",
    "operations",
    "records",
    "claims",
    "signatures",
    "inputs",
    "blobs",
    "chunks",
    "locks",
    "leases",
    "board",
    "changes",
    "checkpoints",
)


@cache
def migrations(database: str) -> Mapping[int, str]:
    """Return the statements that make each schema of `database` (`sqlite` or `postgres`), oldest first."""
    files = sorted((Path(__file__).with_name("migrations") / database).glob("*.sql"))
    return {int(file.stem): file.read_text(encoding="utf-8") for file in files}


def require_current(place: str, found: int, newest: int) -> None:
    """Return only if the ledger at `place`, of schema `found`, is one that this version reads and writes.

    Raises:
        StoreNewer, StoreOutdated: it is not.
    """
    if found > newest:
        raise StoreNewer(
            f"the ledger `{place}` has schema {found}; this version reads up to {newest}",
            found=found,
            allowed=newest,
        )
    if found < newest:
        raise StoreOutdated(
            f"the ledger `{place}` has schema {found}, this version needs {newest}",
            found=found,
            allowed=newest,
            next_steps=("rexecop doctor --fix",),
        )
