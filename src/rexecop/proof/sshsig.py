"""SSHSIG: signatures by people's own SSH keys, as `ssh-keygen -Y sign` makes them.

The namespace says what a signature is for; it is part of what is signed, so an
approval can never be shown as anything else. Only SHA-512 is taken: what approvals
and intents are signed over is settled by their format, not by the signer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rexecop.proof import publickey
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import sha512
from rexecop.proof.errors import (
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureNamespaceMismatch,
    SignatureUnsupported,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer
from rexecop.proof.sshwire import SshReader, ssh_string, ssh_uint32
from rexecop.proof.suites import SUITES, Shown, Suites

HASH: Final = "sha512"
ARMOR_LENGTH_MAX: Final = 32 * 1024  # An RSA signature of 16,384 bits with its key takes under 8 KiB.
NAMESPACE_LENGTH_MAX: Final = 256

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_LINE_LENGTH: Final = 70  # As ssh-keygen breaks lines.
_BEGIN: Final = "-----BEGIN SSH SIGNATURE-----"
_END: Final = "-----END SSH SIGNATURE-----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """That `public` signed; `shown` says by which suite, and what a security key said of its user."""

    public: PublicKey
    shown: Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSignature:
    """A parsed SSHSIG; nothing about it is proved before `verify`.

    `signature` is the SSH signature blob: the name of the suite, then the signature.
    """

    public: PublicKey
    namespace: str
    signature: bytes


def signed_data(namespace: str, message: bytes) -> bytes:
    """Return the bytes an SSHSIG over `message` signs.

    Raises:
        SignatureMalformed: the namespace is empty, too long or not printable ASCII.
    """
    _require_namespace(namespace)
    fields = (namespace.encode("ascii"), b"", HASH.encode(), sha512(message))
    return _MAGIC + b"".join(map(ssh_string, fields))


def sign(signer: Signer, namespace: str, message: bytes) -> str:
    """Return the armored SSHSIG by `signer` over `message` for `namespace`."""
    signature = signer.sign(signed_data(namespace, message))
    return encode(SshSignature(public=signer.public, namespace=namespace, signature=signature))


def verify(armored: str, message: bytes, namespace: str, suites: Suites = SUITES) -> Signed:
    """Return by which key, and how, `message` was signed for `namespace`.

    Whether that key means anything is for the caller to say.

    Raises:
        SignatureMalformed: `armored` is not an SSHSIG.
        SignatureNamespaceMismatch: it was made for another namespace.
        SignatureUnsupported: its suite or hash is not one we take.
        SignatureWrong: the key did not sign `message`.
        SignatureUserAbsent: a security key signed without its user.
    """
    found = decode(armored)
    if found.namespace != namespace:
        text = f"signature was made for `{found.namespace}`, not for `{namespace}`"
        raise SignatureNamespaceMismatch(text, found=found.namespace, allowed=namespace)
    shown = publickey.verify(found.public, signed_data(namespace, message), found.signature, suites)
    return Signed(public=found.public, shown=shown)


def encode(value: SshSignature) -> str:
    """Return the armored form of `value`, as ssh-keygen writes it."""
    fields = (value.public.wire, value.namespace.encode("ascii"), b"", HASH.encode(), value.signature)
    text = encode_base64(_MAGIC + ssh_uint32(_VERSION) + b"".join(map(ssh_string, fields)))
    lines = [text[at : at + _LINE_LENGTH] for at in range(0, len(text), _LINE_LENGTH)]
    return "\n".join((_BEGIN, *lines, _END)) + "\n"


def decode(armored: str) -> SshSignature:
    """Return what the armored SSHSIG says.

    Raises:
        SignatureMalformed: not exactly one well-formed SSHSIG.
        SignatureUnsupported: its hash is not one we take.
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
    if (version := reader.uint32()) != _VERSION:
        raise ValueError(f"its version is {version}, not {_VERSION}")
    public = PublicKey.from_wire(reader.string())
    namespace = reader.text()
    _require_namespace(namespace)
    if reader.string():
        raise ValueError("its reserved field is not empty")
    if (name := reader.text()[:32]) != HASH:
        raise SignatureUnsupported(f"signature uses hash `{name!a}`, not `{HASH}`", hash=name, allowed=HASH)
    signature = reader.string()
    reader.end()
    return SshSignature(public=public, namespace=namespace, signature=signature)


def key_named(armored: str) -> PublicKey:
    """Return the key that the armored SSHSIG says it is by, which shows nothing of it.

    Raises:
        SignatureMalformed: it names none.
    """
    try:
        reader = SshReader(decode_base64("".join(armored.split()[3:-3])))
        reader.take(len(_MAGIC) + 4)
        return PublicKey.from_wire(reader.string())
    except (ValueError, PublicKeyMalformed) as error:
        raise SignatureMalformed(f"SSH signature cannot be read: {error}") from error


def _require_namespace(name: str) -> None:
    if not 0 < len(name) <= NAMESPACE_LENGTH_MAX or not (name.isascii() and name.isprintable()):
        text = f"namespace `{name[:64]!a}` is not 1 to {NAMESPACE_LENGTH_MAX} ASCII letters"
        raise SignatureMalformed(text)
