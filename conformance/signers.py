"""Signers of every kind that OpenSSH has: keys in memory, and security keys as a FIDO2 authenticator signs.

Nothing of ours writes these signatures but the wire encoding: `cryptography` makes the numbers.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from conformance.memory_signer import MemorySigner
from rexecop.proof.canonical import sha256
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer
from rexecop.proof.sshwire import ssh_mpint, ssh_string, ssh_uint32

CURVES: Final = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
SK_ED25519: Final = "sk-ssh-ed25519@openssh.com"
SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"


def point_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class EcdsaSigner:
    """An ECDSA key made from a number."""

    def __init__(self, curve: str, number: int) -> None:
        self.curve, (named, self.hash) = curve, CURVES[curve]
        self.private = ec.derive_private_key(number, named)
        name = f"ecdsa-sha2-{curve}"
        self.fields = ssh_string(curve.encode()) + ssh_string(point_of(self.private))
        self.public = PublicKey(name, ssh_string(name.encode()) + self.fields)

    def bare(self, data: bytes) -> bytes:
        r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(self.hash, deterministic_signing=True)))
        return ssh_mpint(r) + ssh_mpint(s)

    def sign(self, data: bytes) -> bytes:
        return ssh_string(self.public.algorithm.encode()) + ssh_string(self.bare(data))


@cache
def rsa_private(bits: int, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@cache
def rsa_kept() -> rsa.RSAPrivateKey:
    """Return a key of 2,048 bits that is always the same."""
    p, q, e = int("".join(_P), 16), int("".join(_Q), 16), 65537
    d = pow(e, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(e, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return numbers.private_key()


_P: Final = (
    "eb70d440af81238c0e05a97d4363b0f0a1ccd2803189683c64144725ca2e2627b3bc5bac0b1a6fe8a528b4",
    "2bc66af8fbe3121e40036efbee0c953878812e99e057a26d4032cb96b6db3ed0844e811303e96f51a221f8",
    "22eb021a8a4401f60fcb57d332717e3acedded2369d2de77879040ef9002af5d85948b6972269fe21f5b",
)
_Q: Final = (
    "bcf2eced18f7d07e74294d038e294bb011b740d108616dc0adddd5ce4259190c0e2ab40902ee97ded5fe88",
    "1b140e42fde9154490faeda3858ef96bf885bc5c8ce33b4d249747bd55757b861e09d002733ec47436e187",
    "b24189a9fd6e7d18c7844d71874f479dd839aff45c9bf7d269d34a82b1b86004c08384f9f74756c198a1",
)


class RsaSigner:
    """An RSA key, fresh unless `private` is one; `suite` is how it signs."""

    def __init__(
        self, bits: int = 2048, suite: str = "rsa-sha2-512", private: rsa.RSAPrivateKey | None = None
    ) -> None:
        self.private, self.suite = private or rsa_private(bits), suite
        numbers = self.private.public_key().public_numbers()
        fields = (ssh_string(b"ssh-rsa"), ssh_mpint(numbers.e), ssh_mpint(numbers.n))
        self.public = PublicKey("ssh-rsa", b"".join(fields))

    def bare(self, data: bytes) -> bytes:
        hash_ = {
            "rsa-sha2-512": hashes.SHA512(),
            "rsa-sha2-256": hashes.SHA256(),
            "ssh-rsa": hashes.SHA1(),
        }[self.suite]
        return self.private.sign(data, padding.PKCS1v15(), hash_)

    def sign(self, data: bytes) -> bytes:
        return ssh_string(self.suite.encode()) + ssh_string(self.bare(data))


class SecurityKey:
    """A FIDO2 key as OpenSSH uses one: it signs what stands for application, touch, counter and message."""

    def __init__(self, kind: str, seed: int, *, application: str = "ssh:", flags: int = 0x01) -> None:
        self.application, self.flags, self.counter = application.encode(), flags, 7
        self._inner: MemorySigner | EcdsaSigner
        if kind == SK_ED25519:
            inner = self._inner = MemorySigner(seed)
            fields = ssh_string(inner.public.raw)
        else:
            other = self._inner = EcdsaSigner("nistp256", seed)
            fields = other.fields
        wire = ssh_string(kind.encode()) + fields + ssh_string(self.application)
        self.public = PublicKey(kind, wire)

    def sign(self, data: bytes) -> bytes:
        told = bytes([self.flags]) + ssh_uint32(self.counter)
        inner = self._inner.bare(sha256(self.application) + told + sha256(data))
        return ssh_string(self.public.algorithm.encode()) + ssh_string(inner) + told


@cache
def signer_of(suite: str, seed: int = 11) -> Signer:
    """Return a signer whose signatures are of `suite`, of a key that is always the same."""
    if suite in (SK_ED25519, SK_ECDSA):
        return SecurityKey(suite, seed)
    if suite.startswith("ecdsa-"):
        return EcdsaSigner(suite.rpartition("-")[2], seed)
    return RsaSigner(suite=suite, private=rsa_kept()) if suite.startswith("rsa-") else MemorySigner(seed)
