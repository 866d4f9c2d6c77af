"""Asking a decision point outside (AuthZEN): one POST, bounded in time and size, over TLS or to this machine.

Whatever goes wrong on the way is a no with its reason. The time counts for everything
together, names looked up included, so that a point that drips holds nobody up.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Final

from rexecop.governance.authzen import answer_bytes_max, opinion, question
from rexecop.proof.canonical import digest_of
from rexecop.proof.records.decision import Opinion, PolicyRequest

HEAD_BYTES_MAX: Final = 32 * 1024  # More than this before the answer is none of a decision point.


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Where to ask. `host` and `port` are reached with TLS where `tls` is given.

    `path` comes before the standard's own, `token` goes along as bearer token, `seconds` is
    the time for one question.
    """

    url: str
    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None
    token: str | None
    seconds: float


async def ask_outside(point: Point, request: PolicyRequest) -> Opinion:
    """Return what `point` says to `request`; it never raises for what the other side does."""
    try:
        async with asyncio.timeout(point.seconds):
            raw = await _exchange(point, *question(request), HEAD_BYTES_MAX + answer_bytes_max(request))
    except TimeoutError:
        return _no(point, f"no answer within {point.seconds:g} s")
    except (OSError, ValueError) as error:
        words = " ".join(str(error).split())[:120]
        return _no(point, f"not reached: {words or type(error).__name__}")
    most = answer_bytes_max(request)
    if len(raw) > HEAD_BYTES_MAX + most:
        return _no(point, "the answer is too long")
    try:
        status, body = _parsed(raw)
    except (HTTPException, ValueError) as error:
        return _no(point, f"malformed: {type(error).__name__}")
    if status != 200 or len(body) > most:
        words = "the answer is too long" if status == 200 else f"it answered with status {status}"
        return Opinion(source=point.url, allowed=False, reason=words, answer=digest_of(body))
    return opinion(body, request, point.url)


async def _exchange(point: Point, path: str, body: bytes, most: int) -> bytes:
    """Return all the other side sends, cut above the limit."""
    reader, writer = await asyncio.open_connection(
        point.host, point.port, ssl=point.tls, server_hostname=point.host if point.tls else None
    )
    try:
        at = f"[{point.host}]" if ":" in point.host else point.host
        lines = [f"POST {point.path}{path} HTTP/1.1", f"Host: {at}:{point.port}", "Connection: close"]
        lines += [
            "Content-Type: application/json",
            "Accept: application/json",
            f"Content-Length: {len(body)}",
        ]
        lines += [f"Authorization: Bearer {point.token}"] if point.token is not None else []
        writer.write("\r\n".join((*lines, "", "")).encode("ascii") + body)
        await writer.drain()
        raw = b""
        while len(raw) <= most and (part := await reader.read(1 << 16)):
            raw += part
        return raw
    finally:
        # Nothing more is said: waiting for a farewell would be waiting for the other side.
        writer.transport.abort()


class _Read:
    """What was read, in the place of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


def _parsed(raw: bytes) -> tuple[int, bytes]:
    """Return status and body of one HTTP answer; a shorter body than was announced raises."""
    found = HTTPResponse(_Read(raw), method="POST")  # type: ignore[arg-type]
    found.begin()
    return found.status, found.read()


def _no(point: Point, reason: str) -> Opinion:
    return Opinion(source=point.url, allowed=False, reason=reason)
