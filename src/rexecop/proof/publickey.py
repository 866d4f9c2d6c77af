"""Public keys: one value for every form a key is written in, and the check of its signatures.

A key is kept in SSH wire form, so any key OpenSSH knows can be named, shown and
compared by fingerprint. Only Ed25519 signatures can be *checked*; for all other keys
`verify` raises, and nothing passes unchecked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final

from rexecop.proof import ed25519
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import PublicKeyMalformed, SignatureUnsupported, SignatureWrong
from rexecop.proof.sshwire import SshReader, ssh_string

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ED25519: Final = "ssh-ed25519"
SIGNATURE_BYTES: Final = ed25519.SIGNATURE_BYTES

LINE_LENGTH_MAX: Final = 16 * 1024  # An RSA key of 16,384 bits takes under 3 KiB.
PEM_LENGTH_MAX: Final = 16 * 1024

_ALGORITHM_NAME: Final = re.compile(r"[a-z0-9][a-z0-9@.-]{0,63}")
_SPKI_ED25519: Final = bytes.fromhex("302a300506032b6570032100")  # RFC 8410; the 32 key bytes follow.
_PEM_BEGIN: Final = "-----BEGIN PUBLIC KEY-----"
_PEM_END: Final = "-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key in SSH wire form. Make one with a `from_` method, which check it.

    Equal keys are equal values; a comment is not part of a key.
    """

    algorithm: str
    wire: bytes

    def __post_init__(self) -> None:
        name = self.algorithm
        if not _ALGORITHM_NAME.fullmatch(name):
            raise PublicKeyMalformed(f"`{name[:64]!a}` is not the name of a key algorithm")
        try:
            reader = SshReader(self.wire)
            if (inner := reader.text()) != name:
                raise PublicKeyMalformed(f"public key says `{name}` outside and `{inner[:64]!a}` inside")
            if name == ED25519:
                ed25519.require_point(reader.string())
                reader.end()
        except ValueError as error:
            raise PublicKeyMalformed(f"public key `{name}` cannot be read: {error}") from error

    @classmethod
    def from_ed25519(cls, raw: bytes) -> PublicKey:
        """Return the Ed25519 key with the 32 bytes `raw`.

        Raises:
            PublicKeyMalformed: `raw` is not a usable key.
        """
        return cls(ED25519, ssh_string(ED25519.encode()) + ssh_string(raw))

    @classmethod
    def from_wire(cls, wire: bytes) -> PublicKey:
        """Return the key that SSH writes as `wire`.

        Raises:
            PublicKeyMalformed: the bytes are not a key.
        """
        try:
            return cls(SshReader(wire).text(), wire)
        except ValueError as error:
            raise PublicKeyMalformed(f"public key cannot be read: {error}") from error

    @classmethod
    def from_line(cls, line: str) -> PublicKey:
        """Return the key in a line like `ssh-ed25519 AAAA... comment`; the comment is dropped.

        Raises:
            PublicKeyMalformed: the line has another form, or is longer than `LINE_LENGTH_MAX`.
        """
        words = line.strip().split(None, 2) if len(line) <= LINE_LENGTH_MAX else []
        if len(words) < 2 or "\n" in line.strip():
            raise PublicKeyMalformed("public key is not one line like `ssh-ed25519 AAAA... comment`")
        try:
            return cls(words[0], decode_base64(words[1]))
        except ValueError as error:
            raise PublicKeyMalformed(f"public key `{words[0][:64]!a}` cannot be read: {error}") from error

    @classmethod
    def from_pem(cls, text: str) -> PublicKey:
        """Return the Ed25519 key in a PEM `PUBLIC KEY` block.

        Raises:
            PublicKeyMalformed: no such block, or not exactly one.
            SignatureUnsupported: the block holds a key of another algorithm.
        """
        lines = text.strip().splitlines() if len(text) <= PEM_LENGTH_MAX else []
        if len(lines) < 3 or lines[0].strip() != _PEM_BEGIN or lines[-1].strip() != _PEM_END:
            raise PublicKeyMalformed(f"public key is not one PEM block `{_PEM_BEGIN}`")
        try:
            der = decode_base64("".join(line.strip() for line in lines[1:-1]))
        except ValueError as error:
            raise PublicKeyMalformed(f"PEM public key cannot be read: {error}") from error
        if not der.startswith(_SPKI_ED25519):
            raise SignatureUnsupported("PEM public key is not an Ed25519 key", allowed=ED25519)
        return cls.from_ed25519(der[len(_SPKI_ED25519) :])

    @property
    def fingerprint(self) -> str:
        """The fingerprint as OpenSSH shows it: `SHA256:` and unpadded base64."""
        return "SHA256:" + encode_base64(sha256(self.wire)).rstrip("=")

    @property
    def line(self) -> str:
        """The key as one OpenSSH line without comment or line break."""
        return f"{self.algorithm} {encode_base64(self.wire)}"

    @property
    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key.

        Raises:
            SignatureUnsupported: the key is of another algorithm.
        """
        require_supported(self)
        return self.wire[-ed25519.PUBLIC_BYTES :]

    @property
    def pem(self) -> str:
        """An Ed25519 key as a PEM `PUBLIC KEY` block."""
        return f"{_PEM_BEGIN}\n{encode_base64(_SPKI_ED25519 + self.raw)}\n{_PEM_END}\n"


def require_supported(public: PublicKey) -> None:
    """Return only if signatures by `public` can be checked here.

    Raises:
        SignatureUnsupported: they cannot.
    """
    if public.algorithm != ED25519:
        text = f"signatures by `{public.algorithm}` keys cannot be checked here"
        raise SignatureUnsupported(text, algorithm=public.algorithm, allowed=ED25519)


def verify(public: PublicKey, message: bytes, signature: bytes) -> None:
    """Return only if `public` signed `message` with `signature`.

    Raises:
        SignatureUnsupported: this algorithm cannot be checked here.
        SignatureMalformed: the signature breaks its format.
        SignatureWrong: the key did not sign `message`.
    """
    require_supported(public)
    # The strict form is asked for here, since a library may be more lenient.
    ed25519.require_form(signature)
    library = _ed25519_library()
    if library is None:
        ed25519.verify(public.raw, message, signature)
        return
    from cryptography.exceptions import InvalidSignature

    try:
        library.from_public_bytes(public.raw).verify(signature, message)
    except InvalidSignature as error:
        raise SignatureWrong("the key did not sign these bytes", key=public.fingerprint) from error


def checked_with() -> str:
    """Return what checks signatures on this machine: `cryptography`, or `plain` Python."""
    return "plain" if _ed25519_library() is None else "cryptography"


@cache
def _ed25519_library() -> type[Ed25519PublicKey] | None:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        return None
    try:
        # A library built without Ed25519 imports well and only refuses at use.
        Ed25519PublicKey.from_public_bytes(bytes.fromhex("58" + "66" * 31))
    except UnsupportedAlgorithm:
        return None
    return Ed25519PublicKey
