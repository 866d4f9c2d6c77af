"""Chains: the records of one operation, each naming the digest of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from rexecop.proof.canonical import Digest, digest_of
from rexecop.proof.codec import encode
from rexecop.proof.errors import ChainBroken, ChainPlaceRepeated, ChainTimeReversed, RecordMalformed
from rexecop.proof.records.base import Record

CLOCK_TOLERANCE: Final = timedelta(seconds=5)  # `at` may step back this far; no clock is perfect.


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record with its canonical bytes and their digest."""

    record: Record
    body: bytes
    digest: Digest


@dataclass(frozen=True, slots=True)
class End:
    """Where a chain ends so far: all that is needed to tell what may follow."""

    operation: str
    n: int
    digest: Digest
    at: datetime

    @classmethod
    def of(cls, sealed: Sealed) -> End:
        """Return the end of a chain whose last record is `sealed`."""
        record = sealed.record
        return cls(record.operation, record.n, sealed.digest, record.at)


def seal(record: Record) -> Sealed:
    """Return `record` with its bytes and digest.

    Raises:
        RecordMalformed: the bytes exceed what its kind may take.
        NotCanonical: a free-form field holds what evidence may not.
    """
    body = encode(record)
    if len(body) > (most := record.bytes_max):
        raise RecordMalformed(f"record `{record.kind}` takes {len(body)} bytes, at most {most}", limit=most)
    return Sealed(record, body, digest_of(body))


def unseal(body: bytes) -> Sealed:
    """Return the record that `body` is the canonical form of.

    Raises:
        NotCanonical, RecordMalformed, KindUnknown: see `records.read_record`.
    """
    from rexecop.proof.records.kinds import read_record  # Who seals records only need not know all kinds.

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
    check_follows(None if last is None else End.of(last), sealed, index)


def check_follows(last: End | None, sealed: Sealed, index: int) -> None:
    """Return only if `sealed` is record number `index`, right after the chain that ends with `last`.

    Raises:
        ChainPlaceRepeated, ChainTimeReversed, ChainBroken: see `check_chain`.
    """
    record = sealed.record
    place = f"record {index} of `{record.operation}`"
    if record.n != index:
        kind = ChainPlaceRepeated if record.n < index else ChainBroken
        raise kind(f"{place} says it is number {record.n}", n=index)
    if record.prev != (last.digest if last else None):
        raise ChainBroken(f"{place} does not name the record before it", n=index)
    if last is None:
        return
    if record.operation != last.operation:
        raise ChainBroken(f"{place} belongs to another operation than record {index - 1}", n=index)
    if record.at < last.at - CLOCK_TOLERANCE:
        raise ChainTimeReversed(f"{place} is dated more than 5 s before record {index - 1}", n=index)
