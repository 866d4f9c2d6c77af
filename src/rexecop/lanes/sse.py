"""The lane for server-sent events: listens to one stream until a declared condition ends it well.

Each event is one chunk of standard output: a line of JSON with `data`, `event` and, where
there is one, `id`. A stream that ends by its stop condition is `ok`; every other end failed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Final

from rexecop.lanes.dialing import Dialer
from rexecop.lanes.errors import Broken, EventTooLarge, Stopped
from rexecop.lanes.eventstream import EventStream
from rexecop.lanes.exchanging import Exchange, ExchangeLane
from rexecop.lanes.failures import Failure
from rexecop.lanes.listening import Listening
from rexecop.lanes.messages.streams import SseMessage, fits_header
from rexecop.lanes.port import Chunk
from rexecop.proof.canonical import Json

if TYPE_CHECKING:
    import aiohttp

MEDIA_TYPE: Final = "text/event-stream"
NO_CONTENT: Final = 204  # How a server says that there is nothing more to connect for.


class SseLane(ExchangeLane[SseMessage]):
    """Takes `sse/1`."""

    name = "sse"
    message = SseMessage
    streams = True

    def run(self, message: SseMessage, exchange: Exchange) -> _Run:
        """Return the run of `message`."""
        return _Run(message, exchange)


class _Run:
    def __init__(self, message: SseMessage, exchange: Exchange) -> None:
        self._message = message
        self._exchange = exchange
        self._listening = Listening(exchange, message)
        self._last_id = message.last_event_id
        self._dialer: Dialer | None = None

    async def prepare(self) -> None:
        self._listening.check()
        self._dialer = Dialer("GET", self._message.http, self._exchange)

    def chunks(self) -> AsyncGenerator[Chunk]:
        return self._listening.chunks(self._connect)

    async def close(self) -> None:
        if self._dialer is not None:
            await self._dialer.close()

    async def _connect(self) -> AsyncGenerator[Chunk]:
        assert self._dialer is not None
        headers = {"Accept": MEDIA_TYPE, "Cache-Control": "no-store"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        dialer = self._dialer
        response = await self._listening.patiently(lambda: dialer.request("GET", headers))
        try:
            if self._accept(response):
                async for chunk in self._events(response):
                    yield chunk
        finally:
            response.close()

    def _accept(self, response: aiohttp.ClientResponse) -> bool:
        """Return whether there is a stream to read; raise if this is no answer to the request."""
        assert self._dialer is not None
        if response.status == NO_CONTENT:
            return False
        if response.status != 200:
            raise self._dialer.refusal(response.status)
        if response.content_type != MEDIA_TYPE:
            raise Broken(Failure.PROTOCOL_ERROR, f"`{response.content_type:.80}` is no event stream")
        return True

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[Chunk]:
        stream = EventStream(self._message.bounds.event_bytes, self._last_id)
        listening, redact = self._listening, self._exchange.redact
        while data := await listening.patiently(response.content.readany, self._message.heartbeat_ms):
            listening.count(len(data))
            try:
                for event in stream.feed(data):
                    self._last_id = event.id if fits_header(event.id) else ""
                    line: dict[str, Json] = {"event": redact(event.type), "data": redact(event.data)}
                    if event.id:
                        line["id"] = redact(event.id)
                    if (chunk := listening.take(event.type, event.data, line)) is not None:
                        yield chunk
                    if listening.met is not None:
                        raise Stopped(listening.met)
            except EventTooLarge as error:
                raise Broken(Failure.OUTPUT_LIMIT, error.message) from error
            if stream.retry_ms is not None:
                listening.retry_ms = stream.retry_ms
