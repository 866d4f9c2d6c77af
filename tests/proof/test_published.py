"""Plan, approval and receipt as in-toto attestations, verified by a library that is not ours."""

from __future__ import annotations

import json
from typing import Final

import pytest
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer._key import SSlibKey

from conformance.memory_signer import MemorySigner
from conformance.worlds import INSTANCE_KEY, STRANGER_KEY, a_change
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RecordMalformed
from rexecop.proof.receipts import (
    PAYLOAD_TYPE,
    PREDICATE_PREFIX,
    PUBLISHED,
    STATEMENT_TYPE,
    record_envelope,
    record_statement,
)

RECORDS: Final = {sealed.record.kind: sealed for sealed in a_change().records}
KINDS: Final = [kind.kind for kind in PUBLISHED]


def key_of(signer: MemorySigner) -> SSlibKey:
    return SSlibKey(signer.key_id, "ed25519", "ed25519", {"public": signer.public.raw.hex()})


def envelope_of(sealed: Sealed) -> Envelope:
    return Envelope.from_dict(json.loads(record_envelope(sealed, INSTANCE_KEY)))


@pytest.mark.parametrize("kind", KINDS)
def test_another_library_verifies_the_envelope_and_finds_the_statement(kind: str) -> None:
    sealed = RECORDS[kind]
    envelope = envelope_of(sealed)

    envelope.verify([key_of(INSTANCE_KEY)], threshold=1)

    statement = json.loads(envelope.payload)
    assert envelope.payload_type == PAYLOAD_TYPE
    assert statement["_type"] == STATEMENT_TYPE
    assert statement["predicateType"] == PREDICATE_PREFIX + kind == f"https://rexecop.dev/predicate/{kind}"
    assert set(statement) == {"_type", "subject", "predicateType", "predicate"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_subject_is_the_record_that_the_predicate_is(kind: str) -> None:
    sealed = RECORDS[kind]
    statement = json.loads(record_statement(sealed))
    written = json.dumps(statement["predicate"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    name = f"{sealed.record.operation}/{sealed.record.n}"

    assert written.encode() == sealed.body
    assert statement["subject"] == [
        {"name": name, "digest": {"sha256": digest_of(sealed.body).removeprefix("sha256:")}}
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_another_library_refuses_another_key_and_another_predicate(kind: str) -> None:
    envelope = envelope_of(RECORDS[kind])
    changed = envelope_of(RECORDS[kind])
    changed.payload = changed.payload.replace(b"op_change", b"op_chance")

    with pytest.raises((VerificationError, UnverifiedSignatureError)):
        envelope.verify([key_of(STRANGER_KEY)], threshold=1)
    with pytest.raises((VerificationError, UnverifiedSignatureError)):
        changed.verify([key_of(INSTANCE_KEY)], threshold=1)


def test_other_kinds_are_not_published() -> None:
    assert KINDS == ["plan/1", "approval/1", "receipt/1"]
    for kind in RECORDS.keys() - set(KINDS):
        with pytest.raises(RecordMalformed):
            record_statement(RECORDS[kind])
