-- The ledger's file. `records` is the evidence: leaf i of the Merkle log in row i, with the tree nodes
-- that leaf completed. `operations` is the index, `leases` and `locks` are working state.
-- Everything else hangs on records by digest, commitment or operation.
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
CREATE INDEX began ON operations(number) WHERE state IN ('running', 'paused', 'resuming', 'retrying', 'validating', 'indeterminate', 'undoing');
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
