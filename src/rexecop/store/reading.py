"""What the ledger answers: journals, rows, and what hangs on records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import apsw

from rexecop.operations.errors import InputMissing, OperationUnknown
from rexecop.operations.ports import Blob, Claim, Damaged, Journal, Signature, TargetHead
from rexecop.proof.canonical import Digest, commit, digest_of
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import HASH_BYTES, leaf_hash
from rexecop.proof.records.outcome import BlobRef
from rexecop.store.errors import StoreDamaged
from rexecop.store.names import number_of
from rexecop.store.packing import (
    pack_digest,
    pack_key,
    pack_operation,
    unpack_body,
    unpack_digest,
    unpack_operation,
)
from rexecop.store.schema import CHUNKS_MAX

OPENED_MAX: Final = 4096  # Some hundred operations: those that are being worked on.


class OpenedRecords:
    """Records already opened, by their stored bytes: the same bytes need not be parsed and hashed again."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[bytes, Sealed]] = {}

    def keep(self, stored: bytes, leaf: bytes, sealed: Sealed) -> None:
        """Remember what `stored`, whose leaf hash is `leaf`, opens to."""
        if len(self._kept) >= OPENED_MAX:
            self._kept.clear()
        self._kept[stored] = (leaf, sealed)

    def get(self, stored: bytes, leaf: bytes) -> Sealed | None:
        """Return the record if these very bytes were opened before."""
        found = self._kept.get(stored)
        return found[1] if found is not None and found[0] == leaf else None


def journal(connection: apsw.Connection, operation: str, opened: OpenedRecords) -> Journal:
    """Return the records of `operation`, with those that are not what was logged set aside.

    Raises:
        OperationUnknown: there are none.
    """
    number = number_of(connection, operation)
    rows = list(connection.execute("SELECT n, body, nodes FROM records WHERE op=? ORDER BY n", (number,)))
    if not rows:
        raise OperationUnknown(f"no operation `{operation}`", operation=operation)
    records: list[Sealed] = []
    damaged: list[Damaged] = []
    expected = 0
    for n, body, nodes in rows:
        damaged.extend(
            Damaged(operation=operation, n=gap, reason="it is missing") for gap in range(expected, n)
        )
        expected = n + 1
        found = _record(operation, n, body, nodes, opened)
        if isinstance(found, Damaged):
            damaged.append(found)
        else:
            records.append(found)
    return Journal(operation=operation, records=tuple(records), damaged=tuple(damaged))


def records_of(connection: apsw.Connection, operation: str) -> int:
    """Return how many records `operation` has; 0 for none."""
    row = connection.execute(
        "SELECT max(n) FROM records WHERE op=(SELECT number FROM operations WHERE id=?)",
        (pack_operation(operation),),
    ).fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) + 1


def _record(operation: str, n: int, stored: bytes, nodes: bytes, opened: OpenedRecords) -> Sealed | Damaged:
    leaf = nodes[:HASH_BYTES]
    try:
        sealed = opened.get(stored, leaf)
        if sealed is None:
            body = unpack_body(stored)
            if leaf_hash(body) != leaf:
                return Damaged(operation=operation, n=n, reason="its bytes are not those that were logged")
            sealed = unseal(body)
            opened.keep(stored, leaf, sealed)
    except (ProofError, StoreDamaged) as error:
        return Damaged(operation=operation, n=n, reason=error.message)
    if sealed.record.operation != operation or sealed.record.n != n:
        return Damaged(operation=operation, n=n, reason="it belongs to another place")
    return sealed


def claimed(connection: apsw.Connection, claim: Claim) -> str | None:
    """Return the operation that used `claim`, or None."""
    row = connection.execute(
        "SELECT id FROM claims JOIN operations ON number=op WHERE space=? AND key=?",
        (claim.space, pack_key(claim.key)),
    ).fetchone()
    return None if row is None else unpack_operation(row[0])


def pinned(connection: apsw.Connection, digest: Digest) -> bytes:
    """Return the pinned input `digest`.

    Raises:
        InputMissing: it is not stored, or its bytes are others.
    """
    row = connection.execute("SELECT data FROM inputs WHERE digest=?", (pack_digest(digest),)).fetchone()
    if row is None:
        raise InputMissing(f"pinned input `{digest}` is not stored", digest=digest)
    if digest_of(row[0]) != digest:
        raise InputMissing(f"pinned input `{digest}` is stored with other bytes", digest=digest)
    return bytes(row[0])


def blob(connection: apsw.Connection, commitment: Digest) -> Blob | None:
    """Return the kept output `commitment`, or None where none is kept.

    Raises:
        StoreDamaged: its bytes are not those committed to.
    """
    row = connection.execute(
        "SELECT number, key, media, raw, kept, truncated, redactions FROM blobs WHERE commitment=?",
        (pack_digest(commitment),),
    ).fetchone()
    if row is None:
        return None
    number, key, media, raw, kept, truncated, redactions = row
    first = number * CHUNKS_MAX
    data = b"".join(_chunks(connection, first))
    if commit(key, data) != commitment:
        raise StoreDamaged(f"output `{commitment}` is not what was kept", digest=commitment)
    ref = BlobRef(
        commitment=commitment,
        raw_bytes=raw,
        kept_bytes=kept,
        media=media,
        truncated=bool(truncated),
        redactions=redactions,
    )
    return Blob(ref=ref, key=key, data=data)


def _chunks(connection: apsw.Connection, first: int) -> Iterator[bytes]:
    found = connection.execute(
        "SELECT data FROM chunks WHERE place>=? AND place<? ORDER BY place", (first, first + CHUNKS_MAX)
    )
    for (data,) in found:
        yield data


def signatures(connection: apsw.Connection, digest: Digest) -> Sequence[Signature]:
    """Return the signatures kept beside record `digest`, in the order they came."""
    found = connection.execute(
        "SELECT form, data FROM signatures WHERE digest=? ORDER BY place", (pack_digest(digest),)
    )
    return [Signature(digest=digest, form=form, data=data) for form, data in found]


def target_head(connection: apsw.Connection, target: str) -> TargetHead | None:
    """Return the last change attempt on `target`, or None."""
    row = connection.execute("SELECT n, attempt FROM heads WHERE target=?", (target,)).fetchone()
    return None if row is None else TargetHead(target=target, n=row[0], attempt=unpack_digest(row[1]))


def locked_by(connection: apsw.Connection, target: str) -> Sequence[str]:
    """Return the operations that hold a lock on `target`."""
    found = connection.execute(
        "SELECT id FROM locks JOIN operations ON number=op WHERE locks.target=? ORDER BY op", (target,)
    )
    return [unpack_operation(key) for (key,) in found]


def meta(connection: apsw.Connection, name: str) -> str | int:
    """Return the value `name` of the ledger's own facts.

    Raises:
        StoreDamaged: it has none.
    """
    row = connection.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
    if row is None or not isinstance(row[0], str | int):
        raise StoreDamaged(f"the ledger does not say its `{name}`")
    return row[0]
