"""COSE: signed statements (RFC 9052) with receipts of inclusion (RFC 9942), for tools that are not ours.

A transparent statement is a signed payload, and in its unprotected header a receipt:
the log's signature over the root that the entry's path leads to. The root itself is
left out, so whoever checks the receipt has to compute it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.proof.cbor import Cbor, Tag, encode
from rexecop.proof.errors import SignatureUnsupported
from rexecop.proof.signer import Signer, sign_bare
from rexecop.proof.suites import ED25519

# Header parameters, CWT claims and values as IANA has registered them.
ALGORITHM, CONTENT_TYPE, KEY_ID, CWT_CLAIMS, RECEIPTS, VDS, VDP = 1, 3, 4, 15, 394, 395, 396
ISSUER, SUBJECT = 1, 2
EDDSA: Final = -8
RFC9162_SHA256: Final = 1  # The verifiable data structure: our log's tree.
INCLUSION: Final = -1
SIGN1: Final = 18

Headers = Mapping[int | str, Cbor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """That the log `log` has `name` as leaf `leaf` of its tree of `size` under `root`, by `path`."""

    log: str
    name: str
    leaf: int
    size: int
    path: tuple[bytes, ...]
    root: bytes


def transparent_statement(signer: Signer, payload: bytes, content_type: str, entry: Entry) -> bytes:
    """Return `payload` signed as COSE_Sign1, with the receipt that `entry` is in the log, by the same key.

    Raises:
        SignatureUnsupported: the signer's key is not Ed25519.
    """
    public = signer.public
    if public.algorithm != ED25519:
        text = f"COSE is signed with `{ED25519}` keys, not `{public.algorithm}`"
        raise SignatureUnsupported(text, allowed=ED25519)
    common: dict[int | str, Cbor] = {
        ALGORITHM: EDDSA,
        KEY_ID: public.fingerprint.encode(),
        CWT_CLAIMS: {ISSUER: entry.log, SUBJECT: entry.name},
    }
    proof = encode((entry.size, entry.leaf, entry.path))
    proofs: Headers = {VDP: {INCLUSION: (proof,)}}
    receipt = _sign1(signer, {**common, VDS: RFC9162_SHA256}, proofs, entry.root, carried=False)
    return _sign1(
        signer, {**common, CONTENT_TYPE: content_type}, {RECEIPTS: (receipt,)}, payload, carried=True
    )


def _sign1(signer: Signer, protected: Headers, more: Headers, payload: bytes, *, carried: bool) -> bytes:
    header = encode(protected)
    signature = sign_bare(signer, encode(("Signature1", header, b"", payload)))
    return encode(Tag(SIGN1, (header, more, payload if carried else None, signature)))
