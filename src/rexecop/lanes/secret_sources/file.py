"""Secrets in files that only their owner can read: one value, or YAML with several under `secrets`.

A file is opened once, through no symlink, and what was opened is what is judged and read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.execution.errors import YamlRefused
from rexecop.execution.strict_yaml import load_yaml
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.secrets import VALUE_BYTES_MAX, Held

YAML_BYTES_MAX: Final = 1 << 20  # A few thousand secrets; more are a vault.
PRIVATE: Final = 0o077  # What nobody but the owner may do.


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSecret:
    """The content of a file, without the end of its last line."""

    path: str

    @property
    def where(self) -> str:
        """The file."""
        return f"file `{self.path}`"

    async def read(self) -> Held:
        """Return its content; see `secrets.Source.read`."""
        return Held(fields={"": one_line_less(read_private(self.path, VALUE_BYTES_MAX))})

    async def doubt(self) -> str | None:
        """Return why it cannot be read."""
        return doubt_of(lambda: os.close(open_private(self.path)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSecrets(FileSecret):
    """The texts under `secrets` in a YAML file, by name."""

    async def read(self) -> Held:
        """Return its texts; see `secrets.Source.read`."""
        data = read_private(self.path, YAML_BYTES_MAX)
        try:
            top = load_yaml(data, source=os.path.basename(self.path)).value
        except YamlRefused as error:
            # Which line is said; the words of the parser may quote a value.
            words = f"{self.where} is not strict YAML at line {error.facts.get('line', '?')}"
            raise RequestRefused(Failure.SECRET_UNREADABLE, words) from None
        found = top.get("secrets") if isinstance(top, Mapping) else None
        if not isinstance(found, Mapping):
            raise RequestRefused(Failure.SECRET_UNREADABLE, f"{self.where} has no mapping `secrets`")
        return Held(fields={name: text.encode() for name, text in found.items() if isinstance(text, str)})


def doubt_of(look: Callable[[], object]) -> str | None:
    """Return why `look` was refused, None if it was not."""
    try:
        look()
    except RequestRefused as refused:
        return refused.message
    return None


def read_private(path: str, bytes_max: int, *, owners: Collection[int] = (), others: int = PRIVATE) -> bytes:
    """Return the bytes of a file that only its owner can read, of at most `bytes_max`.

    Raises:
        RequestRefused: as `open_private`; it is longer, or cannot be read.
    """
    with os.fdopen(open_private(path, owners=owners, others=others), "rb") as file:
        try:
            data = file.read(bytes_max + 1)
        except OSError as error:
            raise _unreadable(path, error) from None
    if len(data) > bytes_max:
        raise RequestRefused(Failure.SECRET_UNREADABLE, f"file `{path}` holds more than {bytes_max} bytes")
    return data


def open_private(path: str, *, owners: Collection[int] = (), others: int = PRIVATE) -> int:
    """Return an open file of the caller's (or of `owners`) with none of the mode bits `others`.

    Raises:
        RequestRefused: it is not there, is no regular file, or others could read or change it.
    """
    try:
        # Without O_NONBLOCK a FIFO would hold the call for ever.
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise RequestRefused(Failure.SECRET_MISSING, f"no file `{path}`") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    status = os.fstat(opened)
    wrong = None
    if not stat.S_ISREG(status.st_mode):
        wrong = "is not a regular file"
    elif status.st_uid not in {os.geteuid(), *owners}:
        wrong = f"belongs to uid {status.st_uid}, not to the caller"
    elif status.st_mode & others:
        wrong = f"has mode {stat.S_IMODE(status.st_mode):04o}: others could read or change it; `chmod 600`"
    if wrong is not None:
        os.close(opened)
        raise RequestRefused(Failure.SECRET_PERMISSIONS, f"file `{path}` {wrong}")
    return opened


def _unreadable(path: str, error: OSError | ValueError) -> RequestRefused:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return RequestRefused(Failure.SECRET_PERMISSIONS, f"file `{path}` is a symlink")
    reason = (error.strerror or "unreadable").lower() if isinstance(error, OSError) else "no valid path"
    return RequestRefused(Failure.SECRET_UNREADABLE, f"file `{path}` cannot be read: {reason}")


def one_line_less(data: bytes) -> bytes:
    """Return `data` without one end of line at its end, which editors and `echo` put there."""
    return data.removesuffix(b"\n").removesuffix(b"\r")
