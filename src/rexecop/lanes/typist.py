"""A terminal of a program's own, and somebody who types into it.

Input is typed as a person would: piece by piece, each when the terminal has fallen
silent. A control character (Ctrl-C, Ctrl-D, Ctrl-Z, Ctrl-\\) is a piece of its own, so
that it reaches the program that the input before it was for.
"""

from __future__ import annotations

import asyncio
import os
import re
import struct
from typing import Final

from rexecop.proof.call import Terminal

END_OF_INPUT: Final = b"\x04"  # Ctrl-D
QUIET_SECONDS: Final = 0.1  # Nothing was put out for so long: the program waits, or works without a word.
FIRST_SECONDS: Final = 1.0  # A program that has said nothing yet may still be starting.
_PIECES: Final = re.compile(rb"[\x03\x04\x1a\x1c]|[^\x03\x04\x1a\x1c]+")


def open_terminal(size: Terminal) -> tuple[int, int]:
    """Return both ends of a new terminal of `size`: ours, and the program's."""
    import fcntl
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))
    return ours, theirs


def pieces(text: bytes) -> list[bytes]:
    """Return `text` as it is typed: with Ctrl-D behind it, twice where its last line has no end."""
    found: list[bytes] = _PIECES.findall(text)
    if text and not text.endswith((b"\n", b"\r", END_OF_INPUT)):
        found.append(END_OF_INPUT)  # The first only hands over the line.
    return found if text.endswith(END_OF_INPUT) else [*found, END_OF_INPUT]


class Typist:
    """Types `text` into the terminal whose our end is `opened`, which it closes."""

    def __init__(self, opened: int, text: bytes) -> None:
        self._opened = opened
        self._left = pieces(text)
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin once the program is heard, or has had time to start."""
        os.set_blocking(self._opened, False)
        self._later(FIRST_SECONDS)

    def heard(self) -> None:
        """The program put something out, so wait until it is quiet again."""
        self._later(QUIET_SECONDS)

    def close(self) -> None:
        """Stop typing."""
        if self._timer is not None:
            self._timer.cancel()
        if self._opened >= 0:
            os.close(self._opened)
            self._opened = -1

    def _later(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._left and self._opened >= 0:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._type)

    def _type(self) -> None:
        try:
            typed = os.write(self._opened, self._left[0])
        except BlockingIOError:
            typed = 0
        except OSError:
            return  # The terminal is closed: nobody reads any more.
        self._left[0] = self._left[0][typed:]
        if not self._left[0]:
            del self._left[0]
        self._later(QUIET_SECONDS)
