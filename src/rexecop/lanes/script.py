"""Pinned scripts: a text whose digest the plan holds, run by an interpreter whose file it pinned too.

Script and argument files reach the program as sealed memory: no path on disk stands for
them, nobody can change them between check and start, and nothing is left behind.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.spawning import memory_file
from rexecop.lanes.wire import GIVEN_FD
from rexecop.proof.call import ProcessRequest, Script
from rexecop.proof.canonical import Digest, digest_of

INTERPRETER_BYTES_MAX: Final = 256 * 1024 * 1024  # Interpreters that carry their library take some 100 MB.
_SEEN_MAX: Final = 64

_seen: dict[tuple[str, int, int, int, int, int], Digest] = {}


def file_digest(path: str) -> Digest:
    """Return the digest of the file at `path`; read again only when the file system says it changed.

    Raises:
        OSError: it cannot be read, or is larger than `INTERPRETER_BYTES_MAX`.
    """
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        # The time of the last change of an inode cannot be set, unlike that of its content.
        key = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if key not in _seen:
            if found.st_size > INTERPRETER_BYTES_MAX:
                raise OSError(f"`{path:.200}` takes more than {INTERPRETER_BYTES_MAX} bytes")
            if len(_seen) >= _SEEN_MAX:
                _seen.clear()
            _seen[key] = digest_of(file.read())
    return _seen[key]


def check_script(request: ProcessRequest, script: Script) -> None:
    """Return only if the script and its interpreter are what the plan pinned.

    Raises:
        RequestRefused: with `drifted`, `not_found` or `request_invalid`; nothing happened.
    """
    if digest_of(script.text.encode()) != script.digest:
        raise RequestRefused(Failure.REQUEST_INVALID, f"the script is not the one with `{script.digest}`")
    interpreter = str(request.argv[0])
    try:
        found = file_digest(interpreter)
    except OSError as error:
        what = f"interpreter `{interpreter:.200}` cannot be read: {error.strerror or error}"
        raise RequestRefused(Failure.NOT_FOUND, what) from error
    if found != script.interpreter:
        what = f"interpreter `{interpreter:.200}` is `{found}`, planned was `{script.interpreter}`"
        raise RequestRefused(Failure.DRIFTED, what)


def script_argv(script: Script, argv: Sequence[bytes]) -> list[bytes]:
    """Return `argv` with the script behind its interpreter and the argument files at the end."""
    first, *files = (b"/dev/fd/%d" % (GIVEN_FD + n) for n in range(1 + len(script.files or {})))
    return [argv[0], first, *argv[1:], *files]


def script_files(script: Script) -> list[int]:
    """Return descriptors of the script and of its argument files in the order of their names."""
    texts = [script.text, *(text for _, text in sorted((script.files or {}).items()))]
    return [memory_file(text.encode(), sealed=True) for text in texts]
