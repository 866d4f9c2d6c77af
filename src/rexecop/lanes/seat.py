"""Where a person sits at the terminal of a program: their keyboard, their screen, and who looks on.

What the screen shows is what is kept: output comes here with secrets already taken out. What
is typed goes to the program alone. Others may look on through a socket that only the same
account can open, and what they send is not read.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

KEYS_BYTES: Final = 4096  # More than anybody types between two looks.
LOOKING_ON_MAX: Final = 16  # Each is sent everything.
BEHIND_BYTES_MAX: Final = 1 << 20  # Who reads slower than this is left behind, not waited for.
_SIZE_BYTES: Final = 8  # `struct winsize`


class Seat:
    """A person's terminal: `keys` and `screen` are its descriptors, `door` is where others look on."""

    def __init__(self, keys: int, screen: int, door: Path) -> None:
        self._keys = keys
        self._screen = screen
        self._door = door
        self._program = -1
        self._server: asyncio.Server | None = None
        self._looking_on: set[asyncio.StreamWriter] = set()

    async def sit(self, program: int) -> None:
        """Join keyboard and screen to `program`, our end of its terminal, which is closed by `leave`.

        Raises:
            OSError: the door cannot be opened.
        """
        self._program = program
        os.set_blocking(program, False)
        self._door.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._let_in, self._door)
        finally:
            os.umask(before)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._keys, self._typed)
        if os.isatty(self._keys):
            self._resized()
            loop.add_signal_handler(signal.SIGWINCH, self._resized)

    def show(self, data: bytes) -> None:
        """Show what the program put out."""
        with suppress(OSError):  # A screen that is gone does not end the session, its program's end does.
            os.write(self._screen, data)
        for writer in tuple(self._looking_on):
            if writer.transport.get_write_buffer_size() > BEHIND_BYTES_MAX:
                self._looking_on.discard(writer)
                writer.transport.abort()
            else:
                writer.write(data)

    def leave(self) -> None:
        """Let go of the program and of everybody who looks on."""
        if self._program < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._keys)
        if os.isatty(self._keys):
            loop.remove_signal_handler(signal.SIGWINCH)
        os.close(self._program)
        self._program = -1
        if self._server is not None:
            self._server.close()
        for writer in self._looking_on:
            writer.close()
        self._door.unlink(missing_ok=True)

    def _typed(self) -> None:
        try:
            keys = os.read(self._keys, KEYS_BYTES)
        except OSError:
            keys = b""
        if not keys:
            # The keyboard is gone: the program reads an end, as when somebody types Ctrl-D.
            asyncio.get_running_loop().remove_reader(self._keys)
            keys = b"\x04"
        with suppress(OSError):  # A program that takes no more keys loses them, as at any terminal.
            os.write(self._program, keys)

    def _resized(self) -> None:
        import fcntl
        import termios

        with suppress(OSError):
            size = fcntl.ioctl(self._keys, termios.TIOCGWINSZ, bytes(_SIZE_BYTES))
            fcntl.ioctl(self._program, termios.TIOCSWINSZ, size)

    async def _let_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._looking_on) >= LOOKING_ON_MAX:
            writer.close()
        else:
            self._looking_on.add(writer)


async def look_on(door: Path, show: Callable[[bytes], None], joined: Callable[[], None]) -> None:
    """Show what a session puts out from now on, until it ends; `joined` is called when there is one.

    Raises:
        OSError: no session is behind `door`, or not one of this account.
    """
    reader, writer = await asyncio.open_unix_connection(door)
    joined()
    try:
        while data := await reader.read(1 << 16):
            show(data)
    finally:
        writer.close()
