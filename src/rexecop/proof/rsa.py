"""RSASSA-PKCS1-v1_5 verification (RFC 8017, 8.2.2) in plain Python.

The padded block that a right signature holds is built and compared as a whole;
nothing in a signature is ever parsed, so there is nothing to parse too leniently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rexecop.proof.canonical import hash_bytes
from rexecop.proof.errors import (
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignatureWrong,
)

MODULUS_BITS_MIN: Final = 2048  # Anything shorter can be factored by whoever cares enough.
MODULUS_BITS_MAX: Final = 16_384  # What OpenSSH and OpenSSL take.
EXPONENT_BITS_MAX: Final = 32  # Keys in use have 17 or fewer, and a check costs a step for each.

# The DER of a DigestInfo up to its digest (RFC 8017, 9.2, note 1).
_PREFIXES: Final[Mapping[str, bytes]] = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}


def require_key(modulus: int, exponent: int) -> None:
    """Return only if the two numbers are a usable public key.

    Raises:
        PublicKeyMalformed: too short, too long, even, or an exponent that is not odd, at least 3 and short.
    """
    bits = modulus.bit_length()
    if not MODULUS_BITS_MIN <= bits <= MODULUS_BITS_MAX:
        text = f"an RSA key has {bits} bits, not {MODULUS_BITS_MIN} to {MODULUS_BITS_MAX}"
        raise PublicKeyMalformed(text, found=bits)
    if modulus < 0 or modulus % 2 == 0:
        raise PublicKeyMalformed("the modulus of an RSA key is not an odd number")
    if exponent < 3 or exponent % 2 == 0 or exponent.bit_length() > EXPONENT_BITS_MAX:
        text = f"the exponent of an RSA key is not an odd number from 3 to 2^{EXPONENT_BITS_MAX}"
        raise PublicKeyMalformed(text)


def require_form(modulus: int, hash_name: str, signature: bytes) -> None:
    """Return only if `signature` has the length and range of one under `modulus`.

    Raises:
        SignatureMalformed: another length, or not below the modulus.
        SignatureUnsupported: a hash that is not taken.
    """
    if hash_name not in _PREFIXES:
        allowed = ", ".join(_PREFIXES)
        raise SignatureUnsupported(f"hash `{hash_name[:32]!a}` is not one of `{allowed}`", allowed=allowed)
    size = (modulus.bit_length() + 7) // 8
    if len(signature) != size:
        raise SignatureMalformed(f"an RSA signature has {len(signature)} bytes, not {size} as its key")
    if int.from_bytes(signature, "big") >= modulus:
        raise SignatureMalformed("an RSA signature is not below the modulus of its key")


def verify(modulus: int, exponent: int, hash_name: str, message: bytes, signature: bytes) -> None:
    """Return only if `signature` over `message` is by the key of `modulus` and `exponent`.

    Raises:
        PublicKeyMalformed, SignatureMalformed, SignatureUnsupported: see `require_key`, `require_form`.
        SignatureWrong: the key did not sign `message`.
    """
    require_key(modulus, exponent)
    require_form(modulus, hash_name, signature)
    info = _PREFIXES[hash_name] + hash_bytes(hash_name, message)
    block = b"\x00\x01" + b"\xff" * (len(signature) - len(info) - 3) + b"\x00" + info
    if pow(int.from_bytes(signature, "big"), exponent, modulus) != int.from_bytes(block, "big"):
        raise SignatureWrong("the key did not sign these bytes")
