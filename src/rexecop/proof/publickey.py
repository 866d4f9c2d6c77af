"""Public keys: one value for every form a key is written in, and the check of its signatures.

A key is kept in SSH wire form, so any key OpenSSH knows can be named, shown and
compared by fingerprint. Which signatures can be *checked* is for `suites` to say; for all
others `verify` raises, and nothing passes unchecked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rexecop.proof import ed25519, library, suites
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import PublicKeyMalformed, SignatureUnsupported
from rexecop.proof.sshwire import SshReader, ssh_string
from rexecop.proof.suites import SUITES, Shown, Suites

ED25519: Final = suites.ED25519
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
            if (inner := SshReader(self.wire).text()) != name:
                raise PublicKeyMalformed(f"public key says `{name}` outside and `{inner[:64]!a}` inside")
            SUITES.require_key(self.wire)
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
        if self.algorithm != ED25519:
            text = f"a `{self.algorithm}` key stands where only `{ED25519}` keys are taken"
            raise SignatureUnsupported(text, algorithm=self.algorithm, allowed=ED25519)
        return self.wire[-ed25519.PUBLIC_BYTES :]

    @property
    def pem(self) -> str:
        """An Ed25519 key as a PEM `PUBLIC KEY` block."""
        return f"{_PEM_BEGIN}\n{encode_base64(_SPKI_ED25519 + self.raw)}\n{_PEM_END}\n"


def verify(public: PublicKey, message: bytes, blob: bytes, table: Suites = SUITES) -> Shown:
    """Return what the SSH signature `blob` shows; by it `public` signed `message`.

    Raises:
        SignatureUnsupported, SignatureMalformed, SignatureWrong, SignatureUserAbsent: see `Suites.verify`.
    """
    return table.verify(public.wire, message, blob)


def verify_bare(public: PublicKey, message: bytes, signature: bytes) -> None:
    """Return only if the Ed25519 key `public` signed `message` with the 64 bytes `signature`.

    Envelopes, notes and checkpoints hold such signatures, which no name of a suite stands before.

    Raises:
        SignatureUnsupported: `public` is a key of another algorithm.
        SignatureMalformed, SignatureWrong: see `ed25519.verify`.
    """
    library.verify_ed25519(public.raw, message, signature)
