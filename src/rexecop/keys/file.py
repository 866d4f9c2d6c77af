"""Private keys in OpenSSH key files, and public keys from files or lines."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from rexecop.keys.errors import (
    KeyExists,
    KeyFileMalformed,
    KeyFileMissing,
    KeyFileUnsafe,
    KeyPassphraseProtected,
    KeyUnsupported,
)
from rexecop.proof import allowed_signers
from rexecop.proof.allowed_signers import AllowedSigner
from rexecop.proof.base64text import encode_base64
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import PublicKeyMalformed
from rexecop.proof.publickey import PublicKey
from rexecop.proof.sshwire import ssh_mpint, ssh_string, ssh_uint32
from rexecop.proof.suites import ED25519, RSA_SHA512, signature_blob

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey: TypeAlias = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey

KEY_FILE_BYTES_MAX: Final = 64 * 1024  # An RSA key of 16,384 bits takes under 13 KiB.
COMMENT_LENGTH_MAX: Final = 256
PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644

_BEGIN: Final = "-----BEGIN OPENSSH PRIVATE KEY-----"
_END: Final = "-----END OPENSSH PRIVATE KEY-----"
_MAGIC: Final = b"openssh-key-v1\x00"
_LINE_LENGTH: Final = 70
_BLOCK_BYTES: Final = 8  # What OpenSSH pads an unencrypted key to.


class KeyFileSigner:
    """Signs with the key of a file; the key stays in memory while this lives."""

    def __init__(self, private: PrivateKey, public: PublicKey) -> None:
        self._private = private
        self.public: Final = public

    def sign(self, data: bytes) -> bytes:
        """Return the signature blob over `data`."""
        return _signed(self._private, self.public, data)

    def __repr__(self) -> str:
        return f"KeyFileSigner({self.public.fingerprint})"


def load_signer(path: Path) -> KeyFileSigner:
    """Return the signer for the Ed25519 key in the file `path`: what an instance signs with.

    Raises:
        KeyUnsupported: it is not an Ed25519 key. Else as `load_ssh_signer`.
    """
    signer = load_ssh_signer(path)
    if signer.public.algorithm != ED25519:
        text = f"private key in `{path}` is of type `{signer.public.algorithm}`, not `{ED25519}`"
        raise KeyUnsupported(text, path=str(path), allowed=ED25519)
    return signer


def load_ssh_signer(path: Path) -> KeyFileSigner:
    """Return the signer for a person's private key in the file `path`: Ed25519, ECDSA or RSA.

    The file must be a plain one of this user that nobody else can read.

    Raises:
        KeyFileMissing, KeyFileUnsafe, KeyFileMalformed: about the file.
        KeyPassphraseProtected: the key is encrypted.
        KeyUnsupported: it is of another algorithm, too weak, or in a security key.
    """
    private = _parse_private(_contents(path, private=True), path)
    try:
        return KeyFileSigner(private, _public_of(private))
    except PublicKeyMalformed as error:
        raise KeyUnsupported(f"private key in `{path}`: {error.message}", path=str(path)) from error


def create_key(path: Path, comment: str) -> KeyFileSigner:
    """Make a new Ed25519 key: private in `path` (mode 0600), public in `path`.pub.

    Both are on disk when this returns. Nothing is overwritten; on failure nothing is left behind.

    Raises:
        KeyExists: one of the two files is already there.
        KeyFileMissing: the folder cannot be written to.
        KeyFileMalformed: the comment is too long or holds control characters.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if len(comment) > COMMENT_LENGTH_MAX or not comment.isprintable():
        raise KeyFileMalformed(f"key comment is longer than {COMMENT_LENGTH_MAX} letters or not printable")
    private = Ed25519PrivateKey.generate()
    signer = KeyFileSigner(private, _public_of(private))
    public_path = path.with_name(path.name + ".pub")
    line = f"{signer.public.line} {comment}".rstrip() + "\n"
    written: list[Path] = []
    try:
        for file, text, mode in (
            (path, _private_text(private, signer.public, comment), PRIVATE_MODE),
            (public_path, line, PUBLIC_MODE),
        ):
            _write_new(file, text, mode)
            written.append(file)
        _flush_folder(path.parent)
    except BaseException:
        # Left alone, half a pair would make the next attempt say the key exists.
        for file in written:
            file.unlink(missing_ok=True)
        raise
    return signer


def replace_key(path: Path, fresh: Path, kept: Path) -> None:
    """Put the key pair `fresh` in the place of the pair `path`, which stays as `kept`.

    There is a whole private key at `path` all the time; cut off anywhere, it can be asked for again.

    Raises:
        KeyFileMissing: the folder cannot be written to.
    """
    try:
        # The private key goes last: as long as it lies at `fresh` there is something to be done.
        for ending in (".pub", ""):
            new, old, copy = (Path(f"{file}{ending}") for file in (fresh, path, kept))
            if new.exists():
                if old.exists() and not copy.exists():
                    os.link(old, copy)
                new.replace(old)
    except OSError as error:
        raise KeyFileMissing(f"key file `{path}` cannot be replaced", path=str(path)) from error
    _flush_folder(path.parent)


def read_public_key(path_or_line: Path | str) -> PublicKey:
    """Return the public key in a file, or given as an OpenSSH line or PEM block.

    Text is taken as a key when it has two words or is a PEM block, else as a path.

    Raises:
        KeyFileMissing, KeyFileMalformed: about the file.
        PublicKeyMalformed, SignatureUnsupported: about the key.
    """
    if isinstance(path_or_line, str) and _is_key_text(path_or_line):
        return _parse_public(path_or_line)
    path = Path(path_or_line)
    try:
        text = _contents(path, private=False).decode("utf-8")
    except UnicodeDecodeError as error:
        raise KeyFileMalformed(f"key file `{path}` is not text", path=str(path)) from error
    if text.lstrip().startswith(_BEGIN):
        raise KeyFileMalformed(
            f"`{path}` holds a private key where a public one belongs",
            path=str(path),
            next_steps=(f"use {path}.pub",),
        )
    return _parse_public(text)


def read_allowed_signers(path: Path) -> tuple[AllowedSigner, ...]:
    """Return who may sign by the `allowed_signers` file at `path`.

    Raises:
        KeyFileMissing, KeyFileUnsafe, KeyFileMalformed: about the file.
        AllowedSignersMalformed: about a line of it.
    """
    return allowed_signers.parse(_contents(path, private=False))


def _is_key_text(text: str) -> bool:
    words = text.split(None, 2)
    return len(words) >= 2 and ("-----BEGIN" in text or words[1].startswith("AAAA"))


def _parse_public(text: str) -> PublicKey:
    return PublicKey.from_pem(text) if "-----BEGIN" in text else PublicKey.from_line(text)


def _contents(path: Path, *, private: bool) -> bytes:
    # Not blocking: a named pipe put in the key's place must not hang the caller.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if private else 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise KeyFileUnsafe(f"key file `{path}` is a symbolic link", path=str(path)) from error
        reason = error.strerror.lower() if isinstance(error, OSError) and error.strerror else "no such path"
        raise KeyFileMissing(f"key file `{path}` cannot be opened: {reason}", path=str(path)) from error
    try:
        _require_safe(os.fstat(descriptor), path, private)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileMissing(f"key file `{path}` cannot be read", path=str(path)) from error
    finally:
        os.close(descriptor)
    if len(data) > KEY_FILE_BYTES_MAX:
        raise KeyFileMalformed(f"key file `{path}` is larger than {KEY_FILE_BYTES_MAX} bytes", path=str(path))
    return data


def _require_safe(found: os.stat_result, path: Path, private: bool) -> None:
    mode, own = stat.S_IMODE(found.st_mode), os.geteuid()
    if not stat.S_ISREG(found.st_mode):
        raise KeyFileUnsafe(f"key file `{path}` is not a plain file", path=str(path))
    if private and found.st_uid != own:
        message = f"key file `{path}` belongs to user {found.st_uid}, not {own}"
        raise KeyFileUnsafe(message, path=str(path), uid=found.st_uid)
    if private and mode & 0o077:
        message, shown = f"key file `{path}` has mode {mode:04o}, others can reach it", f"{mode:04o}"
        raise KeyFileUnsafe(message, path=str(path), mode=shown, next_steps=(f"chmod 600 {path}",))


def _parse_private(data: bytes, path: Path) -> PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        found = load_ssh_private_key(data, password=None)
        if isinstance(found, Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey):
            return found
    except TypeError as error:
        message, steps = f"private key in `{path}` is protected by a passphrase", (f"ssh-add {path}",)
        raise KeyPassphraseProtected(message, path=str(path), next_steps=steps) from error
    except ValueError as error:
        raise KeyFileMalformed(f"private key in `{path}` cannot be read", path=str(path)) from error
    except UnsupportedAlgorithm:
        pass
    text = f"private key in `{path}` is not an Ed25519, ECDSA or RSA key; others sign through an agent"
    raise KeyUnsupported(text, path=str(path), next_steps=(f"ssh-add {path}",))


def _public_of(private: PrivateKey) -> PublicKey:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    line = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return PublicKey.from_line(line.decode("ascii"))


def _signed(private: PrivateKey, public: PublicKey, data: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if isinstance(private, Ed25519PrivateKey):
        return signature_blob(ED25519, private.sign(data))
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(private, EllipticCurvePrivateKey):
        by_size = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
        r, s = decode_dss_signature(private.sign(data, ECDSA(by_size[private.key_size])))
        return signature_blob(public.algorithm, ssh_mpint(r) + ssh_mpint(s))
    return signature_blob(RSA_SHA512, private.sign(data, PKCS1v15(), hashes.SHA512()))


def _private_text(private: Ed25519PrivateKey, public: PublicKey, comment: str) -> str:
    """Return the key as OpenSSH writes one without a passphrase (PROTOCOL.key)."""
    # The pair of check bytes tells a wrong passphrase; without one any equal pair serves.
    check = sha256(public.wire)[:4]
    inner = check + check + public.wire
    inner += ssh_string(private.private_bytes_raw() + public.raw) + ssh_string(comment.encode())
    inner += bytes(range(1, -len(inner) % _BLOCK_BYTES + 1))
    blob = _MAGIC + ssh_string(b"none") + ssh_string(b"none") + ssh_string(b"") + ssh_uint32(1)
    text = encode_base64(blob + ssh_string(public.wire) + ssh_string(inner))
    lines = (text[at : at + _LINE_LENGTH] for at in range(0, len(text), _LINE_LENGTH))
    return "\n".join((_BEGIN, *lines, _END)) + "\n"


def _write_new(path: Path, text: str, mode: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError as error:
        raise KeyExists(f"`{path}` already exists and is not overwritten", path=str(path)) from error
    except (OSError, ValueError) as error:
        raise KeyFileMissing(f"key file `{path}` cannot be written", path=str(path)) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileMissing(f"key file `{path}` cannot be written", path=str(path)) from error


def _flush_folder(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise KeyFileMissing(f"key folder `{folder}` cannot be flushed to disk", path=str(folder)) from error
