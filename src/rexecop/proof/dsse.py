"""DSSE envelopes: a payload, what type it is, and signatures over both.

What is signed is the pre-authentication encoding (PAE), so a payload can never be
taken for one of another type. In JSON an envelope here has one spelling: standard
base64, the three members and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.proof import codec
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import parse_json
from rexecop.proof.errors import ProofError, SignatureMalformed, SignatureRepeated, SignerUnknown
from rexecop.proof.publickey import PublicKey, verify_bare
from rexecop.proof.signer import Signer, sign_bare

ENVELOPE_BYTES_MAX: Final = 512 * 1024  # A record of 256 KiB in base64, with room for signatures.
SIGNATURES_MAX: Final = 16  # More signers than any approval asks for.
TEXT_LENGTH_MAX: Final = 256  # Of a payload type or a key id.


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSignature:
    """One signature; `key_id` is a hint that nothing vouches for."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A payload with signatures, of which none is proved before `verify`."""

    payload_type: str
    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the bytes that a DSSE signature signs."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def sign(signer: Signer, payload_type: str, payload: bytes) -> Envelope:
    """Return the envelope of `payload` with one signature by `signer`."""
    signature = sign_bare(signer, pae(payload_type, payload))
    return Envelope(
        payload_type=payload_type,
        payload=payload,
        signatures=(EnvelopeSignature(key_id=signer.public.fingerprint, signature=signature),),
    )


def verify(envelope: Envelope, public: PublicKey, *, payload_type: str) -> bytes:
    """Return the payload, which `public` signed as one of `payload_type`.

    Raises:
        SignatureMalformed: the payload is of another type.
        SignerUnknown: no signature claims to be by `public`.
        SignatureRepeated: more than one claims it.
        SignatureUnsupported, SignatureWrong: see `publickey.verify_bare`.
    """
    if envelope.payload_type != payload_type:
        found_type = envelope.payload_type[:TEXT_LENGTH_MAX]
        raise SignatureMalformed(
            f"envelope holds `{found_type!a}`, not `{payload_type}`", allowed=payload_type
        )
    wanted = public.fingerprint
    found = [entry.signature for entry in envelope.signatures if entry.key_id == wanted]
    if not found:
        raise SignerUnknown(f"envelope has no signature by `{wanted}`", key=wanted)
    if len(found) > 1:
        raise SignatureRepeated(f"envelope has {len(found)} signatures by `{wanted}`", key=wanted)
    verify_bare(public, pae(envelope.payload_type, envelope.payload), found[0])
    return envelope.payload


@dataclass(frozen=True, slots=True, kw_only=True)
class _WireSignature:
    keyid: str
    sig: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wire:
    """An envelope as JSON spells it."""

    payload: str
    payloadType: str
    signatures: tuple[_WireSignature, ...]


def encode(envelope: Envelope) -> bytes:
    """Return the canonical JSON of `envelope`."""
    signatures = [
        _WireSignature(keyid=one.key_id, sig=encode_base64(one.signature)) for one in envelope.signatures
    ]
    return codec.encode(
        _Wire(
            payload=encode_base64(envelope.payload),
            payloadType=envelope.payload_type,
            signatures=tuple(signatures),
        )
    )


def decode(data: bytes) -> Envelope:
    """Return the envelope that the JSON `data` describes.

    Spacing and order of members are free, since other tools write envelopes too;
    the signatures cover neither.

    Raises:
        SignatureMalformed: another shape, unknown members, or beyond a limit.
    """
    try:
        wire = codec.from_json(_Wire, parse_json(data, bytes_max=ENVELOPE_BYTES_MAX))
        if not 0 < len(wire.signatures) <= SIGNATURES_MAX:
            raise ValueError(f"`signatures` is not a list of 1 to {SIGNATURES_MAX}")
        for text in (wire.payloadType, *(one.keyid for one in wire.signatures)):
            if not 0 < len(text) <= TEXT_LENGTH_MAX:
                raise ValueError(f"`payloadType` and `keyid` have 1 to {TEXT_LENGTH_MAX} letters")
        return Envelope(
            payload_type=wire.payloadType,
            payload=decode_base64(wire.payload),
            signatures=tuple(
                EnvelopeSignature(key_id=one.keyid, signature=decode_base64(one.sig))
                for one in wire.signatures
            ),
        )
    except (ProofError, ValueError) as error:
        raise SignatureMalformed(f"envelope cannot be read: {error}") from error
