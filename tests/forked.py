"""Processes of Python that have everything loaded when they start, as forks of a server of this session.

A process of its own is what a test of signals, restarts and locks is about; that it loads the product anew,
which takes a second, is not. The server has no threads and holds nothing but modules.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, TextIO

WAIT_SECONDS: Final = 60.0
LOADED: Final = (
    "rexecop.cli.main",
    "rexecop.app.build",
    "rexecop.app.planner",
    "rexecop.app.cutting",
    "rexecop.service.server",
    "aiohttp",
)
_SERVER: Final = get_context("forkserver")
_SERVER.set_forkserver_preload(list(LOADED))


class Forked:
    """A process that runs `main` with `words` and ends with what that returns; `stderr` is what it says."""

    def __init__(self, main: Callable[..., int | None], *words: object, **variables: str) -> None:
        ours, its = _SERVER.Pipe(duplex=False)
        environ = {**os.environ, **variables}
        self._process = _SERVER.Process(target=_begin, args=(main, words, its, os.getcwd(), environ))
        self._process.start()
        its.close()
        with ours:
            self.stderr: TextIO = os.fdopen(os.dup(ours.fileno()), encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Return how the process ended: its exit code, or the negative number of a signal."""
        self._process.join(seconds)
        assert self._process.exitcode is not None, f"still there after {seconds} s"
        return self._process.exitcode

    def ended(self) -> tuple[int, str]:
        """Return how the process ended, and everything it said."""
        with self.stderr:
            said = self.stderr.read()
        return self.wait(), said

    def close(self) -> None:
        """End the process, if it has not ended."""
        self.kill()
        self.wait()
        self.stderr.close()


def _begin(
    main: Callable[..., int | None],
    words: tuple[object, ...],
    stderr: Connection,
    folder: str,
    environ: Mapping[str, str],
) -> None:
    """Become what a new process is that was started in `folder` with these variables."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environ)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)
    code = main(*words)
    sys.stdout.flush()
    sys.stderr.flush()
    # What is left of the server's own is not this process's to put away.
    os._exit(code or 0)


def rexecop(words: tuple[str, ...]) -> int:
    """What the command `rexecop` does with `words`."""
    from rexecop.cli.main import run

    return run(words)
