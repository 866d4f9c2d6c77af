"""The ledger's file: its tables, its numbered schema, and what tells it from other files.

`records` is the evidence: leaf i of the Merkle log in row i, with the tree nodes that
leaf completed. `operations` is the index, `leases` and `locks` are working state.
Everything else hangs on records by digest, commitment or operation.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x52784F70  # "RxOp", in the header of every SQLite file of ours.
VERSION: Final = 3
VERSION_MIN: Final = 3  # Those before it were never released.
PAGE_BYTES: Final = 4096  # The unit disks write; larger pages make every small commit longer.
CHUNK_BYTES: Final = 256 * 1024  # Output is kept in pieces of this size.
CHUNKS_MAX: Final = 4096  # Pieces of one blob: a place is blob * CHUNKS_MAX + piece.

UNDER_WAY: Final = (
    "state IN ('running', 'paused', 'resuming', 'retrying', 'validating', 'indeterminate', 'undoing')"
)

_TABLES: Final = """
CREATE TABLE meta(
  name TEXT PRIMARY KEY NOT NULL, value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE operations(
  number INTEGER PRIMARY KEY, id ANY NOT NULL UNIQUE,
  state TEXT, intent TEXT, profile TEXT, environment TEXT, target TEXT, mode TEXT, requester TEXT,
  created INTEGER, updated INTEGER, records INTEGER, head BLOB, waiting TEXT
) STRICT;
CREATE TABLE records(
  leaf INTEGER PRIMARY KEY, op INTEGER NOT NULL, n INTEGER NOT NULL, body BLOB NOT NULL, nodes BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX places ON records(op, n);
CREATE TABLE claims(
  space TEXT NOT NULL, key ANY NOT NULL, op INTEGER NOT NULL, PRIMARY KEY(space, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE signatures(
  place INTEGER PRIMARY KEY, digest BLOB NOT NULL, form TEXT NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE INDEX signed ON signatures(digest);
CREATE TABLE inputs(
  digest BLOB NOT NULL UNIQUE, role TEXT NOT NULL, data BLOB NOT NULL
) STRICT;
CREATE TABLE blobs(
  number INTEGER PRIMARY KEY, commitment BLOB NOT NULL UNIQUE, key BLOB NOT NULL, media TEXT NOT NULL,
  raw INTEGER NOT NULL, kept INTEGER NOT NULL, truncated INTEGER NOT NULL, redactions INTEGER NOT NULL
) STRICT;
CREATE TABLE chunks(
  place INTEGER PRIMARY KEY, data BLOB NOT NULL
) STRICT;
CREATE TABLE locks(
  target TEXT NOT NULL, op INTEGER NOT NULL, exclusive INTEGER NOT NULL, PRIMARY KEY(target, op)
) STRICT, WITHOUT ROWID;
CREATE TABLE leases(
  op INTEGER PRIMARY KEY, runner TEXT NOT NULL, fence INTEGER NOT NULL, expires INTEGER NOT NULL
) STRICT;
CREATE INDEX live ON leases(expires) WHERE expires>0;
CREATE INDEX began ON operations(number) WHERE %s;
CREATE TABLE board(
  kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE changes(
  leaf INTEGER PRIMARY KEY, target TEXT NOT NULL, n INTEGER NOT NULL, attempt BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX heads ON changes(target, n);
CREATE TABLE checkpoints(
  size INTEGER PRIMARY KEY, note BLOB NOT NULL, given INTEGER NOT NULL
) STRICT;
"""
TABLES: Final = _TABLES % UNDER_WAY

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
