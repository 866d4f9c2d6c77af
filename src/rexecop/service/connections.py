"""Connections: how long a client may take, how much it may say before it asks, and how many there may be."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rexecop.service.traffic import Run

CONNECTIONS_MAX: Final = 1_024  # Followers of streams keep one each; the ledger needs few files beside them.
REFUSED_MAX: Final = 256  # Beyond so many that are answered 503, one more is not even listened to.
HEAD_SECONDS_MAX: Final = 10  # The head of a request takes a second on the slowest line worth having.
HEAD_BYTES_MAX: Final = 32 * 1024  # Four times what browsers send with all their cookies.
HEADERS_MAX: Final = 100
BUSY_SECONDS: Final = "1"  # After which a client that was one too many may try again.

BUSY: Final = Response(b"", 503, {"retry-after": BUSY_SECONDS, "connection": "close"})
TOO_LONG: Final = Response(b"", 431, {"connection": "close"})


class Connection(HttpToolsProtocol):
    """One connection, kept to the limits; `run` counts those that were not."""

    run = Run()
    connections_max: int = CONNECTIONS_MAX
    head_seconds: float = HEAD_SECONDS_MAX

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request; one connection too many is told to come again."""
        super().connection_made(transport)
        self._head = 0
        self._asked = False
        self._waits: asyncio.TimerHandle | None = None
        others = len(self.connections) - self.connections_max
        if others > 0:
            self.run.refused["too-many",] += 1
            self.app = BUSY
        if others > REFUSED_MAX:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._heard()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a head."""
        super().on_message_begin()
        self._asked = True
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came, of a head no more than may be."""
        if self._waits is not None:
            self._head += len(data)
        super().data_received(data)
        if self._waits is not None and self._head > HEAD_BYTES_MAX:
            self._refuse(431, "head-too-long")

    def on_headers_complete(self) -> None:
        """Answer what was asked, if the head was none too long."""
        self._heard()
        said = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if said > HEAD_BYTES_MAX or len(self.headers) > HEADERS_MAX:
            self.run.refused["head-too-long",] += 1
            self.app = TOO_LONG
        super().on_headers_complete()

    def _wait(self) -> None:
        if self._waits is None:
            self._waits = self.loop.call_later(self.head_seconds, self._refuse, 408, "too-slow")

    def _heard(self) -> None:
        self._head, self._asked = 0, False
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None

    def _refuse(self, status: int, reason: str) -> None:
        """End the connection; where something was asked for in part, say why."""
        # In the middle of an answer to what was asked before, nothing can be said.
        free = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]
        asked = self._asked and free
        self._heard()
        if self.transport.is_closing():
            return
        self.run.refused[reason,] += 1
        if asked:
            phrase = HTTPStatus(status).phrase.encode()
            head = b"HTTP/1.1 %d %b\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            self.transport.write(head % (status, phrase))
        self.transport.close()
