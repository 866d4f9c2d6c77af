"""The HTTP lane: one logical call to one exact origin, answered or honestly not.

A path cannot change the origin, a name leads to checked addresses only, redirects are
answers unless the call says which to follow, and nothing is sent twice: only a read that
was lost on a kept connection goes out once more. Kept connections are for reads; a change opens its own.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode

from rexecop.lanes.errors import ClearanceRefused, RequestRefused
from rexecop.lanes.exchange import read_message, refused
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.http import PROTOCOL, HttpMessage, Tls, problems
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent, LaneResult
from rexecop.lanes.secrets import Secrets
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import canonical_bytes
from rexecop.proof.message import secrets_in
from rexecop.proof.vocabulary import Grade, Isolation

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from rexecop.lanes.http_connect import Rules

POOLS_MAX: Final = 64  # Kinds of connections kept: of TLS settings and rules for addresses.

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({PROTOCOL}),
    simulated=False,
    isolation=frozenset({Isolation.NOT_APPLICABLE}),
    grades=frozenset({Grade.METHOD, Grade.SHAPE}),
)


class HttpLane:
    """Makes calls over HTTP. One instance per runner: it keeps connections for the reads that follow."""

    name = "http"

    def __init__(self, *, secrets: Secrets) -> None:
        self._secrets = secrets
        self._pools: dict[Rules, ClientSession] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def capabilities(self) -> Capabilities:
        """HTTP requests; what the other side does with them no isolation holds."""
        return _CAPABILITIES

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Make the request of `call`; see `port.Lane.open`.

        Raises:
            ClearanceRefused: from `clearance`; nothing was written.
        """
        # Here, because who makes no such call shall not wait for the library.
        from rexecop.lanes.http_call import HttpCall

        request = call.request
        if not isinstance(request, ExchangeRequest) or request.protocol != PROTOCOL:
            yield refused(Failure.UNSUPPORTED, "this is no HTTP request")
            return
        making: HttpCall | None = None
        lease = self._secrets.lease(secrets_in(dict(request.message)))
        try:
            message, secrets = await read_message(request, HttpMessage, lease)
            check(message, request)
            making = HttpCall(self, call, limits, message, secrets, clearance)
            async for event in making.events():
                yield await lease.settle(event) if isinstance(event, LaneResult) else event
        except ClearanceRefused:
            raise
        except RequestRefused as error:
            yield refused(error.failure, error.message)
        finally:
            if making is not None:
                await making.close()
            await lease.end()

    def pooled(self, rules: Rules) -> ClientSession:
        """Return the session for calls under `rules`; it stays the lane's.

        Raises:
            RequestRefused: what the TLS settings name cannot be used.
        """
        from rexecop.lanes.http_connect import session

        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self.close()
            self._loop = loop
        if rules not in self._pools:
            if len(self._pools) >= POOLS_MAX:
                self._drop(next(iter(self._pools)))
            self._pools[rules] = session(rules)
        return self._pools[rules]

    def close(self) -> None:
        """Close every connection that is kept."""
        for rules in tuple(self._pools):
            self._drop(rules)

    def _drop(self, rules: Rules) -> None:
        from rexecop.lanes.http_connect import discard

        discard(self._pools.pop(rules))


def check(message: HttpMessage, request: ExchangeRequest) -> None:
    """Return only if `message` can be sent, and to the peers of `request` only.

    Raises:
        RequestRefused: with `request_invalid`.
    """
    found = next(problems(message), None)
    if found is not None:
        raise RequestRefused(Failure.REQUEST_INVALID, found)
    if message.key is not None and not message.key.value:
        raise RequestRefused(Failure.REQUEST_INVALID, "the idempotency key has no value")
    origins = (message.origin, *(message.redirects.origins if message.redirects else ()))
    for origin in origins:
        if origin.peer not in request.peers:
            raise RequestRefused(
                Failure.REQUEST_INVALID, f"`{origin.peer}` is not among the peers of the call"
            )


def target_of(message: HttpMessage, query: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """Return path and query of `message` as they are sent, `query` added to its own."""
    path = "/" + "/".join(quote(segment, safe="~!$&'()*+,;=:@") for segment in message.path)
    path += "/" if message.slash and message.path else ""
    asked = {**(message.query or {}), **(query or {})}
    return f"{path}?{urlencode(asked, doseq=True, quote_via=quote, safe='~')}" if asked else path


def body_of(message: HttpMessage) -> tuple[bytes | None, str | None]:
    """Return the body of `message` and its media type."""
    if message.json is not None:
        return canonical_bytes(message.json), "application/json"
    if message.text is not None:
        return message.text.encode(), "text/plain; charset=utf-8"
    if message.form is not None:
        return urlencode(message.form).encode(), "application/x-www-form-urlencoded"
    return None, None


def without_identity(tls: Tls | None) -> Tls | None:
    """Return `tls` for another origin than the one the call is for: it learns nothing about us."""
    return None if tls is None else replace(tls, identity=None, server_name=None)


OURS: Final[Mapping[str, str]] = {
    "User-Agent": "rexecop",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
}


def headers_of(message: HttpMessage) -> tuple[dict[str, str], tuple[bytes, ...]]:
    """Return the headers of `message`, and what in them is secret beside the secrets themselves."""
    given = dict(message.headers or {})
    lower = {name.lower() for name in given}
    headers = {name: value for name, value in OURS.items() if name.lower() not in lower} | given
    if message.key is not None:
        headers[message.key.header] = message.key.value
    auth = message.auth
    if auth is None:
        return headers, ()
    if auth.scheme == "header":
        return {**headers, auth.name: auth.value}, ()
    if auth.scheme == "bearer":
        return {**headers, "Authorization": f"Bearer {auth.value}"}, ()
    packed = b64encode(f"{auth.name}:{auth.value}".encode())
    return {**headers, "Authorization": f"Basic {packed.decode()}"}, (packed,)
