"""SSHSIG: signatures by people's own SSH keys, as `ssh-keygen -Y sign` makes them.

The namespace says what a signature is for; it is part of what is signed, so an
approval can never be shown as anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.proof import publickey
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import sha512
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signature_errors import (
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureNamespaceMismatch,
    SignatureUnsupported,
)
from rexecop.proof.signer import Signer
from rexecop.proof.sshwire import SshReader, ssh_string, ssh_uint32

HASH: Final = "sha512"
ARMOR_LENGTH_MAX: Final = 32 * 1024  # An RSA signature of 16,384 bits with its key takes under 8 KiB.
NAMESPACE_LENGTH_MAX: Final = 256

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_LINE_LENGTH: Final = 70  # As ssh-keygen breaks lines.
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"

_HASHES: Final[Mapping[str, Callable[[bytes], bytes]]] = {HASH: sha512}


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A parsed SSHSIG; nothing about it is proved before `verify`.

    `signature` is the bare signature, without the algorithm name SSH writes before it.
    """

    public: PublicKey
    namespace: str
    hash_name: str
    signature: bytes


def signed_data(namespace: str, message: bytes, hash_name: str = HASH) -> bytes:
    """Return the bytes an SSHSIG over `message` signs.

    Raises:
        SignatureMalformed: the namespace is empty, too long or not printable ASCII.
        SignatureUnsupported: the hash is not one we take.
    """
    _require_namespace(namespace)
    hashed = _HASHES.get(hash_name)
    if hashed is None:
        raise SignatureUnsupported(f"hash `{hash_name[:32]!a}` is not `{HASH}`", hash=hash_name[:32])
    name = ssh_string(namespace.encode("ascii"))
    return _MAGIC + name + ssh_string(b"") + ssh_string(hash_name.encode()) + ssh_string(hashed(message))


def sign(signer: Signer, namespace: str, message: bytes) -> str:
    """Return the armored SSHSIG by `signer` over `message` for `namespace`."""
    row = _format_of(signer.public.algorithm)
    signature = signer.sign(signed_data(namespace, message))
    return encode(
        SshSignature(
            public=signer.public, namespace=namespace, hash_name=HASH, signature=row.check(signature)
        )
    )


def verify(armored: str, message: bytes, namespace: str, hash_name: str = HASH) -> PublicKey:
    """Return the key that signed `message` for `namespace`.

    Whether that key means anything is for the caller to say.

    Raises:
        SignatureMalformed: `armored` is not an SSHSIG.
        SignatureNamespaceMismatch: it was made for another namespace.
        SignatureUnsupported: its key algorithm or hash is not one we take.
        SignatureWrong: the key did not sign `message`.
    """
    found = decode(armored)
    if found.namespace != namespace:
        raise SignatureNamespaceMismatch(
            f"signature was made for `{found.namespace}`, not for `{namespace}`",
            found=found.namespace,
            allowed=namespace,
        )
    if found.hash_name != hash_name:
        raise SignatureUnsupported(
            f"signature uses hash `{found.hash_name[:32]!a}`, not `{hash_name}`",
            hash=found.hash_name[:32],
            allowed=hash_name,
        )
    publickey.verify(found.public, signed_data(namespace, message, hash_name), found.signature)
    return found.public


def encode(value: SshSignature) -> str:
    """Return the armored form of `value`, as ssh-keygen writes it."""
    algorithm = ssh_string(value.public.algorithm.encode())
    blob = b"".join(
        (
            _MAGIC,
            ssh_uint32(_VERSION),
            ssh_string(value.public.wire),
            ssh_string(value.namespace.encode("ascii")),
            ssh_string(b""),
            ssh_string(value.hash_name.encode("ascii")),
            ssh_string(algorithm + ssh_string(value.signature)),
        )
    )
    text = encode_base64(blob)
    lines = [text[at : at + _LINE_LENGTH] for at in range(0, len(text), _LINE_LENGTH)]
    return "\n".join((_BEGIN, *lines, _END)) + "\n"


def decode(armored: str) -> SshSignature:
    """Return what the armored SSHSIG says.

    Raises:
        SignatureMalformed: not exactly one well-formed SSHSIG.
        SignatureUnsupported: its key algorithm is not one we take.
    """
    lines = armored.strip().split("\n") if len(armored) <= ARMOR_LENGTH_MAX else []
    lines = [line.removesuffix("\r") for line in lines]
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise SignatureMalformed(f"signature is not one block `{_BEGIN}`")
    try:
        return _decode_blob(decode_base64("".join(lines[1:-1])))
    except (ValueError, PublicKeyMalformed) as error:
        raise SignatureMalformed(f"SSH signature cannot be read: {error}") from error


def _decode_blob(blob: bytes) -> SshSignature:
    reader = SshReader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise ValueError("it does not begin with `SSHSIG`")
    version = reader.uint32()
    if version != _VERSION:
        raise ValueError(f"its version is {version}, not {_VERSION}")
    public = PublicKey.from_wire(reader.string())
    namespace = reader.text()
    _require_namespace(namespace)
    if reader.string():
        raise ValueError("its reserved field is not empty")
    hash_name = reader.text()
    signature = reader.string()
    reader.end()
    return SshSignature(
        public=public, namespace=namespace, hash_name=hash_name, signature=bare_signature(public, signature)
    )


def bare_signature(public: PublicKey, blob: bytes) -> bytes:
    """Return the bare signature out of an SSH signature blob made by `public`.

    Raises:
        SignatureUnsupported: the key's algorithm is not one we take.
        SignatureMalformed: the blob has another form or names another algorithm.
    """
    row = _format_of(public.algorithm)
    try:
        reader = SshReader(blob)
        name = reader.text()
        if name != public.algorithm:
            raise ValueError(f"it is a `{name[:64]!a}` signature by a `{public.algorithm}` key")
        found = row.check(reader.string())
        reader.end()
    except ValueError as error:
        raise SignatureMalformed(f"SSH signature cannot be read: {error}") from error
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """How the signature of one algorithm stands in its SSH blob."""

    length: int

    def check(self, signature: bytes) -> bytes:
        if len(signature) != self.length:
            raise SignatureMalformed(f"signature has {len(signature)} bytes, not {self.length}")
        return signature


def _format_of(algorithm: str) -> _Format:
    row = _FORMATS.get(algorithm)
    if row is None:
        raise SignatureUnsupported(
            f"SSH signatures by `{algorithm}` keys cannot be checked here",
            algorithm=algorithm,
            allowed=", ".join(_FORMATS),
        )
    return row


def _require_namespace(namespace: str) -> None:
    if not 0 < len(namespace) <= NAMESPACE_LENGTH_MAX or not (
        namespace.isascii() and namespace.isprintable()
    ):
        raise SignatureMalformed(
            f"namespace `{namespace[:64]!a}` is not 1 to {NAMESPACE_LENGTH_MAX} ASCII letters"
        )


_FORMATS: Final[Mapping[str, _Format]] = {publickey.ED25519: _Format(length=64)}
