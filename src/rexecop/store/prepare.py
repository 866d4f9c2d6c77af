"""Checks and hashing of a batch that need no ledger, done before the write lock is taken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.operations.ports import Batch, Blob
from rexecop.proof.canonical import commit, digest_of
from rexecop.proof.chain import Sealed, check_link
from rexecop.proof.errors import ChainBroken
from rexecop.proof.merkle import leaf_hash
from rexecop.proof.vocabulary import Mode
from rexecop.store.errors import BatchRefused
from rexecop.store.packing import Packed, pack_body, pack_operation
from rexecop.store.schema import CHUNK_BYTES, CHUNKS_MAX

BATCH_RECORDS_MAX: Final = 20_000  # A fan-out over 10,000 targets may end in one step.
BATCH_BYTES_MAX: Final = 128 * 1024 * 1024  # What one transaction may hold in memory.


CHANGING: Final = frozenset({Mode.APPLY, Mode.RECOVERY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A batch that agrees with itself: packed `bodies`, their leaf hashes, and its weight in bytes."""

    batch: Batch
    key: Packed
    bodies: tuple[bytes, ...]
    leaves: tuple[bytes, ...]
    weight: int


def prepare(batch: Batch) -> Prepared:
    """Return `batch`, checked and packed.

    Raises:
        BatchRefused: records that do not follow one another or are not of the operation, a row,
            blob or input that is not what it says, or more than one batch may hold.
    """
    weight = _weight(batch)
    _check_records(batch)
    _check_row(batch)
    for blob in batch.blobs:
        _check_blob(blob)
    for pinned in batch.inputs:
        if digest_of(pinned.data) != pinned.digest:
            raise BatchRefused(f"pinned {pinned.role} is not what `{pinned.digest}` names")
    return Prepared(
        batch=batch,
        key=pack_operation(batch.operation),
        bodies=tuple(pack_body(sealed.body) for sealed in batch.records),
        leaves=tuple(leaf_hash(sealed.body) for sealed in batch.records),
        weight=weight,
    )


def is_changing(batch: Batch) -> bool:
    """Return whether `batch` may stand for a change: it is not known to be of a read or a dry run."""
    return bool(batch.records) and (batch.row is None or batch.row.mode in CHANGING)


def _weight(batch: Batch) -> int:
    records = len(batch.records)
    if records > BATCH_RECORDS_MAX:
        what = f"{records} records in one batch, at most {BATCH_RECORDS_MAX}"
        raise BatchRefused(what, limit=BATCH_RECORDS_MAX)
    weight = sum(len(sealed.body) for sealed in batch.records)
    weight += sum(len(blob.data) for blob in batch.blobs) + sum(len(pinned.data) for pinned in batch.inputs)
    if weight > BATCH_BYTES_MAX:
        raise BatchRefused(f"{weight} bytes in one batch, at most {BATCH_BYTES_MAX}", limit=BATCH_BYTES_MAX)
    return weight


def _check_records(batch: Batch) -> None:
    last: Sealed | None = None
    for index, sealed in enumerate(batch.records, start=batch.expected):
        record = sealed.record
        placed = record.operation == batch.operation and record.n == index
        if not placed or digest_of(sealed.body) != sealed.digest:
            what = f"record {record.n} of `{record.operation}` is not record {index} of `{batch.operation}`"
            raise BatchRefused(what)
        if last is not None:
            try:
                check_link(last, sealed, index)
            except ChainBroken as error:
                raise BatchRefused(error.message, n=index) from error
        last = sealed
    if batch.expected == 0 and batch.records and batch.records[0].record.prev is not None:
        raise BatchRefused(f"the first record of `{batch.operation}` names one before it")


def _check_row(batch: Batch) -> None:
    row, records = batch.row, batch.records
    if row is None:
        return
    if row.operation != batch.operation or row.records != batch.expected + len(records):
        raise BatchRefused(f"index row of `{batch.operation}` does not count its records")
    if records and row.head != records[-1].digest:
        raise BatchRefused(f"index row of `{batch.operation}` does not name its last record")


def _check_blob(blob: Blob) -> None:
    ref, size = blob.ref, len(blob.data)
    if size > CHUNK_BYTES * CHUNKS_MAX:
        raise BatchRefused(f"output of {size} bytes, at most {CHUNK_BYTES * CHUNKS_MAX} are kept")
    if ref.kept_bytes != size or commit(blob.key, blob.data) != ref.commitment:
        raise BatchRefused(f"output is not what `{ref.commitment}` commits to")
