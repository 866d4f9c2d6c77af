"""The folder of a script that may write: its own, empty at first, and gone with its call.

What lies in it counts as put out: as many bytes as the call may put out, in so many files.
What is to be kept, the script writes to its output.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from typing import Final

from rexecop.lanes.output import raw_limit
from rexecop.lanes.sandbox import account
from rexecop.proof.call import Limits
from rexecop.proof.canonical import Json

ARTIFACTS_MAX: Final = 1_000  # Files and folders; each costs the disk, and us a look.
LOOK_SECONDS: Final = 0.2  # Between two looks while the script runs.


class PrivateFolder:
    """A new folder for `user` (None: who runs this), held to `limits`."""

    def __init__(self, user: str | None, limits: Limits) -> None:
        """Make it.

        Raises:
            RequestRefused: there is no such user, or we may not run as them. OSError: it cannot be made.
        """
        uid, gid, _ = account(user)
        self.path: Final = os.path.realpath(tempfile.mkdtemp(prefix="rexecop-script-"))
        os.chown(self.path, uid, gid)  # Negative ones change nothing.
        self._bytes_max = raw_limit(limits)
        self._count = self._bytes = 0
        self._looked = time.monotonic()

    @property
    def facts(self) -> dict[str, Json]:
        """What lay there at the last look."""
        return {"artifacts": self._count, "artifact_bytes": self._bytes}

    def is_over_now(self) -> bool:
        """As `is_over`, False where the last look was just now."""
        return time.monotonic() - self._looked >= LOOK_SECONDS and self.is_over()

    def is_over(self) -> bool:
        """Look, and return whether more lies there than may; what cannot be looked at is more."""
        self._looked = time.monotonic()
        self._count = self._bytes = 0
        folders = [self.path]
        try:
            while folders:
                with os.scandir(folders.pop()) as entries:
                    for entry in entries:
                        self._count += 1
                        self._bytes += entry.stat(follow_symlinks=False).st_size
                        if self._count > ARTIFACTS_MAX or self._bytes > self._bytes_max:
                            return True
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
        except FileNotFoundError:
            return False  # It works on; the look after its end misses nothing.
        except OSError:
            return True
        return False

    def close(self) -> None:
        """Remove it; of one nested beyond all reason a rest may stay."""
        with suppress(OSError, RecursionError):
            shutil.rmtree(self.path)
