"""Where a person sits at the terminal of a program: their keyboard, their screen, and who looks on.

The program may run here or on another host; a `Line` leads to it. What the screen shows is what is
kept: output comes here with secrets already taken out. What is typed goes to the program alone.
Others may look on through a socket that only the same account can open, and what they send is not
read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from rexecop.proof.call import Terminal

KEYS_BYTES: Final = 4096  # More than anybody types between two looks.
UNATTENDED: Final = "nobody sits at the terminal: run it by `rexecop terminal --operation ID`"
LOOKING_ON_MAX: Final = 16  # Each is sent everything.
BEHIND_BYTES_MAX: Final = 1 << 20  # Who reads slower than this is left behind, not waited for.
_SIZE: Final = struct.Struct("HHHH")  # `struct winsize`


class Line(Protocol):
    """What leads to the terminal of a program. Nothing here waits, and nothing raises."""

    def type(self, keys: bytes) -> None:
        """Give `keys` to the program; one that takes no more loses them, as at any terminal."""
        ...

    def resize(self, size: Terminal) -> None:
        """Tell the program that its terminal has another size."""
        ...

    def close(self) -> None:
        """Let go of the terminal."""
        ...


class LocalLine:
    """The line to a program on this machine: `opened` is our end of its terminal, which `close` closes."""

    def __init__(self, opened: int) -> None:
        os.set_blocking(opened, False)
        self._opened = opened

    def type(self, keys: bytes) -> None:
        """See `Line.type`."""
        with suppress(OSError):
            os.write(self._opened, keys)

    def resize(self, size: Terminal) -> None:
        """See `Line.resize`."""
        import fcntl
        import termios

        with suppress(OSError):
            fcntl.ioctl(self._opened, termios.TIOCSWINSZ, _SIZE.pack(size.rows, size.columns, 0, 0))

    def close(self) -> None:
        """See `Line.close`."""
        os.close(self._opened)


class Seat:
    """A person's terminal: `keys` and `screen` are its descriptors, `door` is where others look on."""

    def __init__(self, keys: int, screen: int, door: Path) -> None:
        self._keys = keys
        self._screen = screen
        self._door = door
        self._line: Line | None = None
        self._server: asyncio.Server | None = None
        self._looking_on: set[asyncio.StreamWriter] = set()

    @property
    def size(self) -> Terminal | None:
        """The size of the person's terminal; None where it is none or does not tell."""
        import fcntl
        import termios

        try:
            told = fcntl.ioctl(self._keys, termios.TIOCGWINSZ, bytes(_SIZE.size))
        except OSError:
            return None
        rows, columns, _, _ = _SIZE.unpack(told)
        return Terminal(rows=rows, columns=columns) if rows and columns else None

    async def sit(self, line: Line) -> None:
        """Join keyboard and screen to `line`, which is closed by `leave`.

        Where the door cannot be opened nobody can look on, and the session is kept all the same.
        """
        self._line = line
        before = os.umask(0o177)
        try:
            self._door.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._let_in, self._door)
        except OSError:
            pass
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
        if self._line is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._keys)
        if os.isatty(self._keys):
            loop.remove_signal_handler(signal.SIGWINCH)
        self._line.close()
        self._line = None
        if self._server is not None:
            self._server.close()
        for writer in self._looking_on:
            writer.close()
        with suppress(OSError):
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
        if self._line is not None:
            self._line.type(keys)

    def _resized(self) -> None:
        size = self.size
        if size is not None and self._line is not None:
            self._line.resize(size)

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
