"""Is this root the one that was last written? What a copy or a restored file gives itself away by.

The ledger keeps the mark of the machine and file it was last written in; beside it lies
the newest checkpoint signed, which an older ledger put in its place does not reach.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final

from rexecop.app.files import read_file
from rexecop.app.root import Root
from rexecop.engines.runner import boot_id
from rexecop.operations.errors import StoreError
from rexecop.proof import checkpoint as checkpoints
from rexecop.proof import note as notes
from rexecop.proof.canonical import digest_of
from rexecop.proof.checkpoint import epoch_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.note import NOTE_BYTES_MAX
from rexecop.store.log import checkpoint_in
from rexecop.store.reading import Reading

MARK_BYTES_MAX: Final = 1024  # Three short values.
MACHINE_ID: Final = Path("/etc/machine-id")
_ID: Final = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a ledger was last written: machine (a digest, empty if unknown), its boot, the file's inode."""

    kind: ClassVar[str] = "root-mark/1"

    machine: str
    boot: str
    inode: int

    def text(self) -> str:
        """Return the mark as the ledger keeps it."""
        return encode(self).decode()


def mark_of(root: Root, instance: str) -> Mark:
    """Return the mark of a root as it is here and now.

    The machine's id is hashed with the instance's, so that it leaves the machine nowhere.
    """
    try:
        found = read_file(MACHINE_ID, bytes_max=MARK_BYTES_MAX).strip()
    except RexecopError:
        found = b""
    known = _ID.fullmatch(found) is not None  # Before the first boot is over it says another word.
    machine = digest_of(b"root-mark/1\n" + instance.encode() + b"\n" + found) if known else ""
    return Mark(machine=machine, boot=boot_id(), inode=root.anchor.stat().st_ino)


def doubt(root: Root, ledger: Reading, here: Mark) -> str | None:
    """Return why the ledger of `root` may not be the one that was last written, None without doubt."""
    kept = ledger.identity
    if kept is not None:
        try:
            before = decode(Mark, kept.encode(), bytes_max=MARK_BYTES_MAX)
        except ProofError:
            return "the ledger's mark of where it was written cannot be read"
        if before.inode != here.inode:
            if root.place.exists():
                return "the ledger was last written from another root: this one was copied or restored"
            return "the ledger is another file than the one last written: it was copied or restored"
        # One boot is one machine, whatever a container says its id is.
        known = before.machine and here.machine and before.boot != here.boot
        # A ledger on a server does not move with the root; several machines may share the root's folder.
        if known and not root.place.exists() and before.machine != here.machine:
            return "the ledger was last written on another machine"
    return _rewound(root, ledger)


def _rewound(root: Root, ledger: Reading) -> str | None:
    """Return why the ledger is older than the checkpoint kept beside it, None if it is not."""
    try:
        note = read_file(root.newest_checkpoint, bytes_max=NOTE_BYTES_MAX)
        held = checkpoints.parse(notes.parse(note).text)
    except RexecopError:
        return None  # None was kept, or it was torn: it says nothing.
    epoch, now = epoch_of(held.origin, ledger.instance_id), ledger.epoch
    if epoch is None:
        return f"the ledger is of another instance than `{held.origin}`, which this root last signed for"
    if epoch < now:
        return None  # The ledger went on knowingly.
    if epoch > now or held.size > ledger.size():
        return f"the ledger has {ledger.size()} records, and this root signed for {held.size}: it was rewound"
    kept = ledger.kept_checkpoint(held.size)
    try:
        # Its own checkpoint tells another ledger from one whose tree is damaged, which is another matter.
        same = kept is not None and kept.size == held.size
        found = checkpoint_in(held.size, kept.note).root if kept and same else ledger.root(held.size)
    except (ProofError, StoreError):
        return None
    return None if found == held.root else "the ledger is another one than this root last signed for"


class Remembering:
    """Signs checkpoints as `sign` does, and keeps the newest beside the ledger.

    What it covers was flushed before, so a ledger that does not reach it was put in its place.
    """

    def __init__(self, sign: Callable[[int, bytes], bytes], path: Path) -> None:
        self._sign = sign
        self._path = path

    def __call__(self, size: int, root: bytes) -> bytes:
        """Return the signed note of a checkpoint."""
        note = self._sign(size, root)
        part = self._path.with_name(self._path.name + ".part")
        with suppress(OSError):  # Not kept, it sees less; nothing else depends on it.
            part.touch(mode=0o600)
            part.write_bytes(note)
            part.replace(self._path)
        return note
