"""Chains: the records of one operation, each naming the digest of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import RECORD_BYTES_MAX, encode
from rexecop.proof.errors import ChainBroken, RecordMalformed
from rexecop.proof.records import Record, read_record

CLOCK_TOLERANCE: Final = timedelta(seconds=5)  # `at` may step back this far; no clock is perfect.


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record with its canonical bytes and their digest."""

    record: Record
    body: bytes
    digest: Digest


def seal(record: Record) -> Sealed:
    """Return `record` with its bytes and digest.

    Raises:
        RecordMalformed: the bytes exceed `RECORD_BYTES_MAX`.
        NotCanonical: a free-form field holds what evidence may not.
    """
    body = encode(record)
    if len(body) > RECORD_BYTES_MAX:
        raise RecordMalformed(f"record `{record.kind}` takes {len(body)} bytes, at most {RECORD_BYTES_MAX}")
    return Sealed(record, body, digest_of(body))


def unseal(body: bytes) -> Sealed:
    """Return the record that `body` is the canonical form of.

    Raises:
        NotCanonical, RecordMalformed, KindUnknown: see `records.read_record`.
    """
    return Sealed(read_record(body), body, digest_of(body))


def check_chain(records: Sequence[Sealed]) -> None:
    """Return only if `records` are one operation from its first record on, without gaps.

    Raises:
        ChainBroken: a wrong place, `prev`, operation or time, naming the record.
    """
    last: Sealed | None = None
    for index, sealed in enumerate(records):
        check_link(last, sealed, index)
        last = sealed


def check_link(last: Sealed | None, sealed: Sealed, index: int) -> None:
    """Return only if `sealed` is record number `index`, right after `last`.

    Raises:
        ChainBroken: see `check_chain`.
    """
    record = sealed.record
    place = f"record {index} of `{record.operation}`"
    if record.n != index:
        raise ChainBroken(f"{place} says it is number {record.n}", n=index)
    if record.prev != (last.digest if last else None):
        raise ChainBroken(f"{place} does not name the record before it", n=index)
    if last is None:
        return
    if record.operation != last.record.operation:
        raise ChainBroken(f"{place} belongs to another operation than record {index - 1}", n=index)
    if record.at < last.record.at - CLOCK_TOLERANCE:
        raise ChainBroken(f"{place} is dated more than 5 s before record {index - 1}", n=index)
