"""A time stamp authority: certificates of all kinds, answers by `openssl ts`, and answers none would give."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from rexecop.proof import der
from rexecop.proof.x509 import Authority, Certificate, parse

SECONDS_MAX: Final = 60
NOW: Final = datetime.now(UTC)
HASHES: Final[Mapping[str, hashes.SHA256 | hashes.SHA384 | hashes.SHA512]] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
CURVES: Final = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
CONFIG: Final = """
[tsa]
default_tsa = it
[it]
serial = serial
default_policy = 1.2.3.4.1
digests = sha1, sha256, sha384, sha512
accuracy = secs:1, millisecs:500
signer_digest = {digest}
ess_cert_id_alg = {ess}
ess_cert_id_chain = no
"""

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Extension = tuple[x509.ExtensionType, bool]

STAMPS: Final[Extension] = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), True)
IS_AUTHORITY: Final[Extension] = (x509.BasicConstraints(ca=True, path_length=None), True)


def usage(*names: str) -> Extension:
    """A critical key usage with just `names` of it."""
    known = (
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    )
    return x509.KeyUsage(**{name: name in names for name in known}), True


@cache
def new_key(kind: str, number: int = 0) -> Key:
    """A key of `kind`; the same one for the same number."""
    if kind in CURVES:
        return ec.generate_private_key(CURVES[kind])
    return rsa.generate_private_key(public_exponent=65537, key_size=int(kind.removeprefix("rsa")))


@dataclass(frozen=True)
class Holder:
    """A certificate with its key."""

    key: Key
    made: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.made.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.made.public_bytes(Encoding.PEM)

    @property
    def certificate(self) -> Certificate:
        return parse(self.der)

    def trusted(self, name: str = "house") -> Authority:
        return Authority(name=name, certificate=self.certificate)


def certify(
    name: str,
    *extensions: Extension,
    by: Holder | None = None,
    key: Key | None = None,
    digest: str = "sha256",
    begins: timedelta = timedelta(days=-1),
    lasts: timedelta = timedelta(days=30),
    issuer: str | None = None,
) -> Holder:
    """Make a certificate, issued by `by` or by itself; `issuer` is another name than that one's."""
    key = key or new_key("p256")
    of = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signed = by.made.subject if by else of
    if issuer is not None:
        signed = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(of)
        .issuer_name(signed)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + begins + lasts)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return Holder(key=key, made=builder.sign(by.key if by else key, HASHES[digest]))


def answer(
    message: bytes,
    signer: Holder,
    *chain: Holder,
    digest: str = "sha256",
    hash_name: str = "sha256",
    ess: str = "sha256",
    query: bytes | None = None,
    certificates: bool = True,
    token: bool = False,
) -> bytes:
    """What `openssl ts` answers, in the name of `signer`, when asked about `message` or with `query`."""
    private = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files = {
        "message": message,
        "key.pem": private,
        "signer.pem": signer.pem,
        "chain.pem": b"".join(one.pem for one in chain) or signer.pem,
        "openssl.cnf": CONFIG.format(digest=digest, ess=ess).encode(),
        "serial": b"01\n",
    }
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        if query is None:
            with_them = ["-cert"] if certificates else []
            _openssl(folder, "-query", "-data", "message", f"-{hash_name}", "-out", "q.tsq", *with_them)
        else:
            (folder / "q.tsq").write_bytes(query)
        _openssl(
            folder, "-reply", "-queryfile", "q.tsq", "-signer", "signer.pem", "-inkey", "key.pem",
            "-chain", "chain.pem", "-config", "openssl.cnf", "-section", "it", "-out", "a.tsr",
            *(["-token_out"] if token else []),
        )  # fmt: skip
        return (folder / "a.tsr").read_bytes()


def approved(data: bytes, message: bytes, root: Holder) -> bool:
    """Whether `openssl ts -verify` takes the answer for one about `message` under `root`."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file, held in {"message": message, "root.pem": root.pem, "a.tsr": data}.items():
            (folder / file).write_bytes(held)
        ended = subprocess.run(
            ["openssl", "ts", "-verify", "-data", "message", "-in", "a.tsr", "-CAfile", "root.pem"],
            cwd=folder, capture_output=True, timeout=SECONDS_MAX, check=False,
        )  # fmt: skip
    return ended.returncode == 0


def _openssl(folder: Path, *words: str) -> None:
    ended = subprocess.run(
        ["openssl", "ts", *words], cwd=folder, capture_output=True, timeout=SECONDS_MAX, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()


# --- answers that no authority gives, written here byte by byte ---

_OIDS: Final = {
    "signed_data": "06092a864886f70d010702",
    "tst_info": "060b2a864886f70d0109100104",
    "data": "06092a864886f70d010701",
    "content_type": "06092a864886f70d010903",
    "message_digest": "06092a864886f70d010904",
    "signing_certificate": "060b2a864886f70d010910022f",
    "sha1": "06052b0e03021a",
    "sha256": "0609608648016503040201",
    "sha512": "0609608648016503040203",
    "ecdsa_sha256": "06082a8648ce3d040302",
    "rsa_pss": "06092a864886f70d01010a",
    "policy": "06042a030401",
}


def oid(name: str) -> bytes:
    return bytes.fromhex(_OIDS[name])


def sequence(*parts: bytes) -> bytes:
    return der.encode(der.SEQUENCE, b"".join(parts))


def attribute(name: str, *values: bytes) -> bytes:
    return sequence(oid(name), der.encode(der.SET, b"".join(values)))


def info(
    message: bytes, *more: bytes, hash_name: str = "sha256", at: datetime = NOW, version: int = 1
) -> bytes:
    """A TSTInfo about `message`."""
    imprint = sequence(
        sequence(oid(hash_name)), der.encode(der.OCTET_STRING, hashlib.new(hash_name, message).digest())
    )
    time = der.encode(der.GENERALIZED_TIME, at.strftime("%Y%m%d%H%M%SZ").encode())
    return sequence(bytes((2, 1, version)), oid("policy"), imprint, b"\x02\x01\x07", time, *more)


def attributes(content: bytes, signer: Holder, *, kind: str = "tst_info") -> list[bytes]:
    """What a signer of a time stamp has to sign about it."""
    return [
        attribute("content_type", oid(kind)),
        attribute("message_digest", der.encode(der.OCTET_STRING, hashlib.sha256(content).digest())),
        attribute(
            "signing_certificate",
            sequence(sequence(sequence(der.encode(der.OCTET_STRING, hashlib.sha256(signer.der).digest())))),
        ),
    ]


def token(
    content: bytes,
    signer: Holder,
    signed: Sequence[bytes] | None = None,
    *,
    certificates: Sequence[bytes] | None = None,
    names: Holder | None = None,
    algorithm: str = "ecdsa_sha256",
    signers: int = 1,
    kind: str = "tst_info",
    order: bool = True,
) -> bytes:
    """A TimeStampToken with `content`, signed by the P-256 key of `signer` over `signed` attributes."""
    listed = list(attributes(content, signer) if signed is None else signed)
    body = b"".join(sorted(listed) if order else listed)
    assert isinstance(signer.key, ec.EllipticCurvePrivateKey)
    signature = signer.key.sign(der.encode(der.SET, body), ec.ECDSA(hashes.SHA256()))
    named = (names or signer).certificate
    who = sequence(
        b"\x02\x01\x01",
        sequence(named.issuer, named.serial),
        sequence(oid("sha256")),
        der.encode(der.tagged(0), body),
        sequence(oid(algorithm)),
        der.encode(der.OCTET_STRING, signature),
    )
    held = [signer.der] if certificates is None else certificates
    data = sequence(
        b"\x02\x01\x03",
        der.encode(der.SET, sequence(oid("sha256"))),
        sequence(oid(kind), der.encode(der.tagged(0), der.encode(der.OCTET_STRING, content))),
        *([der.encode(der.tagged(0), b"".join(held))] if held else []),
        der.encode(der.SET, who * signers),
    )
    return sequence(oid("signed_data"), der.encode(der.tagged(0), data))
