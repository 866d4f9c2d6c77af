"""A program that is spoken to while it runs: more standard input, its end, and Ctrl-C.

Who speaks waits for nothing. What the program has not read yet waits here, up to a bound.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

from rexecop.lanes.typist import END_OF_INPUT

WAITING_BYTES_MAX: Final = 16 * 1024 * 1024  # Kept in memory; who sends faster than it is read must wait.
_WRITE_BYTES: Final = 1 << 16  # What a pipe holds.


class Live:
    """What one call is told while it runs; with `feeds` also its standard input comes this way."""

    def __init__(self, *, feeds: bool) -> None:
        self.feeds: Final = feeds
        self._first = b""
        self._waiting = bytearray()
        self._ended = False
        self._opened = -1
        self._terminal = False
        self._last = b"\n"
        self._started = False
        self._interrupted = False
        self._notify: Callable[[], None] = lambda: None
        self.bytes = 0

    def put(self, data: bytes) -> None:
        """Let `data` be read next; a program that reads no more loses it.

        Raises:
            OverflowError: the input was at its end, or `WAITING_BYTES_MAX` bytes wait already.
        """
        if self._ended or len(self._waiting) + len(data) > WAITING_BYTES_MAX:
            raise OverflowError
        if self._started and self._opened < 0:
            return
        self._waiting += data
        self._write()

    def end(self) -> None:
        """The input is at its end."""
        self._ended = True
        self._write()

    def interrupt(self) -> None:
        """Interrupt what is in the foreground, as Ctrl-C does; what comes of it is the program's."""
        self._interrupted = True
        self._notify()

    def join(self, opened: int, first: bytes, *, terminal: bool) -> None:
        """Write to `opened`, which is closed at the end: `first`, and then what was put."""
        self._opened, self._first, self._terminal = opened, first, terminal
        os.set_blocking(opened, False)

    def start(self, notify: Callable[[], None]) -> None:
        """Begin; `notify` is called when there is an interrupt to take."""
        self._notify, self._started = notify, True
        self._waiting[:0] = self._first
        self._write()
        if self._interrupted:
            notify()

    def take_interrupt(self) -> bool:
        """Return whether the program is to be interrupted, once each time."""
        found, self._interrupted = self._interrupted, False
        return found

    def close(self) -> None:
        """Write no more."""
        if self._opened >= 0:
            if self._started:
                asyncio.get_running_loop().remove_writer(self._opened)
            os.close(self._opened)
            self._opened = -1
        if self._started:
            self._waiting.clear()

    def _write(self) -> None:
        if self._opened < 0 or not self._started:
            return
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                written = os.write(self._opened, self._waiting[:_WRITE_BYTES])
                self._last = bytes(self._waiting[written - 1 : written])
                self.bytes += written
                del self._waiting[:written]
        except BlockingIOError:
            loop.add_writer(self._opened, self._write)
            return
        except OSError:
            self.close()  # The program reads no more.
            return
        loop.remove_writer(self._opened)
        if not self._ended:
            return
        if not self._terminal:
            self.close()
        elif self._last != END_OF_INPUT:
            # A line that has no end is only handed over by the first.
            self._waiting += END_OF_INPUT if self._last == b"\n" else END_OF_INPUT * 2
            self._write()
