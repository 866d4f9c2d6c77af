"""What JSON-RPC goes over: HTTP requests, a Unix socket, or the standard streams of a program."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from rexecop.lanes.dialing import Dialer
from rexecop.lanes.errors import Broken, EventTooLarge, PayloadTooLarge, WireBroken
from rexecop.lanes.eventstream import EventStream
from rexecop.lanes.exchanging import Exchange
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.http import HttpMessage
from rexecop.lanes.messages.jsonrpc import UnixSocket
from rexecop.lanes.rpcwire import PAYLOAD_BYTES_MAX, Answer, Framing, read_payload

if TYPE_CHECKING:
    import aiohttp

READ_BYTES: Final = 1 << 16
SESSION_LENGTH_MAX: Final = 256
JSON_TYPE: Final = "application/json"
STREAM_TYPE: Final = "text/event-stream"
SESSION: Final = "Mcp-Session-Id"
PROTOCOL_VERSION: Final = "MCP-Protocol-Version"


class Link(Protocol):
    """A way to one peer."""

    async def prepare(self) -> None:
        """Get ready, up to what needs leave; ValueError or RequestRefused if that cannot be."""
        ...

    async def open(self) -> None:
        """Connect, or let the program start."""
        ...

    async def send(self, payload: bytes) -> None:
        """Send one payload."""
        ...

    async def receive(self) -> bytes:
        """Return the next payload; Broken where there will be none."""
        ...

    def agree(self, version: str) -> None:
        """Speak `version` of MCP from now on."""
        ...

    def said_beside(self) -> list[bytes]:
        """Return what the peer said beside its messages since the last call, secrets taken out."""
        ...

    async def close(self) -> None:
        """End it; called in every case."""
        ...


class SocketLink:
    """Messages in frames over a connected stream; `connect` is what kinds of it differ in."""

    def __init__(self, exchange: Exchange, framing: Framing) -> None:
        self.exchange = exchange
        self._framing = framing
        self._payloads: deque[bytes] = deque()
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    def use(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send and receive over these from now on."""
        self._streams = (reader, writer)

    async def send(self, payload: bytes) -> None:
        assert self._streams is not None
        self.exchange.about_to_send()
        writer = self._streams[1]
        writer.write(self._framing.frame(payload))
        await writer.drain()

    async def receive(self) -> bytes:
        assert self._streams is not None
        while not self._payloads:
            data = await self._streams[0].read(READ_BYTES)
            if not data:
                raise await self.ended()
            self._payloads += self._framing.feed(data)
        return self._payloads.popleft()

    async def ended(self) -> Exception:
        """Return what it means that the peer says nothing more."""
        return Broken(Failure.STREAM_ENDED, "the other side ended the connection before it answered")

    def agree(self, version: str) -> None:
        """There is nothing to say beside the messages."""

    def said_beside(self) -> list[bytes]:
        return []

    async def close(self) -> None:
        if self._streams is None:
            return
        writer = self._streams[1]
        writer.close()
        try:
            async with asyncio.timeout(self.exchange.limits.grace_ms / 1000):
                await writer.wait_closed()
        except (OSError, TimeoutError):
            # What is still to be sent waits for a peer that does not read, for ever.
            writer.transport.abort()


class UnixLink(SocketLink):
    """A Unix socket; who listens there is asked of the kernel."""

    def __init__(self, exchange: Exchange, framing: Framing, where: UnixSocket) -> None:
        super().__init__(exchange, framing)
        self._where = where

    async def prepare(self) -> None:
        """There is nothing to prepare."""

    async def open(self) -> None:
        path = self._where.path
        try:
            reader, writer = await self.exchange.in_time(lambda: asyncio.open_unix_connection(path))
        except OSError as error:
            denied = isinstance(error, PermissionError)
            failure = Failure.PERMISSION_DENIED if denied else Failure.TRANSIENT_CONNECTOR_ERROR
            raise Broken(failure, f"no connection to `{path:.100}`: {error.strerror}") from error
        self.use(reader, writer)
        found = writer.get_extra_info("socket").getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        _, uid, _ = struct.unpack("3i", found)
        self.exchange.network = "not-applicable"
        self.exchange.facts["peer_uid"] = uid
        if self._where.uid is not None and uid != self._where.uid:
            raise Broken(Failure.AUTH_FAILED, f"user {uid} listens there, not user {self._where.uid}")


class HttpLink:
    """Requests with POST; answers as one JSON text or as an event stream (MCP, streamable HTTP)."""

    def __init__(self, exchange: Exchange, where: HttpMessage, *, mcp: bool) -> None:
        self._exchange = exchange
        self._where = where
        self._accept = f"{JSON_TYPE}, {STREAM_TYPE}" if mcp else JSON_TYPE
        self._mcp = mcp
        self._headers: dict[str, str] = {}
        self._answers: deque[AsyncGenerator[bytes]] = deque()
        self._open: list[aiohttp.ClientResponse] = []
        self._dialer: Dialer | None = None

    async def prepare(self) -> None:
        self._dialer = Dialer("POST", self._where, self._exchange)

    async def open(self) -> None:
        """Every request connects by itself."""

    async def send(self, payload: bytes) -> None:
        assert self._dialer is not None
        headers = {**self._headers, "Content-Type": JSON_TYPE, "Accept": self._accept}
        response = await self._dialer.request("POST", headers, payload)
        self._open.append(response)
        if response.status >= 300:
            await self._refused(response)
        elif response.content_type == STREAM_TYPE and self._mcp:
            self._answers.append(self._events(response))
        elif response.status == 200 and response.content_type == JSON_TYPE:
            self._answers.append(self._body(response))
        elif response.status not in (202, 204):
            what = f"status {response.status} with `{response.content_type:.60}`"
            raise Broken(Failure.PROTOCOL_ERROR, f"{what} answers no JSON-RPC request")
        if self._mcp and (session := response.headers.get(SESSION)) is not None:
            if len(session) > SESSION_LENGTH_MAX or not (session.isascii() and session.isprintable()):
                raise Broken(Failure.PROTOCOL_ERROR, "the other side gave a session no usable name")
            self._headers[SESSION] = session

    async def receive(self) -> bytes:
        while self._answers:
            payload = await anext(self._answers[0], None)
            if payload is not None:
                return payload
            self._answers.popleft()
        raise Broken(Failure.STREAM_ENDED, "the other side ended its answer before it said anything")

    def agree(self, version: str) -> None:
        self._headers[PROTOCOL_VERSION] = version

    def said_beside(self) -> list[bytes]:
        return []

    async def close(self) -> None:
        for answers in self._answers:
            await answers.aclose()
        for response in self._open:
            response.close()
        if self._dialer is None:
            return
        if SESSION in self._headers:
            # The session is ours to end; whether the other side minds it changes nothing.
            with suppress(Exception):
                async with asyncio.timeout(self._exchange.limits.grace_ms / 1000):
                    (await self._dialer.request("DELETE", self._headers)).close()
        await self._dialer.close()

    async def _body(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
        found = bytearray()
        async for data in response.content.iter_any():
            found += data
            if len(found) > PAYLOAD_BYTES_MAX:
                raise PayloadTooLarge(f"an answer is longer than {PAYLOAD_BYTES_MAX} bytes")
        yield bytes(found)

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
        stream = EventStream(PAYLOAD_BYTES_MAX)
        async for data in response.content.iter_any():
            try:
                for event in stream.feed(data):
                    if event.type == "message":
                        yield event.data.encode()
            except EventTooLarge as error:
                raise PayloadTooLarge(error.message) from error

    async def _refused(self, response: aiohttp.ClientResponse) -> None:
        """Return only if the body of an answer with a bad status is an answer of JSON-RPC nevertheless."""
        if response.content_type == JSON_TYPE:
            body = await anext(self._body(response))
            with suppress(WireBroken):
                messages, _ = read_payload(body)
                if all(isinstance(item, Answer) and not isinstance(item.id, str) for item in messages):
                    self._answers.append(_once(body))
                    return
        assert self._dialer is not None
        raise self._dialer.refusal(response.status)


async def _once(payload: bytes) -> AsyncGenerator[bytes]:
    yield payload
