"""Event streams (WHATWG HTML, "Interpreting an event stream"): bytes in, events out.

Nothing is kept of what was read but the event that is not yet whole, and that within a limit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from rexecop.lanes.errors import EventTooLarge

RETRY_DIGITS_MAX: Final = 9  # Eleven days in milliseconds; a longer wait is no wait.

_LINE_END: Final = re.compile(rb"\r\n|\n|\r")
_BOM: Final = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event as it is dispatched; `id` is the last event id as of this event."""

    type: str
    data: str
    id: str


class EventStream:
    """The parser of one connection; `last_id` is what it begins with, and then the newest one seen."""

    def __init__(self, event_bytes_max: int, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        self._most = event_bytes_max
        self._rest = bytearray()
        self._size = 0  # Bytes of whole lines since the last event.
        self._begun = False
        self._after_return = False
        self._type = ""
        self._data: list[str] = []
        self._id = last_id

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that `data` completes. What is incomplete at the end of a stream is no event.

        Raises:
            EventTooLarge: an event is longer than the limit; what came before it was yielded.
        """
        if self._after_return and data:
            # A line feed that a read separated from its carriage return ends no line of its own.
            data = data[1:] if data[:1] == b"\n" else data
            self._after_return = False
        self._rest += data
        if not self._begun:
            if len(self._rest) < len(_BOM) and _BOM.startswith(self._rest):
                return
            self._begun = True
            if self._rest.startswith(_BOM):
                del self._rest[: len(_BOM)]
        # Looked for in what is new only, so that a line that never ends costs no more than its bytes.
        if b"\n" in data or b"\r" in data:
            *lines, rest = _LINE_END.split(self._rest)
            self._after_return = self._rest.endswith(b"\r")
            self._rest = bytearray(rest)
            for line in lines:
                self._check(len(line) + 1)
                if (event := self._line(bytes(line))) is not None:
                    yield event
        self._check(len(self._rest), whole=False)

    def _check(self, more: int, *, whole: bool = True) -> None:
        if self._size + more > self._most:
            raise EventTooLarge(f"an event is longer than {self._most} bytes")
        if whole:
            self._size += more

    def _line(self, line: bytes) -> Event | None:
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value[1:] if value[:1] == " " else value
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._type = value
        elif name == "id":
            self._id = self._id if "\0" in value else value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value[:RETRY_DIGITS_MAX])
        return None

    def _dispatch(self) -> Event | None:
        self.last_id, kind, data = self._id, self._type or "message", self._data
        self._type, self._data, self._size = "", [], 0
        return Event(kind, "\n".join(data), self.last_id) if data else None
