"""The runner's side of the spawner: start it once, hand it calls, talk to their keepers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

import rexecop
from rexecop.lanes import handover, wire
from rexecop.lanes.errors import SpawnerLost

START_SECONDS_MAX: Final = 10.0  # Takes 30 ms; a machine that needs longer cannot run calls either.
STOP_SECONDS_MAX: Final = 5.0
_RECEIVE_BYTES: Final = 1 << 16
# The folder of our package comes last on the path, so nothing in it can stand for the standard library.
_START: Final = (
    "import sys; sys.path.append(sys.argv[2]); from rexecop.lanes.spawner import main; main(int(sys.argv[1]))"
)


class Spawner:
    """One spawner process, started at the first call and again if it was lost."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    @property
    def pid(self) -> int | None:
        """The spawner's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the spawner unless it runs; it is ready when this returns.

        Raises:
            SpawnerLost: it does not start.
        """
        if self.pid is not None:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        package_root = str(Path(rexecop.__file__).resolve().parents[1])
        argv = [sys.executable, "-I", "-S", "-B", "-c", _START, str(theirs.fileno()), package_root]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={"LANG": "C.UTF-8"},
                    cwd="/",
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
            ours.settimeout(START_SECONDS_MAX)
            ready = ours.recv(16)
        except OSError as error:
            ours.close()
            raise SpawnerLost(f"the spawner does not start: {error}") from error
        if not ready:
            ours.close()
            raise SpawnerLost("the spawner ended while it started")
        ours.setblocking(False)
        self._socket = ours

    async def hand_over(self, kind: bytes, stdio: list[int]) -> Keeper:
        """Return a keeper of `kind` that has these descriptors; the caller closes its own copies.

        Raises:
            SpawnerLost: there is no spawner and none can be started.
        """
        self.start()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            for last in (False, True):
                try:
                    await self._send(kind, [theirs.fileno(), *stdio])
                    break
                except ConnectionError as error:
                    self.close()
                    if last:
                        ours.close()
                        raise SpawnerLost("the spawner ended") from error
                    self.start()
        ours.setblocking(False)
        return Keeper(ours)

    async def _send(self, kind: bytes, opened: list[int]) -> None:
        if self._socket is None:
            raise ConnectionError
        while True:
            try:
                handover.send(self._socket, kind, opened)
                return
            except BlockingIOError:
                await _writable(self._socket)

    def close(self) -> None:
        """End the spawner and every tree below it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


async def _writable(waiting: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.add_writer(waiting.fileno(), ready.cancel)
    try:
        await asyncio.wait([ready])
    finally:
        loop.remove_writer(waiting.fileno())


class Keeper:
    """One call's keeper, spoken to in frames. Closing it ends the call and its tree."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self._buffer = bytearray()

    async def send(self, fields: list[bytes]) -> None:
        """Send one frame.

        Raises:
            SpawnerLost: the keeper is gone.
        """
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, wire.pack(fields))
        except OSError as error:
            raise SpawnerLost("the keeper of the call ended") from error

    async def receive(self) -> list[bytes]:
        """Return the next frame.

        Raises:
            SpawnerLost: the keeper ended without one.
        """
        loop = asyncio.get_running_loop()
        while (fields := wire.take_frame(self._buffer)) is None:
            try:
                data = await loop.sock_recv(self._socket, _RECEIVE_BYTES)
            except OSError as error:
                raise SpawnerLost("the keeper of the call ended") from error
            if not data:
                raise SpawnerLost("the keeper of the call ended")
            self._buffer += data
        return fields

    async def end(self, grace_seconds: float) -> None:
        """End the call: when this returns its tree is gone, or grace and `STOP_SECONDS_MAX` are over."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(grace_seconds + STOP_SECONDS_MAX):
                while await asyncio.get_running_loop().sock_recv(self._socket, _RECEIVE_BYTES):
                    pass
        except OSError:
            pass  # Closed already, or too slow to wait for; the keeper goes on killing by itself.
        finally:
            # Somebody may still be waiting in `receive`, to be cancelled in a moment. The loop would take the
            # next socket with this number for the one it watches already, and never hear of it.
            if self._socket.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()


def memory_file(content: bytes, *, sealed: bool = False) -> int:
    """Return a descriptor of an anonymous file holding `content`, at its beginning.

    Nobody can change a `sealed` one any more.
    """
    opened = os.memfd_create("rexecop", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(opened, view) :]
    os.lseek(opened, 0, os.SEEK_SET)
    if sealed:
        import fcntl

        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(opened, fcntl.F_ADD_SEALS, seals)
    return opened
