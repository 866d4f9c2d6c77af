"""C2SP checkpoints: the size and root of a log at one moment, as a signed note."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rexecop.proof import note
from rexecop.proof.base64text import decode_base64, encode_base64
from rexecop.proof.errors import (
    CheckpointForeign,
    CheckpointMalformed,
    CheckpointUnsigned,
    LogForked,
    LogRewound,
    LogTruncated,
    SignerUnknown,
)
from rexecop.proof.merkle import HASH_BYTES, LEAVES_MAX
from rexecop.proof.note import Note, NoteKey, SignatureType, Verified
from rexecop.proof.signer import Signer

EXTENSIONS_MAX: Final = 16  # We write none; other logs write a few.

LogKeys: TypeAlias = Callable[[str], Sequence[NoteKey]]
"""Returns the keys that may sign for the log of an origin; none for a log that is not known."""

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

    @property
    def log(self) -> str:
        """What the origin says without the epoch: two epochs of one log may be compared."""
        return self.origin.rpartition("/")[0]

    def text(self) -> str:
        """Return the text of the checkpoint's note."""
        lines = (self.origin, str(self.size), encode_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """A checkpoint by its log, the key that signed it, and the witnesses (of those asked for) that saw it."""

    note: Note
    checkpoint: Checkpoint
    signer: NoteKey
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


def verify(data: bytes, log_keys: LogKeys, witnesses: Sequence[NoteKey] = ()) -> Witnessed:
    """Return the checkpoint in the note `data`, which its log signed with one of `log_keys`.

    Raises:
        NoteMalformed, CheckpointMalformed: `data` is not a checkpoint.
        CheckpointForeign: it is of a log that is not known. CheckpointUnsigned: no key of its log signed it.
        SignatureWrong, SignatureMalformed: a line by one of the keys does not verify.
    """
    found = note.parse(data)
    checkpoint = parse(found.text)
    known = log_keys(checkpoint.origin)
    if not known:
        raise CheckpointForeign(f"no key is trusted for the log {checkpoint.origin[:64]!a}")
    try:
        verified = note.verify(found, (*known, *witnesses))
        signer = next(entry.key for entry in verified if entry.key in known)
    except (SignerUnknown, StopIteration) as error:
        raise CheckpointUnsigned("checkpoint is not signed by a key that is trusted for its log") from error
    seen = tuple(entry for entry in verified if entry.key.type is SignatureType.COSIGNATURE)
    return Witnessed(note=found, checkpoint=checkpoint, signer=signer, witnesses=seen)


def require_continued(held: Checkpoint, size: int, root_at: Callable[[int], bytes]) -> None:
    """Return only if the log of `size` leaves, with `root_at` its root at each size, continues `held`.

    Raises:
        LogTruncated: it is shorter. LogForked: it is of the same size, with another root.
        LogRewound: it is longer, and does not begin with the leaves that `held` is over.
    """
    if held.size > size:
        raise LogTruncated(f"a checkpoint covers {held.size} records, the log holds {size}", size=size)
    if held.root != root_at(held.size):
        if held.size == size:
            raise LogForked(f"there are two logs of {size} records with different roots", size=size)
        raise LogRewound(
            f"the log of {size} records does not continue the checkpoint of {held.size}", size=held.size
        )


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
