"""Whether the kernel can execute a file: needed where a wrapper would hand what it cannot to a shell.

Bubblewrap starts programs through `execvp(3)`, which takes any other file for a shell
script. So what is neither a native ELF program nor a script whose interpreter is one does
not get that far.
"""

from __future__ import annotations

import os
import struct
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure

SCRIPTS_DEEP_MAX: Final = 4  # As deep as the kernel follows scripts that interpret scripts.
HEAD_BYTES: Final = 256  # What the kernel reads of a file to tell what it is.
_MACHINES: Final = {"x86_64": 62, "aarch64": 183}
_PROGRAM_TYPES: Final = (2, 3)  # ET_EXEC, ET_DYN
_PROGRAM_HEADER: Final = 56
_ELF: Final = struct.Struct("<16sHHIQQQIHHH")  # The head of a 64-bit file, to the number of program headers.


def check_format(path: str) -> None:
    """Return only if the kernel executes the file at `path` itself.

    Raises:
        RequestRefused: with `not_executable`, `interpreter_missing` or `permission_denied`.
    """
    for depth in range(SCRIPTS_DEEP_MAX + 1):
        head, size = _head(path, first=depth == 0)
        if head.startswith(b"\x7fELF") and _is_native(head, size):
            return
        named = head[2:].partition(b"\n")[0].split(maxsplit=1)
        if not head.startswith(b"#!") or not named:
            break
        path = os.fsdecode(named[0])
    raise RequestRefused(Failure.NOT_EXECUTABLE, f"`{path:.200}` is no program that this system can execute")


def _head(path: str, *, first: bool) -> tuple[bytes, int]:
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(opened, HEAD_BYTES), os.fstat(opened).st_size
        finally:
            os.close(opened)
    except FileNotFoundError:
        if first:
            raise RequestRefused(Failure.NOT_FOUND, f"program `{path:.200}` does not exist") from None
        raise RequestRefused(Failure.INTERPRETER_MISSING, f"there is no interpreter `{path:.200}`") from None
    except OSError as error:
        what = f"`{path:.200}` cannot be read: {error.strerror}"
        raise RequestRefused(Failure.PERMISSION_DENIED, what) from error


def _is_native(head: bytes, size: int) -> bool:
    if len(head) < _ELF.size:
        return False
    _, kind, machine, _, _, headers, _, _, _, header, count = _ELF.unpack_from(head)
    ours = (head[4], machine) == (2, _MACHINES.get(os.uname().machine))
    whole = header == _PROGRAM_HEADER and count > 0 and headers + header * count <= size
    return ours and kind in _PROGRAM_TYPES and whole
