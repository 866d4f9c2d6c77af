"""One call over HTTP while it is made: redirects and pages it allows, its body, and how it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Final, Protocol

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientPayloadError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ServerDisconnectedError,
)

from rexecop.lanes.errors import ClearanceRefused, RequestRefused
from rexecop.lanes.exchange import MESSAGE_LENGTH_MAX, measured, without_answer
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.http import OURS, body_of, headers_of, without_identity
from rexecop.lanes.http_answer import (
    AnswerRefused,
    Shown,
    Unpacker,
    check_error,
    items_of,
    read_json,
    retry_after_ms,
    unwrapped,
    verdict,
    write_json,
)
from rexecop.lanes.http_connect import LEAVE, Leave, Rules, reason_of, session
from rexecop.lanes.http_where import Where, address_of, next_page, redirected
from rexecop.lanes.messages.http import Addresses, HttpMessage, Pages
from rexecop.lanes.output import raw_limit
from rexecop.lanes.port import Chunk, Clearance, LaneEvent, LaneResult
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended

JSON_BYTES_MAX: Final = 16 * 1024 * 1024  # Of one answer that is parsed, where the call says nothing.
PROTECTION: Final = (
    "leave-before-write"  # Leave is asked for with the connection open, before its first byte.
)


class Pools(Protocol):
    """Where sessions come from that outlive the call."""

    def pooled(self, rules: Rules) -> ClientSession:
        """Return the session for calls under `rules`."""
        ...


class HttpCall:
    """Makes the call of `message`; `events` may be asked for once, and `close` afterwards always."""

    def __init__(
        self,
        pools: Pools,
        call: Call,
        limits: Limits,
        message: HttpMessage,
        secrets: tuple[bytes, ...],
        clearance: Clearance,
    ) -> None:
        self._pools = pools
        self._call = call
        self._limits = limits
        self._message = message
        self._headers, basic = headers_of(message)
        self._leave = Leave(clearance=clearance, again=call.effect is Effect.READ)
        self._output = Shown(limits.output_bytes, (*secrets, *basic))
        self._own: ClientSession | None = None
        self._response: ClientResponse | None = None
        self._started = time.monotonic()
        self._deadline = 0.0
        self._status: int | None = None
        self._requests = 0
        self._events = 0

    async def events(self) -> AsyncIterator[LaneEvent]:
        """Make the call; yield its body as it comes, and last its result.

        Raises:
            ClearanceRefused: nothing was written.
        """
        self._deadline = asyncio.get_running_loop().time() + self._limits.timeout_ms / 1000
        try:
            response, where = await self._answered(address_of(self._message))
            ended, failure = verdict(self._message, response.status, self._call.effect)
            if ended is not Ended.OK:
                # Its status says how it ended, whatever becomes of the rest.
                with suppress(AnswerRefused, TimeoutError, ClientError, OSError):
                    async for chunk in self._stream(response):
                        yield chunk
            elif not self._message.wants_json:
                async for chunk in self._stream(response):
                    yield chunk
            elif self._message.pages is not None:
                for chunk in self._chunks(await self._paged(response, where, self._message.pages)):
                    yield chunk
            else:
                for chunk in self._chunks(await self._kept(response)):
                    yield chunk
            for chunk in self._chunks(None):
                yield chunk
            said = None if failure is None else f"`{self._message.origin.peer}` answered {response.status}"
            yield self._result(ended, failure, said)
        except ClearanceRefused:
            raise
        except (AnswerRefused, RequestRefused, TimeoutError, ClientError, OSError) as error:
            for chunk in self._chunks(None):
                yield chunk
            yield self._without(error)

    async def close(self) -> None:
        """Give everything back that is still held; an answer not read to its end costs its connection."""
        if self._response is not None:
            self._response.close()
        if self._own is not None:
            await self._own.close()

    # --- requests ---

    async def _answered(self, where: Where) -> tuple[ClientResponse, Where]:
        """Return the answer of `where` and where it came from, redirects followed that may be."""
        seen = {where.url}
        while True:
            response = await self._send(where)
            following = None
            if len(seen) <= self._redirects_max:
                following = redirected(self._message, self._call.effect, response, where)
            if following is None or following.url in seen:
                return response, where
            response.close()
            seen.add(following.url)
            self._leave.facts["redirects"] = len(seen) - 1
            where = following

    @property
    def _redirects_max(self) -> int:
        return 0 if self._message.redirects is None else self._message.redirects.most

    async def _send(self, where: Where) -> ClientResponse:
        """Send one request to `where` and return its answer, of which the head was read."""
        message, leave = self._message, self._leave
        data, media = body_of(message) if where.trusted else (None, None)
        headers = self._headers if where.trusted else OURS
        if media is not None and not any(name.lower() == "content-type" for name in headers):
            headers = {**headers, "Content-Type": media}
        leave.begin()
        opened = self._session(where)
        loop = asyncio.get_running_loop()
        until = self._deadline
        if message.connect_ms:
            until = min(until, loop.time() + message.connect_ms / 1000)
        async with asyncio.timeout_at(until) as scope:
            leave.scope, leave.until = scope, self._deadline
            leave.first_byte_seconds = message.first_byte_ms / 1000
            LEAVE.set(leave)
            self._requests += 1
            tls = message.tls
            self._response = response = await opened.request(
                message.method,
                where.url,
                headers=headers,
                data=data,
                allow_redirects=False,
                server_hostname=tls.server_name if tls is not None and where.trusted else None,
            )
        leave.phase = "reading the answer"
        self._status = response.status
        return response

    def _session(self, where: Where) -> ClientSession:
        tls = self._message.tls if where.trusted else without_identity(self._message.tls)
        rules = Rules(
            secure=where.origin.scheme == "https",
            tls=tls,
            addresses=self._message.addresses or Addresses(),
            keep=self._call.effect is Effect.READ,
        )
        if tls is None or tls.identity is None:
            return self._pools.pooled(rules)
        if self._own is None:
            # Our own key is a secret: it lives as long as the call.
            self._own = session(rules)
        return self._own

    # --- bodies ---

    async def _read(self, response: ClientResponse, most: int) -> AsyncIterator[bytes]:
        """Yield the body of `response`, unpacked; the next piece is read when the last was taken.

        Raises:
            AnswerRefused: it is longer than `most` or packed wrongly.
        """
        if self._message.method == "HEAD":
            response.release()
            return
        unpacker, count = Unpacker(response.headers.get("Content-Encoding", "")), 0
        while True:
            if response.content.is_eof():
                data = await response.content.readany()  # All of it is here; there is nothing to wait for.
            else:
                async with asyncio.timeout_at(self._deadline):
                    data = await response.content.readany()
            if not data:
                break
            for piece in unpacker.feed(data):
                count += len(piece)
                if count > most:
                    raise AnswerRefused(Failure.OUTPUT_LIMIT, f"the answer is longer than {most} bytes")
                yield piece
        unpacker.finish()

    async def _stream(self, response: ClientResponse) -> AsyncIterator[Chunk]:
        most = self._message.answer_bytes or raw_limit(self._limits)
        async for piece in self._read(response, most):
            for chunk in self._chunks(piece):
                yield chunk

    async def _parsed(self, response: ClientResponse) -> tuple[bytes, object]:
        """Return the whole body of `response` and the JSON it is.

        Raises:
            AnswerRefused: it is too long, no JSON, or carries an error.
        """
        most = self._message.answer_bytes or JSON_BYTES_MAX
        body = bytearray()
        async for piece in self._read(response, most):
            body += piece
        if not (body or self._message.unwrap or self._message.pages):
            return b"", None  # Nothing to say is an answer where nothing is looked for in it.
        value = read_json(bytes(body), response.headers.get("Content-Type", ""))
        check_error(value, self._message.error_at)
        return bytes(body), value

    async def _kept(self, response: ClientResponse) -> bytes:
        body, value = await self._parsed(response)
        return write_json(unwrapped(value, self._message.unwrap)) if self._message.unwrap else body

    async def _paged(self, response: ClientResponse, where: Where, pages: Pages) -> bytes:
        """Return the entries of all pages, with whether there were more of them than are read.

        Raises:
            AnswerRefused: a page is none, leads back to one before it, or leads elsewhere.
        """
        items: list[object] = []
        seen, size, count = {where.url}, 0, 0
        while True:
            body, value = await self._parsed(response)
            found = items_of(value, pages)
            count += 1
            size += len(body)
            items += found
            following = next_page(self._message, response, value, where, empty=not found, count=count)
            more = following is not None
            if following is None or count >= pages.most or size > self._limits.output_bytes:
                break
            if following.url in seen:
                raise AnswerRefused(Failure.PROTOCOL_ERROR, f"page {count} leads back to one before it")
            seen.add(following.url)
            where = following
            response = await self._send(where)
            ended, failure = verdict(self._message, response.status, self._call.effect)
            if failure is not None or ended is not Ended.OK:
                raise AnswerRefused(
                    failure or Failure.VALIDATION_FAILED, f"page {count + 1}: answered {response.status}"
                )
        self._leave.facts |= {"pages": count, "truncated": more}
        return write_json({"items": items, "pages": count, "truncated": more})

    # --- events ---

    def _chunks(self, data: bytes | None) -> Iterator[Chunk]:
        """Yield what may be shown of `data`; with None, what was held back before."""
        shown = self._output.take(data)
        if shown:
            yield Chunk(n=self._events, stream="stdout", data=shown)
            self._events += 1

    def _without(self, error: Exception) -> LaneResult:
        """Return the result of a call that has no answer, or one that cannot be used."""
        failure, said = self._reason(error)
        if isinstance(error, AnswerRefused) and failure in (Failure.REMOTE_ERROR, Failure.VALIDATION_FAILED):
            # The other side answered, in whole, and it was not what was wanted.
            read = self._call.effect is Effect.READ or failure is Failure.REMOTE_ERROR
            return self._result(Ended.FAILED if read else Ended.UNKNOWN, failure, said)
        if isinstance(error, RequestRefused) and not self._leave.given and failure is not Failure.TLS_FAILED:
            return self._result(Ended.REFUSED, failure, said)
        return self._result(without_answer(self._call, sent=self._leave.given), failure, said)

    def _reason(self, error: Exception) -> tuple[Failure, str]:
        peer = self._message.origin.peer
        match error:
            case AnswerRefused():
                return error.failure, str(error)
            case RequestRefused():
                return error.failure, error.message
            case TimeoutError():
                return Failure.TIMEOUT, f"{describe(Failure.TIMEOUT)} while {self._leave.phase}"
            case ClientConnectorError():
                return reason_of(error, self._message.origin)
            case ServerDisconnectedError() | ClientOSError() | ClientPayloadError():
                what = f"`{peer}` closed the connection while {self._leave.phase}"
                return Failure.TRANSIENT_CONNECTOR_ERROR, what
            case ClientResponseError() | ClientError():
                return Failure.PROTOCOL_ERROR, f"`{peer}` did not answer in HTTP: {type(error).__name__}"
            case _:
                return Failure.TRANSIENT_CONNECTOR_ERROR, f"no connection to `{peer}`: {type(error).__name__}"

    def _result(self, ended: Ended, failure: Failure | None, said: str | None) -> LaneResult:
        output = self._output
        return LaneResult(
            ended=ended,
            duration_ms=int((time.monotonic() - self._started) * 1000),
            measured=measured(self._facts(), PROTECTION),
            failure=failure,
            message=None if said is None else said[:MESSAGE_LENGTH_MAX],
            status=self._status,
            stdout=bytes(output.kept),
            stdout_bytes=output.count,
            redactions=output.redactions,
        )

    def _facts(self) -> dict[str, Json]:
        """Return what was seen of the other side, and what of the protection asked for was not in force."""
        message, facts = self._message, dict(self._leave.facts)
        facts["requests"] = self._requests
        if message.origin.scheme == "http":
            facts["tls"] = "none"
        elif message.tls is not None and not message.tls.verify:
            facts["tls_verified"] = False
        if message.key is not None:
            facts["idempotency_key"] = message.key.value
        if self._response is not None:
            wait = retry_after_ms(self._response.headers)
            if wait is not None:
                facts["retry_after_ms"] = wait
        return facts
