"""Output of a call as it comes: read with back-pressure, secrets taken out, cut to a limit, counted."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

READ_BYTES: Final = 1 << 16  # What a pipe holds.
QUEUED_BYTES_MAX: Final = 1 << 18  # Past this the pipe is not read until the consumer has caught up.
REDACTED: Final = b"[redacted]"


class Redactor:
    """Takes the values of secrets out of a stream, also where a value is cut in two by a read."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        # The longest first, so that a secret that holds another is taken out whole.
        self._secrets = sorted({value for value in secrets if value}, key=len, reverse=True)
        self._held = b""
        self.redactions = 0

    def feed(self, data: bytes) -> bytes:
        """Return what may be shown of `data` and of what was held back before."""
        if not self._secrets:
            return data
        return self._take(self._held + data, last=False)

    def finish(self) -> bytes:
        """Return the rest."""
        return self._take(self._held, last=True) if self._held else b""

    def _take(self, data: bytes, *, last: bool) -> bytes:
        out = bytearray()
        at = 0
        while found := self._first(data, at):
            start, size = found
            out += data[at:start] + REDACTED
            at = start + size
            self.redactions += 1
        keep = 0 if last else self._unfinished(data, at)
        out += data[at : len(data) - keep]
        self._held = data[len(data) - keep :] if keep else b""
        return bytes(out)

    def _first(self, data: bytes, at: int) -> tuple[int, int] | None:
        found = [(start, -len(value)) for value in self._secrets if (start := data.find(value, at)) >= 0]
        if not found:
            return None
        start, size = min(found)
        return start, -size

    def _unfinished(self, data: bytes, at: int) -> int:
        """Return how many bytes at the end of `data` may be the beginning of a secret."""
        longest = min(len(self._secrets[0]) - 1, len(data) - at)
        for size in range(longest, 0, -1):
            if any(value.startswith(data[-size:]) for value in self._secrets):
                return size
        return 0


class Stream:
    """One pipe of a call: raw chunks wait in a bounded queue, and the pipe waits when it is full.

    `limit` bytes are kept; more than `raw` bytes in all are a flood.
    """

    def __init__(self, name: str, opened: int, limit: int, raw: int, secrets: Sequence[bytes]) -> None:
        self.name = name
        self.raw_bytes = 0
        self.kept = bytearray()
        self.at_end = False
        self._opened = opened
        self._limit = limit
        self._raw = raw
        self._redactor = Redactor(secrets)
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._reading = False
        self._notify: Callable[[], None] = lambda: None

    @property
    def redactions(self) -> int:
        """Number of secret values taken out so far."""
        return self._redactor.redactions

    @property
    def flooded(self) -> bool:
        """Whether far more came than may be kept."""
        return self.raw_bytes > self._raw

    def start(self, notify: Callable[[], None]) -> None:
        """Read from now on; `notify` is called when there is something to take."""
        self._notify = notify
        os.set_blocking(self._opened, False)
        self._resume()

    def take(self) -> list[bytes]:
        """Return the chunks that may be shown since the last call, cut to the limit."""
        shown = []
        while self._queue:
            shown.append(self._redactor.feed(self._queue.popleft()))
        self._queued = 0
        if self.at_end:
            shown.append(self._redactor.finish())
        elif not self._reading:
            self._resume()
        chunks = []
        for data in shown:
            if part := data[: self._limit - len(self.kept)]:
                self.kept += part
                chunks.append(part)
        return chunks

    def close(self) -> None:
        """Stop reading and close the pipe."""
        if self._opened >= 0:
            self._pause()
            os.close(self._opened)
            self._opened = -1
            self.at_end = True

    def _resume(self) -> None:
        if self._opened >= 0:
            asyncio.get_running_loop().add_reader(self._opened, self._readable)
            self._reading = True

    def _pause(self) -> None:
        if self._reading:
            asyncio.get_running_loop().remove_reader(self._opened)
            self._reading = False

    def _readable(self) -> None:
        try:
            data = os.read(self._opened, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        else:
            self.raw_bytes += len(data)
            # What will be cut anyway is counted and dropped; nothing is gained by keeping it.
            if len(self.kept) < self._limit:
                self._queue.append(data)
                self._queued += len(data)
            if self._queued >= QUEUED_BYTES_MAX:
                self._pause()
        self._notify()
