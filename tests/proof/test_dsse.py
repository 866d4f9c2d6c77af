"""DSSE envelopes, against the published encoding and another implementation."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.signer._crypto_signer import CryptoSigner
from securesystemslib.signer._key import SSlibKey

from conformance.memory_signer import MemorySigner
from rexecop.proof import dsse
from rexecop.proof.dsse import Envelope, EnvelopeSignature
from rexecop.proof.errors import (
    SignatureMalformed,
    SignatureRepeated,
    SignatureWrong,
    SignerUnknown,
)
from rexecop.proof.publickey import PublicKey

SIGNER = MemorySigner(1)
TYPE = "application/vnd.in-toto+json"


def other_key(public: PublicKey) -> SSlibKey:
    return SSlibKey(public.fingerprint, "ed25519", "ed25519", {"public": public.raw.hex()})


def test_the_encoding_of_the_specifications_example_comes_out() -> None:
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"

    assert dsse.pae("http://example.com/HelloWorld", b"hello world") == expected


@given(st.text(max_size=40), st.binary(max_size=200))
def test_the_encoding_is_the_other_implementations(payload_type: str, payload: bytes) -> None:
    assert dsse.pae(payload_type, payload) == OtherEnvelope(payload, payload_type, {}).pae()


@given(st.binary(max_size=300))
def test_what_we_sign_verifies_here_and_elsewhere(payload: bytes) -> None:
    envelope = dsse.sign(SIGNER, TYPE, payload)
    data = dsse.encode(envelope)

    assert dsse.decode(data) == envelope
    assert dsse.verify(envelope, SIGNER.public, payload_type=TYPE) == payload
    OtherEnvelope.from_dict(json.loads(data)).verify([other_key(SIGNER.public)], threshold=1)


def test_what_another_implementation_signs_verifies_here() -> None:
    signer = CryptoSigner.generate_ed25519()
    public = PublicKey.from_ed25519(bytes.fromhex(signer.public_key.keyval["public"]))
    signer = CryptoSigner(signer._private_key, other_key(public))
    other = OtherEnvelope(b"payload", TYPE, {})
    other.sign(signer)

    envelope = dsse.decode(json.dumps(other.to_dict(), indent=1).encode())
    assert dsse.verify(envelope, public, payload_type=TYPE) == b"payload"


def test_another_payload_type_or_payload_is_refused() -> None:
    envelope = dsse.sign(SIGNER, TYPE, b"payload")

    with pytest.raises(SignatureWrong):
        dsse.verify(replace(envelope, payload=b"pay load"), SIGNER.public, payload_type=TYPE)
    with pytest.raises(SignatureWrong):
        dsse.verify(replace(envelope, payload_type="text/plain"), SIGNER.public, payload_type="text/plain")
    with pytest.raises(SignatureMalformed):
        dsse.verify(envelope, SIGNER.public, payload_type="text/plain")


def test_a_signature_by_another_key_counts_for_nothing() -> None:
    envelope = dsse.sign(SIGNER, TYPE, b"payload")
    other = MemorySigner(2).public
    renamed = EnvelopeSignature(key_id=other.fingerprint, signature=envelope.signatures[0].signature)

    with pytest.raises(SignerUnknown):
        dsse.verify(envelope, other, payload_type=TYPE)
    with pytest.raises(SignatureWrong):
        dsse.verify(replace(envelope, signatures=(renamed,)), other, payload_type=TYPE)


def test_one_key_cannot_stand_twice_in_an_envelope() -> None:
    envelope = dsse.sign(SIGNER, TYPE, b"payload")

    with pytest.raises(SignatureRepeated):
        dsse.verify(replace(envelope, signatures=envelope.signatures * 2), SIGNER.public, payload_type=TYPE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"payload":"","payloadType":"t","signatures":[]}',
        '{"payload":"","payloadType":"","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":"A","payloadType":"t","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":"AB==","payloadType":"t","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":"_-__","payloadType":"t","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":1,"payloadType":"t","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":"","payloadType":"t","signatures":[{"keyid":"k"}]}',
        '{"payload":"","payloadType":"t","signatures":[{"keyid":"k","sig":"","x":1}]}',
        '{"payload":"","payloadType":"t","signatures":[{"keyid":"k","sig":""}],"x":1}',
        '{"payload":"","payload":"","payloadType":"t","signatures":[{"keyid":"k","sig":""}]}',
        '{"payload":"","payloadType":"t","signatures":[' + ",".join(['{"keyid":"k","sig":""}'] * 17) + "]}",
    ],
)
def test_an_envelope_of_another_shape_is_malformed(text: str) -> None:
    with pytest.raises(SignatureMalformed):
        dsse.decode(text.encode())


def test_an_envelope_beyond_the_limit_is_not_read() -> None:
    with pytest.raises(SignatureMalformed):
        dsse.decode(dsse.encode(Envelope(payload_type=TYPE, payload=bytes(400_000), signatures=())))
