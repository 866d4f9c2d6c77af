"""The lane for WebSockets (RFC 6455): sends the frames of the message and listens until a condition holds.

Each frame received is one chunk of standard output: a line of JSON with `text`, or with
`binary` in base64. A lost connection is opened again only if the message says so and no frame was sent.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from rexecop.lanes.dialing import Dialer
from rexecop.lanes.errors import Broken, Lost, Stopped
from rexecop.lanes.exchanging import Exchange, ExchangeLane
from rexecop.lanes.failures import Failure
from rexecop.lanes.listening import Listening
from rexecop.lanes.messages.streams import Frame, WebSocketMessage
from rexecop.lanes.port import Chunk
from rexecop.proof.canonical import Json, canonical_bytes

if TYPE_CHECKING:
    import aiohttp

NORMAL: Final = 1000
NO_CODE: Final = 1005  # Stands for a close frame that says nothing more.
ABNORMAL: Final = 1006  # Stands for the end of a connection on which nobody said why.

_CLOSE_CODES: Final = {
    1001: Failure.STREAM_ENDED,
    1002: Failure.PROTOCOL_ERROR,
    1003: Failure.UNSUPPORTED,
    NO_CODE: Failure.STREAM_ENDED,
    ABNORMAL: Failure.STREAM_ENDED,
    1007: Failure.REQUEST_INVALID,
    1009: Failure.REQUEST_INVALID,
    1010: Failure.UNSUPPORTED,
    1012: Failure.TRANSIENT_CONNECTOR_ERROR,
    1013: Failure.TRANSIENT_CONNECTOR_ERROR,
    1014: Failure.TRANSIENT_CONNECTOR_ERROR,
    3000: Failure.AUTH_FAILED,
    3003: Failure.AUTH_FAILED,
    3008: Failure.TIMEOUT,
}
"""Close codes of the IANA registry; all others are an error that the other side reports."""


class WebSocketLane(ExchangeLane[WebSocketMessage]):
    """Takes `websocket/1`."""

    name = "websocket"
    message = WebSocketMessage
    streams = True

    def run(self, message: WebSocketMessage, exchange: Exchange) -> _Run:
        """Return the run of `message`."""
        return _Run(message, exchange)


class _Run:
    def __init__(self, message: WebSocketMessage, exchange: Exchange) -> None:
        self._message = message
        self._exchange = exchange
        self._listening = Listening(exchange, message)
        self._frames: list[str | bytes] = []
        self._dialer: Dialer | None = None
        self._socket: aiohttp.ClientWebSocketResponse[bool] | None = None

    async def prepare(self) -> None:
        self._listening.check()
        self._frames = [_content(frame) for frame in self._message.frames]
        self._dialer = Dialer("GET", self._message.http, self._exchange)

    def chunks(self) -> AsyncGenerator[Chunk]:
        return self._listening.chunks(self._connect)

    async def close(self) -> None:
        if self._socket is not None:
            # The library waits for the peer's close frame behind everything else that a flood may send.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._exchange.limits.grace_ms / 1000):
                    await self._socket.close(code=NORMAL)
        if self._dialer is not None:
            await self._dialer.close()

    async def _connect(self) -> AsyncGenerator[Chunk]:
        socket = self._socket = await self._handshake()
        if self._message.subprotocols and socket.protocol is None:
            raise Broken(Failure.PROTOCOL_ERROR, "the other side chose none of the subprotocols asked for")
        self._exchange.facts["subprotocol"] = socket.protocol
        for frame in self._frames:
            self._exchange.about_to_send()
            send = (
                partial(socket.send_str, frame)
                if isinstance(frame, str)
                else partial(socket.send_bytes, frame)
            )
            await self._listening.patiently(send)
        async for chunk in self._received(socket):
            yield chunk

    async def _handshake(self) -> aiohttp.ClientWebSocketResponse[bool]:
        import aiohttp

        assert self._dialer is not None
        message, dialer = self._message, self._dialer
        # The frames are what the call is about, where there are any.
        self._exchange.preparing = bool(self._frames)
        dialer.prepare()
        try:
            return await self._listening.patiently(
                lambda: dialer.session.ws_connect(
                    dialer.url,
                    headers=dialer.headers,
                    server_hostname=dialer.server_name,
                    protocols=message.subprotocols,
                    heartbeat=message.heartbeat_ms / 1000 or None,
                    max_msg_size=message.bounds.event_bytes,
                    timeout=aiohttp.ClientWSTimeout(ws_close=self._exchange.limits.grace_ms / 1000),
                )
            )
        except aiohttp.WSServerHandshakeError as error:
            if error.status != 101:
                raise dialer.refusal(error.status) from error
            raise Broken(Failure.PROTOCOL_ERROR, "the other side did not change to WebSocket") from error
        finally:
            self._exchange.preparing = False

    async def _received(self, socket: aiohttp.ClientWebSocketResponse[bool]) -> AsyncGenerator[Chunk]:
        from aiohttp import WSMsgType

        listening, redact = self._listening, self._exchange.redact
        while True:
            received = await listening.patiently(socket.receive)
            if received.type is WSMsgType.TEXT:
                data = received.data
                line: dict[str, Json] = {"text": redact(data)}
            elif received.type is WSMsgType.BINARY:
                data = ""
                line = {"binary": base64.b64encode(self._exchange.redact_bytes(received.data)).decode()}
            else:
                self._ended(received.type, received.data, socket.close_code)
                return
            listening.count(len(received.data))
            if (chunk := listening.take(received.type.name.lower(), data, line)) is not None:
                yield chunk
            if listening.met is not None:
                raise Stopped(listening.met)

    def _ended(self, kind: aiohttp.WSMsgType, data: object, close_code: int | None) -> None:
        """Return only if the other side ended the stream and said that all is well."""
        from aiohttp import WSMsgType

        # Only a close frame says why; the library would report a connection that just ended as a normal end.
        code = (data or NO_CODE) if kind is WSMsgType.CLOSE and isinstance(data, int) else ABNORMAL
        if kind is WSMsgType.ERROR:
            code = close_code or ABNORMAL
            if code == 1009:
                most = self._message.bounds.event_bytes
                raise Broken(Failure.OUTPUT_LIMIT, f"a frame is longer than {most} bytes")
            if code != ABNORMAL:
                raise Broken(Failure.PROTOCOL_ERROR, "a frame breaks the protocol", status=code)
        self._exchange.status = code
        if code == NORMAL:
            return
        failure = _CLOSE_CODES.get(code, Failure.REMOTE_ERROR)
        if failure is Failure.STREAM_ENDED:
            raise Lost(f"the connection was closed with code {code}")
        raise Broken(failure, f"the other side closed the connection with code {code}", status=code)


def _content(frame: Frame) -> str | bytes:
    """Return what `frame` sends.

    Raises:
        ValueError: its base64 is none.
    """
    if frame.text is not None:
        return frame.text
    if frame.json is not None:
        return canonical_bytes(frame.json).decode()
    try:
        return base64.b64decode(frame.base64 or "", validate=True)
    except binascii.Error as error:
        raise ValueError("a frame's `base64` is none") from error
