"""Signature suites: the one table of what can be checked here, and how.

A suite goes by the name that SSH writes before a signature. What is not in the table is
*not checked*: it raises `SignatureUnsupported` and nothing passes. A suite reads its own
key and its own signature, so a hybrid of two algorithms is one more entry.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag
from functools import partial
from typing import Final, TypeAlias, TypeVar

from rexecop.proof import ecdsa, ed25519, library, rsa
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import SignatureMalformed, SignatureUnsupported, SignatureUserAbsent
from rexecop.proof.sshwire import SshReader, ssh_string, ssh_uint32

ED25519: Final = "ssh-ed25519"
RSA: Final = "ssh-rsa"  # Of keys; signatures of this name are SHA-1 and in no table.
RSA_SHA512: Final = "rsa-sha2-512"
SK_ECDSA: Final = "sk-ecdsa-sha2-nistp256@openssh.com"
# What else the keys of a known type sign with. Any other name is no signature of theirs.
NOT_TAKEN: Final = {RSA: RSA, SK_ECDSA: "webauthn-" + SK_ECDSA}

K = TypeVar("K")


class KeyFlags(IntFlag):
    """What a security key says about the moment it signed; other bits may be set beside these."""

    USER_PRESENT = 0x01
    USER_VERIFIED = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a right signature shows beside being right: `flags` only where a security key made it."""

    suite: str
    flags: KeyFlags | None


Check: TypeAlias = Callable[[SshReader, bytes, SshReader], KeyFlags | None]
"""Takes the fields of a key, what was signed, and the fields of the signature, each without its name.

Returns only if the signature is right; raises a SignatureError, or ValueError where bytes cannot be read.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One way of signing: `id` names it in signatures, `key_type` in keys.

    `read_key` takes the fields of a key and raises as `check` does unless it is a usable one.
    """

    id: str
    key_type: str
    read_key: Callable[[SshReader], object]
    check: Check


@dataclass(frozen=True, slots=True)
class Suites:
    """The suites that somebody takes."""

    entries: tuple[Suite, ...]

    @property
    def ids(self) -> str:
        """The names of all suites, for people."""
        return ", ".join(suite.id for suite in self.entries)

    def of_key(self, key_type: str) -> tuple[Suite, ...]:
        """Return the suites that keys of `key_type` sign with; none where such keys cannot be checked."""
        return tuple(suite for suite in self.entries if suite.key_type == key_type)

    def require_key(self, wire: bytes) -> None:
        """Return only if the key `wire` is usable, or of a type that is in no suite.

        Raises:
            PublicKeyMalformed, ValueError: it is of a known type and not usable, or not a key at all.
        """
        reader = SshReader(wire)
        for suite in self.of_key(reader.text())[:1]:
            suite.read_key(reader)
            reader.end()

    def verify(self, wire: bytes, message: bytes, blob: bytes) -> Shown:
        """Return what `blob` shows, which is a signature over `message` by the key `wire`.

        Raises:
            SignatureUnsupported: no suite here has its name, and a key of this type may sign so.
            SignatureMalformed, PublicKeyMalformed: the bytes break their format.
            SignatureWrong: the key did not sign `message`.
            SignatureUserAbsent: a security key signed without its user.
        """
        try:
            key, signature = SshReader(wire), SshReader(blob)
            key_type, name = key.text(), signature.text()
            suite = next((one for one in self.entries if one.id == name), None)
            if suite is None and (not self.of_key(key_type) or NOT_TAKEN.get(key_type) == name):
                text = f"signatures `{name[:64]!a}` cannot be checked here"
                raise SignatureUnsupported(text, algorithm=name[:64], allowed=self.ids)
            if suite is None or suite.key_type != key_type:
                raise ValueError(f"it is a `{name[:64]!a}` signature by a `{key_type[:64]!a}` key")
            flags = suite.check(key, message, signature)
            key.end()
            signature.end()
        except ValueError as error:
            raise SignatureMalformed(f"SSH signature cannot be read: {error}") from error
        return Shown(suite=name, flags=flags)


def _suite(
    name: str,
    key_type: str,
    read_key: Callable[[SshReader], K],
    check: Callable[[K, bytes, bytes], None],
) -> Suite:
    """Return the suite whose signature is one string."""

    def checked(key: SshReader, message: bytes, signature: SshReader) -> None:
        check(read_key(key), message, signature.string())

    return Suite(id=name, key_type=key_type, read_key=read_key, check=checked)


def _security_key_suite(
    name: str, read_key: Callable[[SshReader], K], check: Callable[[K, bytes, bytes], None]
) -> Suite:
    """Return the suite by which a FIDO2 key signs (OpenSSH, PROTOCOL.u2f)."""

    def read(key: SshReader) -> tuple[K, bytes]:
        return read_key(key), key.string()

    def checked(key: SshReader, message: bytes, signature: SshReader) -> KeyFlags:
        public, application = read(key)
        inner, flags, counter = signature.string(), signature.take(1), signature.uint32()
        check(public, sha256(application) + flags + ssh_uint32(counter) + sha256(message), inner)
        found = KeyFlags(flags[0])
        if KeyFlags.USER_PRESENT not in found:
            text = "the security key does not show that its user was present"
            raise SignatureUserAbsent(text, flags=flags[0])
        return found

    return Suite(id=name, key_type=name, read_key=read, check=checked)


def _ed25519_key(key: SshReader) -> bytes:
    public = key.string()
    ed25519.require_point(public)
    return public


def _ecdsa_key(curve: str, key: SshReader) -> bytes:
    if (name := key.text()) != curve:
        raise ValueError(f"its curve is `{name[:32]!a}`, not `{curve}`")
    point = key.string()
    ecdsa.require_point(curve, point)
    return point


def _check_ecdsa(curve: str, point: bytes, message: bytes, blob: bytes) -> None:
    numbers = SshReader(blob)
    r, s = numbers.mpint(), numbers.mpint()
    numbers.end()
    library.verify_ecdsa(curve, point, message, r, s)


def _rsa_key(key: SshReader) -> tuple[int, int]:
    exponent, modulus = key.mpint(), key.mpint()
    rsa.require_key(modulus, exponent)
    return modulus, exponent


def _check_rsa(hash_name: str, key: tuple[int, int], message: bytes, blob: bytes) -> None:
    library.verify_rsa(*key, hash_name, message, blob)


def _ecdsa_suite(curve: str) -> Suite:
    name = f"ecdsa-sha2-{curve}"
    return _suite(name, name, partial(_ecdsa_key, curve), partial(_check_ecdsa, curve))


SUITES: Final = Suites(
    (
        _suite(ED25519, ED25519, _ed25519_key, library.verify_ed25519),
        *map(_ecdsa_suite, ecdsa.CURVES),
        _suite(RSA_SHA512, RSA, _rsa_key, partial(_check_rsa, "sha512")),
        _suite("rsa-sha2-256", RSA, _rsa_key, partial(_check_rsa, "sha256")),
        _security_key_suite("sk-ssh-ed25519@openssh.com", _ed25519_key, library.verify_ed25519),
        _security_key_suite(
            SK_ECDSA,
            partial(_ecdsa_key, "nistp256"),
            partial(_check_ecdsa, "nistp256"),
        ),
    )
)


def signature_blob(suite: str, signature: bytes) -> bytes:
    """Return `signature` as SSH writes it: after the name of its suite."""
    return ssh_string(suite.encode()) + ssh_string(signature)


def bare_signature(suite: str, blob: bytes) -> bytes:
    """Return the signature in `blob`, which must be one of `suite` and nothing more.

    Raises:
        SignatureMalformed: it is not.
    """
    reader = SshReader(blob)
    try:
        if (name := reader.text()) != suite:
            raise ValueError(f"it is a `{name[:64]!a}` signature, not `{suite}`")
        found = reader.string()
        reader.end()
    except ValueError as error:
        raise SignatureMalformed(f"SSH signature cannot be read: {error}") from error
    return found
