"""What the ledger answers about operations: journals, names, rows, and what hangs on records."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Final

from rexecop.operations.errors import InputMissing, OperationUnknown
from rexecop.operations.ports import (
    READ_AGAIN,
    Blob,
    Claim,
    Damaged,
    Held,
    Journal,
    Lease,
    Row,
    Signature,
    TargetHead,
)
from rexecop.proof.canonical import Digest, commit, digest_of
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.errors import ProofError
from rexecop.proof.merkle import HASH_BYTES, leaf_hash
from rexecop.proof.records.outcome import BlobRef
from rexecop.store.database import Connection, Readers
from rexecop.store.errors import StoreDamaged
from rexecop.store.log import Log
from rexecop.store.packing import (
    Packed,
    pack_digest,
    pack_key,
    pack_operation,
    unpack_body,
    unpack_digest,
    unpack_operation,
)
from rexecop.store.rows import Tally, changed_in, lease_of, row_in, rows_in, tallies_in, under_way_in
from rexecop.store.schema import CHUNKS_MAX

OPENED_MAX: Final = 4096  # Some hundred operations: those that are being worked on.
PREFIX_MIN: Final = 6  # Shorter beginnings are typing errors more often than names.
NAME_MAX: Final = 128
REMEMBERED_MAX: Final = 256  # Rows of a page that a reader remembers: what people look at.
LAST_CHANGE: Final = "SELECT max(leaf) FROM changes"

_ID_DIGITS: Final = 32
_NUMBER_MAX: Final = 2**63 - 1


class OpenedRecords:
    """Records already opened, by their stored bytes: the same bytes need not be parsed and hashed again."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[bytes, Sealed]] = {}
        self._numbers: dict[str, int] = {}

    def number(self, connection: Connection, operation: str) -> int:
        """Return the number of `operation`, or raise OperationUnknown; once committed it never changes."""
        found = self._numbers.get(operation)
        if found is None:
            found = _require_number(connection, operation)
            if len(self._numbers) >= OPENED_MAX:
                self._numbers.clear()
            self._numbers[operation] = found
        return found

    def is_known(self, operation: str) -> bool:
        """Return whether its number is remembered, so that it is the whole id of an operation."""
        return operation in self._numbers

    def keep(self, stored: bytes, leaf: bytes, sealed: Sealed) -> None:
        """Remember what `stored`, whose leaf hash is `leaf`, opens to."""
        if len(self._kept) >= OPENED_MAX:
            self._kept.clear()
        self._kept[stored] = (leaf, sealed)

    def leaf(self, stored: bytes) -> bytes | None:
        """Return the leaf hash of what `stored` opens to, if these very bytes were opened before."""
        found = self._kept.get(stored)
        return None if found is None else found[0]

    def get(self, stored: bytes, leaf: bytes) -> Sealed | None:
        """Return the record if these very bytes were opened before."""
        found = self._kept.get(stored)
        return found[1] if found is not None and found[0] == leaf else None


class Reading(Log):
    """The reading half of the store's port, each answer over a connection of its own."""

    def __init__(self, readers: Readers) -> None:
        super().__init__(readers)
        self._opened = OpenedRecords()

    def journal(self, operation: str) -> Journal:
        """Return the records of `operation`; damaged ones are named and set aside.

        Raises:
            OperationUnknown: there are none.
        """
        with self._readers.borrow() as connection:
            return journal_in(connection, operation, self._opened)

    def records_of(self, operation: str) -> int:
        """Return how many records `operation` has; 0 for none."""
        with self._readers.borrow() as connection, suppress(OperationUnknown):
            return count_of(connection, self._opened.number(connection, operation))
        return 0

    def resolve(self, name: str) -> str:
        """Return the operation id for an id, a unique prefix, a short number, or `@` (the newest).

        Raises:
            OperationUnknown: nothing, or more than one operation, has that name.
        """
        if self._opened.is_known(name):
            return name
        with self._readers.borrow() as connection:
            found = _named(connection, name)
        if len(found) > 1:
            what = f"more than one operation begins with `{name}`: give more digits"
            raise OperationUnknown(what, operation=name)
        if not found:
            words = "there is no operation yet" if name == "@" else f"no operation `{name[:NAME_MAX]}`"
            raise OperationUnknown(words, operation=name[:NAME_MAX])
        return unpack_operation(found[0])

    def number(self, operation: str) -> int:
        """Return the short number of `operation`, or raise OperationUnknown."""
        with self._readers.borrow() as connection:
            return self._opened.number(connection, operation)

    def rows(
        self, *, state: str | None = None, waiting: str = "", after: int = 0, limit: int = 100
    ) -> Sequence[tuple[int, Row]]:
        """Return (short number, row) newest first, below number `after`, whose `waiting` begins like this."""
        with self._readers.borrow() as connection:
            found = partial(rows_in, connection, state=state, waiting=waiting, after=after, limit=limit)
            if limit > REMEMBERED_MAX:
                return found()
            return self._readers.remembered(connection, (state, waiting, after, limit), found)

    def tallies(self) -> Sequence[Tally]:
        """Return how many operations are in each state, by mode and intent."""
        with self._readers.borrow() as connection:
            return tallies_in(connection)

    def changed_since(self, moment: datetime, limit: int) -> Sequence[tuple[str, Row]]:
        """Return (target, row of the operation) of the newest changes, back to `moment` or `limit`."""
        with self._readers.borrow() as connection:
            return changed_in(connection, moment, limit)

    def claimed(self, claim: Claim) -> str | None:
        """Return the operation that used `claim`, or None."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT id FROM claims JOIN operations ON number=op WHERE space=? AND key=?",
                (claim.space, pack_key(claim.key)),
            ).fetchone()
        return None if row is None else unpack_operation(row[0])

    def pinned(self, digest: Digest) -> bytes:
        """Return the pinned input named `digest`.

        Raises:
            InputMissing: it is not stored, or its bytes are others.
        """
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT data FROM inputs WHERE digest=?", (pack_digest(digest),)
            ).fetchone()
        if row is None:
            raise InputMissing(f"pinned input `{digest}` is not stored", digest=digest)
        if digest_of(row[0]) != digest:
            raise InputMissing(f"pinned input `{digest}` is stored with other bytes", digest=digest)
        return bytes(row[0])

    def blob(self, commitment: Digest) -> Blob | None:
        """Return the kept output named `commitment`, or None where none is kept.

        Raises:
            StoreDamaged: its bytes are not those committed to.
        """
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT number, key, media, raw, kept, truncated, redactions FROM blobs WHERE commitment=?",
                (pack_digest(commitment),),
            ).fetchone()
            if row is None:
                return None
            number, key, media, raw, kept, truncated, redactions = row
            chunks = connection.execute(
                "SELECT data FROM chunks WHERE place>=? AND place<? ORDER BY place",
                (number * CHUNKS_MAX, (number + 1) * CHUNKS_MAX),
            )
            data = b"".join(chunk for (chunk,) in chunks)
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

    def signatures(self, digest: Digest) -> Sequence[Signature]:
        """Return the signatures kept beside record `digest`, in the order they came."""
        with self._readers.borrow() as connection:
            found = list(
                connection.execute(
                    "SELECT form, data FROM signatures WHERE digest=? ORDER BY place", (pack_digest(digest),)
                )
            )
        return [Signature(digest=digest, form=form, data=data) for form, data in found]

    def lease(self, operation: str) -> Lease | None:
        """Return the lease of `operation`, expired or not; one given back expires in 1970."""
        with self._readers.borrow() as connection:
            return lease_in(connection, operation, number_in(connection, pack_operation(operation)))

    def target_head(self, target: str) -> TargetHead | None:
        """Return the last change attempt on `target`, or None."""
        with self._readers.borrow() as connection:
            row = connection.execute(
                "SELECT n, attempt FROM changes WHERE target=? ORDER BY n DESC LIMIT 1", (target,)
            ).fetchone()
        return None if row is None else TargetHead(target=target, n=row[0], attempt=unpack_digest(row[1]))

    def heads(self, before: int | None = None) -> tuple[Sequence[TargetHead], int]:
        """Return the last change of every target that stands before leaf `before`, or of all.

        Beside them stands the leaf of the newest of these changes, -1 where there is none.
        """
        limit = _NUMBER_MAX if before is None else before
        newest = (
            "SELECT target, n, attempt, leaf FROM changes WHERE (target, n) IN"
            " (SELECT target, max(n) FROM changes WHERE leaf<? GROUP BY target) ORDER BY target"
        )
        with self._readers.borrow() as connection:
            rows = list(connection.execute(newest, (limit,)))
        heads = [TargetHead(target=row[0], n=row[1], attempt=unpack_digest(row[2])) for row in rows]
        return heads, max((row[3] for row in rows), default=-1)

    def perhaps_unfinished(self, size: int) -> Sequence[str]:
        """Return the operations with a change among the first `size` records that may not have ended there.

        That is those whose newest record is no receipt, which lies here signed, or that have records since.
        """
        with self._readers.borrow() as connection:
            found = connection.execute(
                "SELECT id FROM operations WHERE number>0"
                " AND (NOT EXISTS(SELECT 1 FROM signatures WHERE digest=head AND form='dsse')"
                "  OR number IN (SELECT op FROM records WHERE leaf>=? OR leaf IS NULL))"
                " AND EXISTS(SELECT 1 FROM records JOIN changes ON changes.leaf=records.leaf"
                "  WHERE records.op=number AND records.leaf<?)",
                (size, size),
            )
            return [unpack_operation(key) for (key,) in found]

    def last_change(self) -> int:
        """Return the leaf of the newest change, -1 where there is none."""
        with self._readers.borrow() as connection:
            return last_change_in(connection)

    def changed_between(self, start: int, end: int, target: str | None = None) -> Sequence[str]:
        """Return the operations with a change, of `target` or of any, between two leaves, oldest first."""
        with self._readers.borrow() as connection:
            found = connection.execute(
                "SELECT DISTINCT id, (SELECT leaf FROM records AS first WHERE first.op=records.op AND n=0)"
                " FROM changes JOIN records ON records.leaf=changes.leaf JOIN operations ON number=records.op"
                " WHERE changes.leaf>? AND changes.leaf<? AND changes.target=coalesce(?, changes.target)"
                " ORDER BY 2",
                (start, end, target),
            )
            return [unpack_operation(key) for key, _ in found]

    def locked_by(self, target: str) -> Sequence[str]:
        """Return the operations that hold a lock on `target`."""
        with self._readers.borrow() as connection:
            found = connection.execute(
                "SELECT id FROM locks JOIN operations ON number=op WHERE locks.target=? ORDER BY op",
                (target,),
            )
            return [unpack_operation(key) for (key,) in found]

    def locks(self) -> Sequence[Held]:
        """Return every lock that stands, by target and operation."""
        with self._readers.borrow() as connection:
            found = connection.execute(
                "SELECT locks.target, id, op, exclusive FROM locks JOIN operations ON number=op"
                " ORDER BY locks.target, op"
            )
            return [
                Held(target=target, operation=unpack_operation(key), number=op, exclusive=bool(alone))
                for target, key, op, alone in found
            ]

    def row(self, operation: str) -> tuple[int, Row]:
        """Return the short number and the row of `operation`, or raise OperationUnknown."""
        with self._readers.borrow() as connection:
            number = self._opened.number(connection, operation)
            row = row_in(connection, number)
        if row is None:
            raise OperationUnknown(f"`{operation[:NAME_MAX]}` has no row", operation=operation[:NAME_MAX])
        return number, row

    def under_way(self) -> Sequence[tuple[int, Row, Lease | None]]:
        """Return number, row and lease of every operation that began and has not ended, oldest first."""
        with self._readers.borrow() as connection:
            return under_way_in(connection)

    def silent(self) -> frozenset[str]:
        """Return no runner: a file has those of one machine, who see one another."""
        return frozenset()

    def posted(self, kind: str, name: str | None = None) -> Sequence[tuple[str, bytes]]:
        """Return (name, body) of all that stands on the board under `kind`, or of `name` alone, by name."""
        board = "SELECT name, body FROM board WHERE kind=?"
        with self._readers.borrow() as connection:
            if name is not None:
                return list(connection.execute(f"{board} AND name=?", (kind, name)))
            return list(connection.execute(f"{board} ORDER BY name", (kind,)))

    @property
    def instance_id(self) -> str:
        """Return the id of the instance this ledger is of."""
        return str(self._meta("instance"))


def count_in(connection: Connection, operation: str) -> int:
    """Return how many records `operation` has; 0 for none."""
    number = number_in(connection, pack_operation(operation))
    return 0 if number is None else count_of(connection, number)


def count_of(connection: Connection, number: int) -> int:
    """Return how many records the operation with `number` has."""
    row = connection.execute("SELECT max(n) FROM records WHERE op=?", (number,)).fetchone()
    return 0 if row is None or row[0] is None else int(row[0]) + 1


def last_change_in(connection: Connection) -> int:
    """Return the leaf of the newest change, -1 where there is none."""
    row = connection.execute(LAST_CHANGE).fetchone()
    return -1 if row is None or row[0] is None else int(row[0])


def number_in(connection: Connection, key: Packed) -> int | None:
    """Return the number the ledger knows `key` by, below 0 for chains that are no operations, or None."""
    row = connection.execute("SELECT number FROM operations WHERE id=?", (key,)).fetchone()
    return None if row is None else int(row[0])


def lease_in(connection: Connection, operation: str, number: int | None) -> Lease | None:
    """Return the lease of `operation`, which has this number, or None."""
    row = connection.execute("SELECT runner, fence, expires FROM leases WHERE op=?", (number,)).fetchone()
    return lease_of(operation, row)


def journal_in(connection: Connection, operation: str, opened: OpenedRecords) -> Journal:
    """Return the records of `operation`, with those that are not what was logged set aside.

    Raises:
        OperationUnknown: there are none.
    """
    number = opened.number(connection, operation)
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
        found = _record(operation, n, body, nodes[:HASH_BYTES], opened)
        if isinstance(found, Sealed):
            records.append(found)
        else:
            damaged.append(Damaged(operation=operation, n=n, reason=found))
    return Journal(operation=operation, records=tuple(records), damaged=tuple(damaged))


def _record(operation: str, n: int, stored: bytes, leaf: bytes, opened: OpenedRecords) -> Sealed | str:
    """Return the record that `stored` holds, or what is wrong with it."""
    try:
        sealed = opened.get(stored, leaf)
        if sealed is None:
            body = unpack_body(stored)
            if leaf_hash(body) != leaf:
                return "its bytes are not those that were logged"
            sealed = unseal(body)
            opened.keep(stored, leaf, sealed)
    except (ProofError, StoreDamaged) as error:
        return error.message
    if sealed.record.operation != operation or sealed.record.n != n:
        return "it belongs to another place"
    return sealed


def _require_number(connection: Connection, operation: str) -> int:
    number = number_in(connection, pack_operation(operation))
    if number is None:
        raise OperationUnknown(f"no operation `{operation[:NAME_MAX]}`", operation=operation[:NAME_MAX])
    return number


def _named(connection: Connection, name: str) -> list[Packed]:
    """Return the packed ids `name` may mean: an id before a number before a beginning; two if unclear."""
    if name == "@":
        # What an operation read again for itself is not what somebody did last.
        asked = "number>0 AND coalesce(waiting, '')<>? ORDER BY number DESC LIMIT 1"
        return [
            key for (key,) in connection.execute(f"SELECT id FROM operations WHERE {asked}", (READ_AGAIN,))
        ]
    key = pack_operation(name)
    if number_in(connection, key) is not None:
        return [key]
    if name.isascii() and name.isdigit() and len(name) < 20 and 0 < int(name) <= _NUMBER_MAX:
        found = connection.execute("SELECT id FROM operations WHERE number=?", (int(name),)).fetchone()
        if found is not None:
            return [found[0]]
    digits = name.removeprefix("op_")
    if not PREFIX_MIN <= len(digits) <= _ID_DIGITS or not set(digits) <= set("0123456789abcdef"):
        return []
    between = tuple(pack_operation("op_" + digits.ljust(_ID_DIGITS, fill)) for fill in "0f")
    begins = "SELECT id FROM operations WHERE id BETWEEN ? AND ? LIMIT 2"
    return [key for (key,) in connection.execute(begins, between)]
