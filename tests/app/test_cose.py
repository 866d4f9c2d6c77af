"""Transparent statements, read and verified by libraries that are not ours."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import cbor2
import pytest
from cwt import COSE, COSEKey
from cwt.exceptions import VerifyError

from conformance.memory_signer import MemorySigner
from conformance.worlds import INSTANCE_KEY, OPERATIONS, ORIGIN, STRANGER_KEY, a_change, cut
from rexecop.app.cose_export import transparent_statements
from rexecop.proof import checkpoint, note
from rexecop.proof.canonical import digest_of
from rexecop.proof.chain import unseal
from rexecop.proof.cose import Entry, transparent_statement
from rexecop.proof.errors import SignatureUnsupported
from rexecop.proof.publickey import PublicKey
from rexecop.proof.receipts import PAYLOAD_TYPE, PUBLISHED, record_statement
from rexecop.proof.sshwire import ssh_string
from tests.spec import merkle as rfc

# The base point of P-256: a key as good as any that is not used.
POINT: Final = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
MADE: Final = cut(a_change())
STATEMENTS: Final = transparent_statements(MADE.contents, INSTANCE_KEY)
ROOT: Final = checkpoint.parse(note.parse(MADE.contents.checkpoint).text).root


def key_of(signer: MemorySigner) -> Any:  # noqa: ANN401 - the library's own key type
    return COSEKey.new({1: 1, 3: -8, 2: signer.key_id.encode(), -1: 6, -2: signer.public.raw, 4: [2]})


def header(message: list[Any]) -> Mapping[int, Any]:
    found = cbor2.loads(message[0])
    assert isinstance(found, dict)
    return found


def parts(data: bytes) -> list[Any]:
    tagged = cbor2.loads(data)
    assert tagged.tag == 18
    return list(tagged.value)


def receipt_of(statement: bytes) -> bytes:
    (receipt,) = parts(statement)[1][394]
    assert isinstance(receipt, bytes)
    return receipt


def entry_of(payload: bytes) -> bytes:
    """Return what a statement says is registered: its predicate, canonical, found without our code."""
    predicate = json.loads(payload)["predicate"]
    return json.dumps(predicate, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def root_of(statement: bytes) -> bytes | None:
    """Return the root that a statement's receipt leads to, by RFC 9162's own words."""
    (proof,) = parts(receipt_of(statement))[1][396][-1]
    size, leaf, path = cbor2.loads(proof)
    return rfc.root_from_inclusion(rfc.leaf(entry_of(parts(statement)[2])), leaf, size, path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_published_record_is_a_statement_another_library_verifies(name: str) -> None:
    made = cut(OPERATIONS[name]())
    sealed = [one for one in map(unseal, made.contents.records) if isinstance(one.record, PUBLISHED)]

    statements = transparent_statements(made.contents, INSTANCE_KEY)

    payloads = [COSE.new().decode(data, key_of(INSTANCE_KEY)) for data in statements]
    assert payloads == [record_statement(one) for one in sealed] and payloads


@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_receipt_verifies_over_the_root_that_its_own_proof_leads_to(statement: bytes) -> None:
    root = root_of(statement)

    assert root == ROOT and parts(receipt_of(statement))[2] is None
    assert COSE.new().decode(receipt_of(statement), key_of(INSTANCE_KEY), detached_payload=root) == root


@pytest.mark.parametrize("statement", STATEMENTS)
def test_headers_are_those_of_the_standards(statement: bytes) -> None:
    message, receipt = parts(statement), parts(receipt_of(statement))
    record = unseal(entry_of(message[2])).record
    claims = {1: ORIGIN, 2: f"{record.operation}/{record.n}"}

    assert header(message) == {1: -8, 3: PAYLOAD_TYPE, 4: INSTANCE_KEY.key_id.encode(), 15: claims}
    assert header(receipt) == {1: -8, 4: INSTANCE_KEY.key_id.encode(), 15: claims, 395: 1}
    assert set(message[1]) == {394} and set(receipt[1]) == {396} and set(receipt[1][396]) == {-1}


def test_the_subject_digest_is_that_of_the_entry() -> None:
    for statement in STATEMENTS:
        payload = parts(statement)[2]
        (subject,) = json.loads(payload)["subject"]

        assert digest_of(entry_of(payload)) == "sha256:" + subject["digest"]["sha256"]


def test_the_file_is_a_sequence_that_is_read_item_by_item() -> None:
    def items(file: io.BytesIO, size: int) -> Iterator[object]:
        while file.tell() < size:
            yield cbor2.load(file)

    data = b"".join(STATEMENTS)

    assert len(list(items(io.BytesIO(data), len(data)))) == len(STATEMENTS) == 4


def test_the_same_evidence_is_the_same_bytes() -> None:
    assert transparent_statements(MADE.contents, INSTANCE_KEY) == STATEMENTS


def altered(statement: bytes, place: int, value: object) -> bytes:
    message = parts(statement)
    message[place] = value
    return cbor2.dumps(cbor2.CBORTag(18, message))


def test_what_was_changed_or_signed_by_another_key_does_not_verify() -> None:
    statement = STATEMENTS[-1]
    payload = parts(statement)[2]
    changed = (
        altered(statement, 2, payload.replace(b"undone", b"denied")),
        altered(statement, 0, cbor2.dumps({**header(parts(statement)), 15: {1: "x", 2: "y"}})),
        altered(statement, 3, bytes(64)),
    )
    for data in changed:
        with pytest.raises(VerifyError):
            COSE.new().decode(data, key_of(INSTANCE_KEY))
    forged = transparent_statements(MADE.contents, STRANGER_KEY)[-1]
    with pytest.raises((VerifyError, ValueError)):
        COSE.new().decode(forged, key_of(INSTANCE_KEY))
    with pytest.raises(VerifyError):
        COSE.new().decode(receipt_of(statement), key_of(INSTANCE_KEY), detached_payload=bytes(32))


def test_a_receipt_moved_to_another_statement_leads_to_another_root() -> None:
    moved = altered(STATEMENTS[0], 1, {394: [receipt_of(STATEMENTS[-1])]})

    assert root_of(moved) not in (None, ROOT)


def test_only_ed25519_keys_sign() -> None:
    class OtherSigner(MemorySigner):
        @property
        def public(self) -> PublicKey:
            name = "ecdsa-sha2-nistp256"
            return PublicKey.from_wire(b"".join(map(ssh_string, (name.encode(), b"nistp256", POINT))))

    entry = Entry(log=ORIGIN, name="op/1", leaf=0, size=1, path=(), root=bytes(32))
    with pytest.raises(SignatureUnsupported):
        transparent_statement(OtherSigner(1), b"{}", PAYLOAD_TYPE, entry)


def test_a_signature_over_a_statement_is_none_over_anything_else_we_sign() -> None:
    """What is signed begins as no envelope, checkpoint or SSH signature does."""
    signed: list[bytes] = []

    class Listening(MemorySigner):
        def sign(self, data: bytes) -> bytes:
            signed.append(data)
            return super().sign(data)

    transparent_statements(MADE.contents, Listening(1))

    assert signed and all(data.startswith(b"\x84\x6aSignature1") for data in signed)
