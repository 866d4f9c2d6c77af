"""C2SP signed notes: text that anyone can read, with signature lines below it.

A signature line carries the name of its key and four bytes that tell the key and
the signature type apart. Lines by keys the reader does not know are ignored; a
line by a known key that does not verify spoils the note.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Final

from rexecop.proof import publickey
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.canonical import sha256
from rexecop.proof.errors import (
    NoteMalformed,
    NoteSignatureRepeated,
    PublicKeyMalformed,
    SignatureMalformed,
    SignatureUnsupported,
    SignerUnknown,
)
from rexecop.proof.publickey import PublicKey
from rexecop.proof.signer import Signer, sign_bare

NOTE_BYTES_MAX: Final = 256 * 1024  # Sixteen post-quantum signatures take under 110 KiB.
SIGNATURES_MAX: Final = 64  # The format asks for at least 16.
NAME_LENGTH_MAX: Final = 256
KEY_ID_BYTES: Final = 4

LINE_START: Final = "\u2014 "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_TIMESTAMP_BYTES: Final = 8
_TIMESTAMP_MAX: Final = 2**63 - 1


class SignatureType(IntEnum):
    """What the key of a line signs; the number is part of the key's id."""

    ED25519 = 0x01  # the text itself
    COSIGNATURE = 0x04  # a witness's time and the text (C2SP cosignature/v1)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line; `signature` is what follows the four bytes of the key id."""

    name: str
    key_id: bytes
    signature: bytes

    def encode(self) -> str:
        """Return the line as it is written down, with its line break.

        Raises:
            NoteMalformed: the name breaks the format.
        """
        require_name(self.name)
        return f"{LINE_START}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text and its signature lines, of which none is proved before `verify`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """Return the note as it is written down.

        Raises:
            NoteMalformed: the text or a name breaks the format.
        """
        _require_text(self.text)
        return (self.text + "\n" + "".join(entry.encode() for entry in self.signatures)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteKey:
    """A key a reader trusts under a name, for one type of signature."""

    name: str
    public: PublicKey
    type: SignatureType

    @property
    def key_id(self) -> bytes:
        """The four bytes that stand before this key's signatures."""
        return sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.public.raw)[:KEY_ID_BYTES]

    def encode(self) -> str:
        """Return the key as one line `name+id+base64` (a C2SP vkey)."""
        return f"{self.name}+{self.key_id.hex()}+{encode_base64(bytes([self.type]) + self.public.raw)}"

    @classmethod
    def decode(cls, text: str) -> NoteKey:
        """Return the key that the line `text` gives.

        Raises:
            PublicKeyMalformed: another form, or an id that is not this key's.
            SignatureUnsupported: another type of signature.
        """
        name, _, rest = text.partition("+")
        key_id, _, material = rest.partition("+")
        try:
            require_name(name)
            kind, *_ = data = decode_base64(material)
        except (NoteMalformed, ValueError) as error:
            raise PublicKeyMalformed("note key is not like `name+01234567+base64`") from error
        if kind not in tuple(SignatureType):
            raise SignatureUnsupported("note key is of a type that cannot be checked here", found=kind)
        found = cls(name=name, public=PublicKey.from_ed25519(data[1:]), type=SignatureType(kind))
        if found.key_id.hex() != key_id:
            text = f"note key says id `{key_id[:16]!a}`, its key has `{found.key_id.hex()}`"
            raise PublicKeyMalformed(text)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """That `key` signed the note; `at_seconds` is a witness's time (seconds since 1970), else None."""

    key: NoteKey
    at_seconds: int | None


def sign(text: str, name: str, signer: Signer) -> NoteSignature:
    """Return the line by which `signer`, under `name`, signs `text`."""
    key = NoteKey(name=name, public=signer.public, type=SignatureType.ED25519)
    _require_text(text)
    return NoteSignature(name=name, key_id=key.key_id, signature=sign_bare(signer, text.encode()))


def cosign(text: str, name: str, signer: Signer, *, at_seconds: int) -> NoteSignature:
    """Return the line by which a witness states that it saw the checkpoint `text` at `at_seconds`."""
    key = NoteKey(name=name, public=signer.public, type=SignatureType.COSIGNATURE)
    _require_text(text)
    signature = sign_bare(signer, _cosigned(text, at_seconds))
    stamp = at_seconds.to_bytes(_TIMESTAMP_BYTES, "big")
    return NoteSignature(name=name, key_id=key.key_id, signature=stamp + signature)


def verify(note: Note, keys: Sequence[NoteKey]) -> tuple[Verified, ...]:
    """Return which of `keys` signed `note`, at least one; unknown lines are ignored.

    Raises:
        SignerUnknown: none of `keys` signed.
        SignatureWrong, SignatureMalformed: a line by one of `keys` does not verify.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found = [
        _verify_line(note.text, entry, known[entry.name, entry.key_id])
        for entry in note.signatures
        if (entry.name, entry.key_id) in known
    ]
    if not found:
        raise SignerUnknown("note has no signature by a trusted key", found=len(note.signatures))
    return tuple(found)


def parse(data: bytes) -> Note:
    """Return the note that `data` is.

    Raises:
        NoteMalformed: breaks the format or a limit. NoteSignatureRepeated: one key has two lines.
    """
    if len(data) > NOTE_BYTES_MAX:
        raise NoteMalformed(f"note has {len(data)} bytes, at most {NOTE_BYTES_MAX} are read")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteMalformed("note is not UTF-8") from error
    text, separator, below = whole.rpartition("\n\n")
    if not separator or not below.endswith("\n"):
        raise NoteMalformed("note has no signature lines after an empty line")
    text += "\n"
    _require_text(text)
    return Note(text=text, signatures=parse_lines(below))


def parse_lines(text: str) -> tuple[NoteSignature, ...]:
    """Return the signature lines that `text` is, each ended by a line break: what a witness answers.

    Raises:
        NoteMalformed, NoteSignatureRepeated: as `parse`.
    """
    *lines, rest = text.split("\n")
    if rest or not lines or len(lines) > SIGNATURES_MAX:
        raise NoteMalformed(f"{len(lines)} whole signature lines, from 1 to {SIGNATURES_MAX} are read")
    found = tuple(_parse_line(line, number) for number, line in enumerate(lines, 1))
    if len({(entry.name, entry.key_id) for entry in found}) != len(found):
        raise NoteSignatureRepeated("there are two signatures by one key")
    return found


def split(data: bytes) -> tuple[bytes, ...]:
    """Return the notes of a file of several, each followed by an empty line; what is no note is left out."""
    blocks = data.split(b"\n\n")
    signed = LINE_START.encode()
    return tuple(
        text + b"\n\n" + lines.removesuffix(b"\n") + b"\n"
        for text, lines in pairwise(blocks)
        if lines.startswith(signed) and not text.startswith(signed)
    )


def join(notes: Iterable[bytes]) -> bytes:
    """Return `notes` as `split` reads them."""
    return b"".join(note + b"\n" for note in notes)


def _verify_line(text: str, entry: NoteSignature, key: NoteKey) -> Verified:
    if key.type is SignatureType.ED25519:
        publickey.verify_bare(key.public, text.encode(), entry.signature)
        return Verified(key=key, at_seconds=None)
    at_seconds = int.from_bytes(entry.signature[:_TIMESTAMP_BYTES], "big")
    publickey.verify_bare(key.public, _cosigned(text, at_seconds), entry.signature[_TIMESTAMP_BYTES:])
    return Verified(key=key, at_seconds=at_seconds)


def _cosigned(text: str, at_seconds: int) -> bytes:
    if not 0 <= at_seconds <= _TIMESTAMP_MAX:
        raise SignatureMalformed(f"time `{at_seconds}` of a cosignature is out of range")
    return f"cosignature/v1\ntime {at_seconds}\n{text}".encode()


def _parse_line(line: str, number: int) -> NoteSignature:
    name, _, encoded = line.removeprefix(LINE_START).partition(" ")
    try:
        data = decode_base64(encoded)
    except ValueError:
        data = b""
    if not line.startswith(LINE_START) or len(data) <= KEY_ID_BYTES:
        raise NoteMalformed(f"signature line {number} is not like `{LINE_START}name base64`", line=number)
    require_name(name)
    return NoteSignature(name=name, key_id=data[:KEY_ID_BYTES], signature=data[KEY_ID_BYTES:])


def _require_text(text: str) -> None:
    if not text.endswith("\n") or text == "\n" or _CONTROL.search(text):
        raise NoteMalformed("text of a note is empty, has no final line break, or holds control characters")


def require_name(name: str) -> None:
    """Return only if a key may sign notes under `name`.

    Raises:
        NoteMalformed: it is empty, too long, or holds a space, `+` or controls.
    """
    bad = "+" in name or _CONTROL.search(name) or any(letter.isspace() for letter in name)
    if bad or not 0 < len(name) <= NAME_LENGTH_MAX:
        raise NoteMalformed(f"key name `{name[:64]!a}` is empty, too long, or holds a space, `+` or controls")
