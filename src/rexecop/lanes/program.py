"""A program of the operator's own: run once, fed once, bounded in time and output.

This is no lane. Such a program touches no target and carries no permit; it takes
checkpoints out of the house.
"""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from subprocess import PIPE, CompletedProcess, Popen, TimeoutExpired
from typing import Final, TypeAlias

from rexecop.lanes.errors import ProgramFailed
from rexecop.lanes.spawning import memory_file

PASSED_ON: Final = ("HOME", "LANG", "LOGNAME", "PATH", "SSH_AUTH_SOCK", "USER")  # What `ssh` and `git` need.
SECONDS_MAX: Final = 30.0  # A host that takes longer is asked again the next time.
OUTPUT_BYTES_MAX: Final = 256 * 1024  # More than any witness has to say.
_READ_BYTES: Final = 1 << 16

Ran: TypeAlias = CompletedProcess[bytes]
"""How a program ended and what it put out."""


def run(
    argv: Sequence[str],
    *,
    stdin: bytes,
    environ: Mapping[str, str],
    seconds: float = SECONDS_MAX,
    output_bytes: int = OUTPUT_BYTES_MAX,
    passed_on: Collection[str] = PASSED_ON,
) -> Ran:
    """Run `argv`, without a shell and with no more of `environ` than `passed_on`, to its end.

    What it leaves running in the background must not hold its output open.

    Raises:
        ProgramFailed: it does not start, does not end in `seconds`, or puts out more than `output_bytes`.
    """
    given, until = memory_file(stdin), time.monotonic() + seconds
    env = {name: environ[name] for name in passed_on if name in environ}
    try:
        process = Popen(argv, stdin=given, stdout=PIPE, stderr=PIPE, env=env, start_new_session=True)
    except OSError as error:
        raise ProgramFailed(f"`{argv[0]}` does not start: {error.strerror or error}") from error
    finally:
        os.close(given)
    with process:
        try:
            stdout, stderr = _output(process, until, output_bytes)
            code = process.wait(max(0.0, until - time.monotonic()))
        except (OverflowError, TimeoutExpired) as error:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            late = isinstance(error, TimeoutExpired)
            words = f"did not end in {seconds:g} s" if late else f"put out more than {output_bytes} bytes"
            raise ProgramFailed(f"`{argv[0]}` {words}") from error
    return CompletedProcess(argv, code, stdout, stderr)


def _output(process: Popen[bytes], until: float, output_bytes: int) -> Sequence[bytes]:
    """Return what comes out of stdout and stderr; raises OverflowError or TimeoutExpired."""
    kept = {pipe.fileno(): bytearray() for pipe in (process.stdout, process.stderr) if pipe is not None}
    with selectors.DefaultSelector() as ready:
        for opened in kept:
            ready.register(opened, selectors.EVENT_READ)
        while ready.get_map():
            found = ready.select(max(0.0, until - time.monotonic()))
            if not found:
                raise TimeoutExpired(process.args, 0)
            for key, _ in found:
                data = os.read(key.fd, _READ_BYTES)
                kept[key.fd] += data
                if not data:
                    ready.unregister(key.fd)
                if len(kept[key.fd]) > output_bytes:
                    raise OverflowError
    return [bytes(data) for data in kept.values()]
