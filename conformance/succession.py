"""Instances whose key was replaced: the old key vouches for the new one, in one batch with its own end."""

# ruff: noqa: ANN401 - see worlds

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from conformance.memory_signer import MemorySigner
from conformance.worlds import ENROLMENTS, INSTANCE_KEY, START, Book, Made, cut, enrol, instance_chain
from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.receipts import record_envelope
from rexecop.proof.records import Receipt
from rexecop.proof.records.instance import TRUST_NAMESPACE
from rexecop.proof.verify import TrustedKey, TrustedKeys
from rexecop.proof.vocabulary import Role

SECOND_KEY: Final = MemorySigner(21)
THIRD_KEY: Final = MemorySigner(22)
BEFORE: Final = START + timedelta(minutes=10)  # Operations begin an hour after the start.
AFTER: Final = START + timedelta(hours=2)

Rotation = tuple[datetime, MemorySigner, MemorySigner]


def vouch(by: MemorySigner, sealed: Sealed, namespace: str = TRUST_NAMESPACE) -> bytes:
    return sshsig.sign(by, namespace, sealed.body).encode()


def rotated(
    book: Book,
    *rotations: Rotation,
    key: MemorySigner,
    receipts: MemorySigner = INSTANCE_KEY,
    vouched: bool = True,
    ended: bool = True,
    **enrolled: Any,
) -> Made:
    """Cut `book` from a log with `rotations` (when, from, to); `key` signs the checkpoint."""
    made = [*ENROLMENTS]
    for at, old, new in rotations:
        made.append(enrol("instance", Role.INSTANCE, new, at=at, **enrolled))
        if ended:
            made.append(enrol("instance", Role.INSTANCE, old, at=at, revoked=True))
    chain = instance_chain(made)
    signatures: dict[Digest, bytes] = dict(book.signatures)
    step = 2 if ended else 1
    for index, (_, old, _) in enumerate(rotations):
        sealed = chain[len(ENROLMENTS) + step * index]
        if vouched:
            signatures[sealed.digest] = vouch(old, sealed)
    found = cut(book, instance=chain, key=key)
    envelopes = {
        s.digest: record_envelope(s, receipts) for s in book.records if isinstance(s.record, Receipt)
    }
    return replace(found, contents=replace(found.contents, signatures=signatures, envelopes=envelopes))


def trusting(*keys: MemorySigner) -> TrustedKeys:
    """A verifier who trusts `keys` for instances and nobody else for anything."""
    return TrustedKeys(
        keys=tuple(TrustedKey(role=Role.INSTANCE, name="instance", public=key.public) for key in keys)
    )
