"""The spawner: one small process per runner that starts and ends everything for it.

It is a fork server: a runner may be large and threaded, and a fork of it slow and
dangerous; the spawner is neither. Each call is handed to a keeper, which serves again
afterwards. When the runner's socket closes, however the runner ended, the spawner ends
every tree and itself.
"""

from __future__ import annotations

import gc
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress
from typing import Final

from rexecop.lanes import cgroup, handover, kernel, proctree
from rexecop.lanes.keeper import serve

IDLE_MAX: Final = 16  # Keepers that wait for the next call; their few megabytes each are mostly shared.
READY: Final = b"r"


def main(number: int) -> None:
    """Serve the runner at socket `number` until it closes its end; leave no process behind."""
    server = socket.socket(fileno=number)
    os.umask(0o022)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core file would hold secrets.
    kernel.become_subreaper()
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        # The runner decides when its calls end; a Ctrl-C for it must not cost the evidence.
        signal.signal(ignored, signal.SIG_IGN)
    wake, wake_write = os.pipe()
    for end in (wake, wake_write):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    # Nothing made so far is ever garbage; a collection would only copy pages in every keeper.
    gc.disable()
    gc.freeze()
    server.send(READY)
    try:
        _Spawner(server, wake).run()
    finally:
        proctree.kill_below(os.getpid(), {})
        with suppress(OSError):
            cgroup.remove_left()
        os._exit(0)


class _Spawner:
    """Keepers by process id and by the link to each."""

    def __init__(self, server: socket.socket, wake: int) -> None:
        self._server = server
        self._wake = wake
        self._links: dict[int, socket.socket] = {}
        self._pids: dict[int, int] = {}
        self._kinds: dict[int, bytes] = {}
        self._idle: list[int] = []
        self._poll = select.poll()
        self._poll.register(server, select.POLLIN)
        self._poll.register(wake, select.POLLIN)

    def run(self) -> None:
        """Hand calls over until the runner is gone."""
        while True:
            for opened, _ in self._poll.poll():
                if opened == self._wake:
                    handover.drain(self._wake)
                    self._bury()
                elif opened == self._server.fileno():
                    if (received := handover.receive(self._server)) is None:
                        return
                    self._hand_over(*received)
                elif opened in self._links:
                    self._heard(opened)

    def _hand_over(self, kind: bytes, call: list[int]) -> None:
        while True:
            number = next((idle for idle in reversed(self._idle) if self._kinds[idle] == kind), None)
            if number is None:
                number = self._fork_keeper(kind, call)
            else:
                self._idle.remove(number)
            try:
                handover.send(self._links[number], kind, call)
                break
            except OSError:
                self._forget(number)
        for opened in call:
            os.close(opened)

    def _fork_keeper(self, kind: bytes, call: list[int]) -> int:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            # A keeper holds nothing of the spawner, the runner or other calls: closing must be seen.
            for other in (self._server, ours, *self._links.values()):
                other.close()
            for opened in call:
                os.close(opened)
            serve(theirs, confined=kind == handover.CONFINED)
        theirs.close()
        # Numbers are used again: word of a closed link may be looked for on the one that has its number.
        ours.setblocking(False)
        number = ours.fileno()
        self._links[number] = ours
        self._pids[number] = pid
        self._kinds[number] = kind
        self._poll.register(ours, select.POLLIN)
        return number

    def _heard(self, number: int) -> None:
        """A keeper is idle again, or gone."""
        try:
            word = self._links[number].recv(16)
        except BlockingIOError:
            return
        except ConnectionError:
            word = b""
        if word and len(self._idle) < IDLE_MAX:
            self._idle.append(number)
        else:
            self._forget(number)

    def _forget(self, number: int) -> None:
        """Close the link; an idle keeper ends then, and one in the middle of a call after it."""
        self._poll.unregister(number)
        self._links.pop(number).close()
        self._kinds.pop(number)
        if number in self._idle:
            self._idle.remove(number)

    def _bury(self) -> None:
        """Reap what ended. A keeper that was killed leaves its tree to us, and that tree ends now."""
        ended = proctree.reap()
        self._pids = {number: pid for number, pid in self._pids.items() if pid not in ended}
        keepers = set(self._pids.values())
        for pid in proctree.children(os.getpid()):
            if pid not in keepers:
                proctree.signal_all([*proctree.descendants(pid), pid], signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
