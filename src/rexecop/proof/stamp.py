"""RFC 3161 time stamps: that somebody else saw these bytes by a time, checked offline.

A stamp is a TimeStampResp, or the TimeStampToken in one: CMS SignedData (RFC 5652)
around a TSTInfo. It is good when the authority's certificate signed it over a digest
of the very bytes it is shown with, is one for time stamps alone, and leads to a
certificate that the verifier trusts. Whether that was revoked is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.proof import der, x509
from rexecop.proof.canonical import hash_bytes, sha1
from rexecop.proof.der import Element, Fields
from rexecop.proof.errors import DerMalformed, ProofError, SignatureUnsupported, StampUntrusted, StampWrong
from rexecop.proof.x509 import HASHES, Authority, Certificate

CERTIFICATES_MAX: Final = 8  # A chain has five; each that is tried costs a signature.

_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
_TST_INFO: Final = "1.2.840.113549.1.9.16.1.4"
_TST_INFO_TYPE: Final = bytes.fromhex("060b2a864886f70d0109100104")
_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE: Final = "1.2.840.113549.1.9.16.2.12"
_SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"
_GRANTED: Final = (0, 1)  # granted, granted with modifications
_SHA256: Final = der.encode(der.SEQUENCE, bytes.fromhex("0609608648016503040201") + b"\x05\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeStamp:
    """What a time stamp says; nothing vouches for it before `verify`.

    `imprint` is the digest, by `hash_name`, of what was stamped `at` that time; `signer` is
    the SignerInfo over `content`, the TSTInfo that says so.
    """

    hash_name: str
    imprint: bytes
    at: datetime
    nonce: int | None
    certificates: tuple[Certificate, ...]
    content: bytes
    signer: Element


def request(imprint: bytes, nonce: int) -> bytes:
    """Return the TimeStampReq for the SHA-256 digest `imprint`, which asks for the certificates too."""
    number = nonce.to_bytes(nonce.bit_length() // 8 + 1, "big")
    fields = (
        b"\x02\x01\x01",
        der.encode(der.SEQUENCE, _SHA256 + der.encode(der.OCTET_STRING, imprint)),
        der.encode(der.INTEGER, number),
        b"\x01\x01\xff",
    )
    return der.encode(der.SEQUENCE, b"".join(fields))


def decode(data: bytes) -> TimeStamp:
    """Return what the response or token `data` says.

    Raises:
        DerMalformed: it is neither. StampWrong: the authority refused, or it contradicts itself.
        SignatureUnsupported: it is made by an algorithm that cannot be checked here.
    """
    whole = der.parse(data)
    fields = whole.fields()
    status = fields.optional(der.SEQUENCE)
    if status is not None:
        if (number := der.integer(status.fields().take(der.INTEGER))) not in _GRANTED:
            raise StampWrong(f"the authority did not grant it: status {number}", status=number)
        whole = fields.take(der.SEQUENCE)
        fields.end()
        fields = whole.fields()
    signed = _explicit(fields, _SIGNED_DATA).fields()
    signed.take(der.INTEGER)
    signed.take(der.SET)
    content = _explicit(signed.take(der.SEQUENCE).fields(), _TST_INFO, der.OCTET_STRING).body
    listed = signed.optional(der.tagged(0))
    signed.optional(der.tagged(1))
    signers = der.elements(signed.take(der.SET).body)
    signed.end()
    if len(signers) != 1:
        raise StampWrong(f"a time stamp has one signer, not {len(signers)}")
    hash_name, imprint, at, nonce = _info(der.parse(content).fields())
    return TimeStamp(
        hash_name=hash_name,
        imprint=imprint,
        at=at,
        nonce=nonce,
        certificates=tuple(_certificates(listed)),
        content=content,
        signer=signers[0],
    )


def verify(stamp: TimeStamp, message: bytes, trusted: Sequence[Authority]) -> Authority:
    """Return the trusted authority that `message` was shown to at `stamp.at`.

    Raises:
        StampWrong, DerMalformed, PublicKeyMalformed, SignatureMalformed, SignatureWrong: it is not shown.
        SignatureUnsupported: it cannot be checked here.
        StampUntrusted: its signer's certificate leads to none in `trusted`.
    """
    if hash_bytes(stamp.hash_name, message) != stamp.imprint:
        raise StampWrong("it is of something else")
    fields = stamp.signer.fields()
    fields.take(der.INTEGER)
    named = fields.next()
    hash_name = _hash(fields.take(der.SEQUENCE))
    listed = fields.take(der.tagged(0))
    algorithm = x509.algorithm(fields.take(der.SEQUENCE))
    signature = fields.take(der.OCTET_STRING).body
    fields.optional(der.tagged(1))
    fields.end()
    attributes = _attributes(listed)
    if attributes[_CONTENT_TYPE].whole != _TST_INFO_TYPE:
        raise StampWrong("its signer signed another type of content")
    if attributes[_MESSAGE_DIGEST].whole != der.encode(
        der.OCTET_STRING, hash_bytes(hash_name, stamp.content)
    ):
        raise StampWrong("its signer signed other content")
    leaf = _leaf(named, attributes, (*stamp.certificates, *(one.certificate for one in trusted)))
    # Signed as the set it is; only in its place is it tagged otherwise (RFC 5652, 5.4).
    signed = bytes((der.SET,)) + listed.whole[1:]
    x509.check_signature(leaf.key, algorithm, hash_name, signed, signature)
    x509.require_stamps(leaf, stamp.at)
    return x509.follow(leaf, stamp.certificates, trusted, stamp.at)


def _explicit(fields: Fields, kind: str, tag: int = der.SEQUENCE) -> Element:
    """Return the content of a ContentInfo, which is of `kind`."""
    if (found := der.oid(fields.take(der.OID))) != kind:
        raise DerMalformed(f"content is of type `{found}`, not `{kind}`")
    content = der.parse(fields.take(der.tagged(0)).body, tag)
    fields.end()
    return content


def _info(fields: Fields) -> tuple[str, bytes, datetime, int | None]:
    """Return hash, imprint, time and nonce of a TSTInfo; what else it says is about its maker."""
    if der.integer(fields.take(der.INTEGER)) != 1:
        raise DerMalformed("a time stamp is not of version 1")
    fields.take(der.OID)
    imprint = fields.take(der.SEQUENCE).fields()
    hash_name = _hash(imprint.take(der.SEQUENCE))
    digest = imprint.take(der.OCTET_STRING).body
    imprint.end()
    fields.take(der.INTEGER)
    at = der.moment(fields.take(der.GENERALIZED_TIME))
    for tag in (der.SEQUENCE, der.BOOLEAN):
        fields.optional(tag)
    nonce = fields.optional(der.INTEGER)
    fields.optional(der.tagged(0))
    more = fields.optional(der.tagged(1))
    fields.end()
    if more is not None:
        x509.extensions(more, ())
    return hash_name, digest, at, None if nonce is None else der.integer(nonce)


def _attributes(listed: Element) -> dict[str, Element]:
    """Return the one value of each signed attribute; those that a time stamp needs are there."""
    values = der.elements(listed.body)
    found: dict[str, Element] = {}
    for element in values:
        fields = element.fields()
        name, held = der.oid(fields.take(der.OID)), der.elements(fields.take(der.SET).body)
        fields.end()
        if name in found or len(held) != 1:
            raise DerMalformed(f"signed attribute `{name}` has not one value")
        found[name] = held[0]
    if [one.whole for one in values] != sorted(one.whole for one in values):
        raise DerMalformed("the signed attributes are not in the order of a set")
    if not {_CONTENT_TYPE, _MESSAGE_DIGEST} <= found.keys():
        raise StampWrong("its signer did not sign what a time stamp must")
    return found


def _certificates(listed: Element | None) -> Iterator[Certificate]:
    """Yield the certificates that came with a stamp and can be read; nothing vouches for any of them."""
    for element in der.elements(listed.body)[:CERTIFICATES_MAX] if listed else ():
        with suppress(ProofError):
            yield x509.parse(element.whole)


def _leaf(named: Element, attributes: Mapping[str, Element], known: Sequence[Certificate]) -> Certificate:
    """Return the certificate whose digest the signer signed as that of its own (RFC 5035, RFC 2634)."""
    newer = attributes.get(_SIGNING_CERTIFICATE_V2)
    value = newer or attributes.get(_SIGNING_CERTIFICATE)
    if value is None:
        raise StampWrong("its signer did not sign which certificate is its own")
    first = value.fields().take(der.SEQUENCE).fields().take(der.SEQUENCE).fields()
    stated = first.optional(der.SEQUENCE) if newer else None
    hash_name = _hash(stated) if stated else "sha256"
    digest = first.take(der.OCTET_STRING).body
    names = ((hash_bytes(hash_name, one.whole) if newer else sha1(one.whole), one) for one in known)
    found = next((one for name, one in names if name == digest), None)
    if found is None:
        raise StampUntrusted("the certificate of its signer is neither in it nor trusted")
    # By issuer and serial number, or by the id of its key, of which the digest says more.
    if named.tag == der.SEQUENCE and named.body != found.issuer + found.serial:
        raise StampWrong("its signer names two certificates")
    return found


def _hash(element: Element) -> str:
    name = x509.algorithm(element)
    if name not in HASHES:
        raise SignatureUnsupported(f"hash `{name}` is not one that is checked here", algorithm=name)
    return HASHES[name]
