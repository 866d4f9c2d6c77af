"""The quota of a whole root: calls are counted across all processes that work on it.

Each kind and name has a file, and each call under way holds a lock on one byte of it. The
kernel gives the lock back with the process, however that ended, so nothing is ever counted twice
or for nothing. It goes by open file, because locks by process would let one process in twice.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.targets import Quota
from rexecop.proof.canonical import digest_of

_FLOCK: Final = struct.Struct("hhqqi4x")  # Type, whence, start, length, process (`fcntl(2)`, struct flock).


class RootQuota(Quota):
    """Counts the calls under way in all processes of one root, whose locks lie in `folder`."""

    def __init__(self, folder: Path, **most: int) -> None:
        super().__init__(**most)
        self._folder = folder

    @contextmanager
    def taking(self, lane: str, target: str) -> Iterator[None]:
        """As `Quota.taking`; calls that cannot be counted are refused too, with `lane_unavailable`."""
        with super().taking(lane, target), ExitStack() as held:
            for kind, name in (("lane", lane), ("target", target)):
                try:
                    opened = self._open(kind, name)
                    held.callback(os.close, opened)
                    full = not any(_lock(opened, slot) for slot in range(self.most[kind]))
                except OSError as error:
                    words = f"not countable: {error.strerror}"
                    raise RequestRefused(Failure.LANE_UNAVAILABLE, words) from error
                if full:
                    raise self.full(kind, name)
            yield

    def _open(self, kind: str, name: str) -> int:
        path = f"{self._folder}/{kind}-{digest_of(name.encode())[-32:]}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return os.open(path, flags, 0o600)


def _lock(opened: int, slot: int) -> bool:
    """Return whether byte `slot` of `opened` could be locked; nobody is waited for."""
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, slot, 1, 0))
    except (BlockingIOError, PermissionError):
        return False
    return True
