"""Output of a call as it comes: read with back-pressure, secrets taken out, cut to a limit, counted."""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from rexecop.lanes.encodings import forms_of
from rexecop.proof.call import Limits

FLOOD_BYTES: Final = (
    16 * 1024 * 1024
)  # What comes past the kept output of a call that names no limit of its own.
READ_BYTES: Final = 1 << 16  # What a pipe holds.
QUEUED_BYTES_MAX: Final = 1 << 18  # Past this the pipe is not read until the consumer has caught up.
REDACTED: Final = b"[redacted]"


def raw_limit(limits: Limits) -> int:
    """Return how many bytes a call may put out in all, kept or not."""
    return limits.raw_output_bytes or limits.output_bytes + FLOOD_BYTES


class Redactor:
    """Takes the values of secrets out of a stream, in every form, also where one is cut in two by a read.

    What comes out is the same however the stream is cut: of forms that begin at one place
    the longest is taken, and the end of what was read waits where it may begin one.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._forms = forms_of(secrets)
        self._longest = len(self._forms[0]) if self._forms else 0
        self._starts: dict[bytes, list[bytes]] = {}
        for form in self._forms:
            for start in {form[:1], form[:2]}:
                self._starts.setdefault(start, []).append(form)
        self._held = b""
        self.redactions = 0

    def feed(self, data: bytes) -> bytes:
        """Return what may be shown of `data` and of what was held back before."""
        if not self._forms:
            return data
        data = self._held + data
        return self._take(data, self._beginnings(data))

    def finish(self) -> bytes:
        """Return the rest."""
        return self._take(self._held, []) if self._held else b""

    def _take(self, data: bytes, beginnings: list[int]) -> bytes:
        """Return `data` without secrets up to the first of `beginnings` that is in none; hold the rest."""
        # The next place of each form; a form is looked for again only when that place is behind.
        found = [(at, -len(form), form) for form in self._forms if (at := data.find(form)) >= 0]
        heapq.heapify(found)
        out = bytearray()
        done = 0
        hold = beginnings[0] if beginnings else len(data)
        while found and found[0][0] < hold:
            at, _, form = found[0]
            if at >= done:
                out += data[done:at] + REDACTED
                done = at + len(form)
                self.redactions += 1
                hold = next((begin for begin in beginnings if begin >= done), len(data))
            elif (at := data.find(form, done)) >= 0:
                heapq.heapreplace(found, (at, -len(form), form))
            else:
                heapq.heappop(found)
        out += data[done:hold]
        self._held = data[max(done, hold) :]
        return bytes(out)

    def _beginnings(self, data: bytes) -> list[int]:
        """Return the places from which `data` to its end is the beginning of a form, in order."""
        tail = data[-self._longest + 1 :] if self._longest > 1 else b""
        before = len(data) - len(tail)
        return [
            before + at
            for at in range(len(tail))
            # Looked up by two bytes, or by one at the very end, so that most places cost no comparison.
            for form in self._starts.get(tail[at : at + 2], ())
            if len(form) > len(tail) - at and form.startswith(tail[at:])
        ]


class Stream:
    """One stream of a call: raw chunks wait in a bounded queue, and the pipe waits when it is full.

    `opened` is the descriptor of the pipe, or -1 where others put in what came.

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
        # Made with the first output: to know every form of a secret takes longer than many a call.
        self._redactor: Redactor | None = None
        self._secrets = secrets
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._reading = False
        self._notify: Callable[[], None] = lambda: None

    @property
    def redactions(self) -> int:
        """Number of secret values taken out so far."""
        return self._redactor.redactions if self._redactor is not None else 0

    @property
    def flooded(self) -> bool:
        """Whether far more came than may be kept."""
        return self.raw_bytes > self._raw

    @property
    def full(self) -> bool:
        """Whether no more should come until what waits was taken."""
        return self._queued >= QUEUED_BYTES_MAX

    def put(self, data: bytes) -> None:
        """Let `data` wait to be taken, and count it."""
        self.raw_bytes += len(data)
        # What will be cut anyway is counted and dropped; nothing is gained by keeping it.
        if len(self.kept) < self._limit:
            self._queue.append(data)
            self._queued += len(data)

    def start(self, notify: Callable[[], None]) -> None:
        """Read from now on; `notify` is called when there is something to take."""
        self._notify = notify
        os.set_blocking(self._opened, False)
        self._resume()

    def take(self) -> list[bytes]:
        """Return the chunks that may be shown since the last call, cut to the limit."""
        shown = []
        if self._queue and self._redactor is None:
            self._redactor = Redactor(self._secrets)
        while self._queue and self._redactor is not None:
            shown.append(self._redactor.feed(self._queue.popleft()))
        self._queued = 0
        if self.at_end and self._redactor is not None:
            shown.append(self._redactor.finish())
        elif not self.at_end and not self._reading:
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
            self.put(data)
            if self.full:
                self._pause()
        self._notify()
