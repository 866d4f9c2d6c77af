"""`cryptography`, where it can be imported and takes the key: the same verdicts, sooner.

The strict rules of form are asked here first, since a library may be more lenient. What
the library is not there for, or will not take, the plain Python beside this file judges.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from rexecop.proof import ecdsa, ed25519, rsa
from rexecop.proof.canonical import hash_bytes
from rexecop.proof.errors import SignatureWrong

CURVE_HASHES: Final[Mapping[str, str]] = {"nistp256": "sha256", "nistp384": "sha384", "nistp521": "sha512"}


def verify_ed25519(public: bytes, message: bytes, signature: bytes) -> None:
    """Return or raise as `ed25519.verify`."""

    def ask() -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)

    ed25519.require_point(public)
    ed25519.require_form(signature)
    if not _answered(ask):
        ed25519.verify(public, message, signature)


def verify_ecdsa(curve: str, point: bytes, message: bytes, r: int, s: int) -> None:
    """Return or raise as `ecdsa.verify`, over the hash that SSH pairs with the curve."""

    def ask() -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        pairs: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
            "nistp256": (ec.SECP256R1(), hashes.SHA256()),
            "nistp384": (ec.SECP384R1(), hashes.SHA384()),
            "nistp521": (ec.SECP521R1(), hashes.SHA512()),
        }
        named, hash_ = pairs[curve]
        key = ec.EllipticCurvePublicKey.from_encoded_point(named, point)
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hash_))

    ecdsa.require_point(curve, point)
    ecdsa.require_form(curve, r, s)
    if not _answered(ask):
        ecdsa.verify(curve, point, hash_bytes(CURVE_HASHES[curve], message), r, s)


def verify_rsa(modulus: int, exponent: int, hash_name: str, message: bytes, signature: bytes) -> None:
    """Return or raise as `rsa.verify`."""

    def ask() -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

        named = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
        key = RSAPublicNumbers(exponent, modulus).public_key()
        key.verify(signature, message, PKCS1v15(), named[hash_name])

    rsa.require_key(modulus, exponent)
    rsa.require_form(modulus, hash_name, signature)
    if not _answered(ask):
        rsa.verify(modulus, exponent, hash_name, message, signature)


def checked_with() -> str:
    """Return what checks signatures on this machine: `cryptography`, or `plain` Python."""
    try:
        import cryptography.exceptions  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        return "plain"
    return "cryptography"


def _answered(ask: Callable[[], None]) -> bool:
    """Return whether the library took the question and said yes.

    Raises:
        SignatureWrong: it took the question and said no.
    """
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    except ImportError:
        return False
    try:
        ask()
    except InvalidSignature as error:
        raise SignatureWrong("the key did not sign these bytes") from error
    except (ImportError, UnsupportedAlgorithm, ValueError):
        return False
    return True
