"""DSSE envelopes: a payload, what type it is, and signatures over both.

What is signed is the pre-authentication encoding (PAE), so a payload can never be
taken for one of another type. In JSON an envelope here has one spelling: standard
base64, the three members and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import NotCanonical
from rexecop.proof.publickey import PublicKey
from rexecop.proof.publickey import verify as verify_signature
from rexecop.proof.signature_errors import SignatureMalformed, SignatureRepeated, SignerUnknown
from rexecop.proof.signer import Signer

ENVELOPE_BYTES_MAX: Final = 512 * 1024  # A record of 256 KiB in base64, with room for signatures.
SIGNATURES_MAX: Final = 16  # More signers than any approval asks for.
PAYLOAD_TYPE_LENGTH_MAX: Final = 256
KEY_ID_LENGTH_MAX: Final = 256


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
    signature = signer.sign(pae(payload_type, payload))
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
        SignatureUnsupported, SignatureWrong: see `publickey.verify`.
    """
    if envelope.payload_type != payload_type:
        raise SignatureMalformed(
            f"envelope holds `{envelope.payload_type[:PAYLOAD_TYPE_LENGTH_MAX]!a}`, not `{payload_type}`",
            found=envelope.payload_type,
            allowed=payload_type,
        )
    wanted = public.fingerprint
    found = [entry.signature for entry in envelope.signatures if entry.key_id == wanted]
    if not found:
        raise SignerUnknown(f"envelope has no signature by `{wanted}`", key=wanted)
    if len(found) > 1:
        raise SignatureRepeated(f"envelope has {len(found)} signatures by `{wanted}`", key=wanted)
    verify_signature(public, pae(envelope.payload_type, envelope.payload), found[0])
    return envelope.payload


def encode(envelope: Envelope) -> bytes:
    """Return the canonical JSON of `envelope`."""
    return canonical_bytes(
        {
            "payload": encode_base64(envelope.payload),
            "payloadType": envelope.payload_type,
            "signatures": [
                {"keyid": entry.key_id, "sig": encode_base64(entry.signature)}
                for entry in envelope.signatures
            ],
        }
    )


def decode(data: bytes) -> Envelope:
    """Return the envelope that the JSON `data` describes.

    Spacing and order of members are free, since other tools write envelopes too;
    the signatures cover neither.

    Raises:
        SignatureMalformed: another shape, unknown members, or beyond a limit.
    """
    try:
        value = parse_json(data, bytes_max=ENVELOPE_BYTES_MAX)
    except NotCanonical as error:
        raise SignatureMalformed(f"envelope cannot be read: {error}") from error
    members = _members(value, ("payload", "payloadType", "signatures"), "envelope")
    signatures = members["signatures"]
    if not isinstance(signatures, list) or not 0 < len(signatures) <= SIGNATURES_MAX:
        raise SignatureMalformed(f"envelope `signatures` is not a list of 1 to {SIGNATURES_MAX}")
    return Envelope(
        payload_type=_text(members["payloadType"], "payloadType", PAYLOAD_TYPE_LENGTH_MAX),
        payload=_bytes(members["payload"], "payload"),
        signatures=tuple(_signature(entry, f"signatures[{n}]") for n, entry in enumerate(signatures)),
    )


def _signature(value: Json, path: str) -> EnvelopeSignature:
    members = _members(value, ("keyid", "sig"), path)
    return EnvelopeSignature(
        key_id=_text(members["keyid"], f"{path}.keyid", KEY_ID_LENGTH_MAX),
        signature=_bytes(members["sig"], f"{path}.sig"),
    )


def _members(value: Json, names: tuple[str, ...], path: str) -> dict[str, Json]:
    if not isinstance(value, dict) or value.keys() != set(names):
        raise SignatureMalformed(f"`{path}` is not an object with just {', '.join(names)}", field=path)
    return value


def _text(value: Json, path: str, length_max: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= length_max:
        raise SignatureMalformed(f"envelope `{path}` is not text of 1 to {length_max} letters", field=path)
    return value


def _bytes(value: Json, path: str) -> bytes:
    if not isinstance(value, str):
        raise SignatureMalformed(f"envelope `{path}` is not base64 text", field=path)
    try:
        return decode_base64(value)
    except ValueError as error:
        raise SignatureMalformed(f"envelope `{path}` is {error}", field=path) from error
