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
from tests.proof.vectors import responses

CURVES: Final = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
EXPONENT: Final = 65537
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
def rsa_private(bits: int) -> rsa.RSAPrivateKey:
    """Return a key that is the same every day: its primes are published."""
    p, q = next(
        (int(fields["p"], 16), int(fields["q"], 16))
        for section, fields in responses("RSA/FIPS_186-2/SigVer15_186-3.rsp")
        if section == f"mod = {bits}"
    )
    d = pow(EXPONENT, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(EXPONENT, p * q)
    numbers = rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public)
    return numbers.private_key()


class RsaSigner:
    """An RSA key; `suite` is how it signs."""

    def __init__(self, bits: int = 2048, suite: str = "rsa-sha2-512") -> None:
        self.private, self.suite = rsa_private(bits), suite
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
    return RsaSigner(suite=suite) if suite.startswith("rsa-") else MemorySigner(seed)
