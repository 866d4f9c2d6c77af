"""C2SP checkpoints: the size and root of a log at one moment, as a signed note."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rexecop.proof import note
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.errors import CheckpointMalformed, SignerUnknown
from rexecop.proof.merkle import HASH_BYTES, LEAVES_MAX
from rexecop.proof.note import Note, NoteKey, SignatureType, Verified
from rexecop.proof.signer import Signer

EXTENSIONS_MAX: Final = 16  # We write none; other logs write a few.

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """That the log `origin` had `size` leaves under `root`.

    `extensions` are lines other logs may add; they say nothing to us.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the text of the checkpoint's note."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """A checkpoint by its log, and the witnesses (of those asked for) that saw it."""

    checkpoint: Checkpoint
    witnesses: tuple[Verified, ...]


def sign(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return `checkpoint` as a note signed by the log's key, under the origin as name.

    Raises:
        CheckpointMalformed, NoteMalformed: the values cannot stand in a checkpoint.
    """
    text = checkpoint.text()
    if parse(text) != checkpoint:
        raise CheckpointMalformed("checkpoint would be read as another one")
    return Note(text=text, signatures=(note.sign(text, checkpoint.origin, signer),)).encode()


def verify(data: bytes, origin: str, log_key: NoteKey, witnesses: Sequence[NoteKey]) -> Witnessed:
    """Return the checkpoint in the note `data`, which the log `origin` signed with `log_key`.

    Raises:
        NoteMalformed, CheckpointMalformed: `data` is not a checkpoint.
        SignerUnknown: it is of another log, or `log_key` did not sign it.
        SignatureWrong, SignatureMalformed: a line by one of the keys does not verify.
    """
    found = note.parse(data)
    checkpoint = parse(found.text)
    if checkpoint.origin != origin:
        raise SignerUnknown(f"checkpoint is of `{checkpoint.origin[:64]!a}`, not of `{origin}`")
    verified = note.verify(found, (log_key, *witnesses))
    if all(entry.key != log_key for entry in verified):
        raise SignerUnknown(f"checkpoint is not signed by the key of its log, `{log_key.name}`")
    seen = tuple(entry for entry in verified if entry.key.type is SignatureType.COSIGNATURE)
    return Witnessed(checkpoint=checkpoint, witnesses=seen)


def parse(text: str) -> Checkpoint:
    """Return the checkpoint that the text of a note is.

    Raises:
        CheckpointMalformed: it has another form.
    """
    lines = text.split("\n")
    if lines[-1] or len(lines) < 4 or not all(lines[:-1]):
        raise CheckpointMalformed("checkpoint is not at least three lines: origin, size, root")
    origin, size, root, *extensions = lines[:-1]
    if not _SIZE.fullmatch(size) or int(size) > LEAVES_MAX:
        raise CheckpointMalformed(f"checkpoint size `{size[:32]!a}` is not a number up to {LEAVES_MAX}")
    if len(extensions) > EXTENSIONS_MAX:
        raise CheckpointMalformed(
            f"checkpoint has {len(extensions)} more lines, not {EXTENSIONS_MAX} at most"
        )
    try:
        root_hash = decode_base64(root)
    except ValueError:
        root_hash = b""
    if len(root_hash) != HASH_BYTES:
        raise CheckpointMalformed(f"checkpoint root is not the base64 of {HASH_BYTES} bytes")
    return Checkpoint(origin=origin, size=int(size), root=root_hash, extensions=tuple(extensions))
