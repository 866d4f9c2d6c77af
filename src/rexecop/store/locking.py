"""Does the disk keep processes apart? A ledger in a file is only safe where locks and shared memory are."""

from __future__ import annotations

import fcntl
import os
import struct
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from rexecop.store.errors import StoreLocks

MOUNTS: Final = Path("/proc/self/mountinfo")
# Several machines may have these mounted, and what one of them maps into memory the others do not see.
SHARED: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "beegfs", "gfs2", "ocfs2", "gpfs"}
    | {"fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone"}
)
_WHOLE: Final = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)  # struct flock of `fcntl(2)`.


def require_locks(folder: Path) -> None:
    """Return only if the file system of `folder` keeps two handles from locking the same bytes.

    Where no file can be made it is not tried: nothing will be written there either.

    Raises:
        StoreLocks: it does not, or several machines may share it.
    """
    kind = _kind_of(folder)
    if kind in SHARED:
        raise _refusal(folder, f"is on `{kind}`, which several machines may share")
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as one:
        other = os.open(f"/proc/self/fd/{one.fileno()}", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not _lock(one.fileno()):
                raise _refusal(folder, "is on a file system that takes no locks")
            if _lock(other):
                raise _refusal(folder, "is on a file system where two locks on one file hold at once")
        finally:
            os.close(other)


def _lock(descriptor: int) -> bool:
    """Return whether the handle got a lock of its own on the whole file."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _WHOLE)
    except OSError:
        return False
    return True


def _kind_of(folder: Path) -> str:
    """Return the type of the file system that `folder` is on, empty where the system does not say."""
    device = os.stat(folder).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError, UnicodeDecodeError):
        for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            fields, _, rest = line.partition(" - ")
            if fields.split(" ")[2] == number:
                return rest.split(" ")[0]
    return ""


def _refusal(folder: Path, words: str) -> StoreLocks:
    return StoreLocks(
        f"`{folder}` {words}; a ledger in a file needs a local disk",
        path=str(folder),
        next_steps=("rexecop init --root DIR", "rexecop init --storage postgresql://USER@HOST/DATABASE"),
    )
