"""Requests of the lanes that talk on over HTTP: one resource, one session, no redirect ever followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rexecop.lanes.errors import Broken, RedirectRefused, RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.http import check, headers_of, target_of
from rexecop.lanes.messages.http import Addresses, HttpMessage, Origin
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.vocabulary import Ended

if TYPE_CHECKING:
    import aiohttp

    from rexecop.lanes.exchanging import Exchange

_OURS: Final = ("accept", "last-event-id", "cache-control", "content-type")  # Said message by message.


class Dialer:
    """Makes requests to the resource that `where` names, for `exchange`.

    Leave is taken whenever there is a connection that was checked, right before a request is
    written to it; what that raises, the request raises. The facts gain whom it leads to.

    Raises:
        ValueError, RequestRefused: `where` says what does not apply here, or what cannot be.
    """

    def __init__(self, method: str, where: HttpMessage, exchange: Exchange) -> None:
        import aiohttp
        from yarl import URL

        from rexecop.lanes.http_connect import Rules, session

        request = exchange.call.request
        assert isinstance(request, ExchangeRequest)
        check(where, request)
        _check_only_where(method, where)
        headers, packed = headers_of(where)
        exchange.hide(packed)
        self.url: Final = URL(where.origin.text + target_of(where), encoded=True)
        self.headers: Final = {**headers, "Accept-Encoding": "identity", "User-Agent": "rexecop"}
        self.server_name: Final = where.tls.server_name if where.tls is not None else None
        rules = Rules(
            secure=where.origin.scheme == "https",
            tls=where.tls,
            addresses=where.addresses or Addresses(),
            keep=True,
        )
        self.session: Final = session(rules)
        self._where = where
        self._exchange = exchange
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse_redirect)
        trace.freeze()
        self.session.trace_configs.append(trace)

    async def request(
        self, method: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> aiohttp.ClientResponse:
        """Return the answer to one request, its body not read yet.

        Raises:
            What `failure_of` knows, and what taking leave raises.
        """
        self.prepare()
        response = await self.session.request(
            method,
            self.url,
            headers={**self.headers, **headers},
            data=body,
            server_hostname=self.server_name,
            allow_redirects=False,
        )
        self._exchange.status = response.status
        coding = response.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":
            raise Broken(
                Failure.PROTOCOL_ERROR, f"the answer is packed as `{coding:.40}`, which nobody asked for"
            )
        return response

    def refusal(self, status: int) -> Broken:
        """Return what an answer with `status`, which is not the one that was hoped for, means."""
        from rexecop.lanes.http_answer import verdict

        ended, failure = verdict(self._where, status, self._exchange.call.effect)
        answered = ended is Ended.FAILED
        return Broken(
            failure or Failure.PROTOCOL_ERROR, f"HTTP status {status}", answered=answered, status=status
        )

    def prepare(self) -> None:
        """Let the next request of the session, which has to follow, take leave."""
        from rexecop.lanes.http_connect import LEAVE, Leave

        exchange = self._exchange
        LEAVE.set(Leave(clearance=exchange.about_to_send, again=False, facts=exchange.facts))

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()


def failure_of(error: Exception) -> tuple[Failure, str] | None:
    """Return the class and one line for what a connection raised; None for what none raises."""
    if isinstance(error, RequestRefused):
        return error.failure, error.message
    if isinstance(error, RedirectRefused):
        return Failure.REDIRECTED, error.message
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorError):  # Also where TLS failed.
        from rexecop.lanes.http_connect import reason_of

        origin = Origin(scheme="https" if error.ssl else "http", host=error.host, port=error.port or 0)
        return reason_of(error, origin)
    if isinstance(error, aiohttp.ClientResponseError):
        return Failure.PROTOCOL_ERROR, "what came is not HTTP as it should be"
    if isinstance(error, aiohttp.ClientError | OSError | EOFError):
        return Failure.TRANSIENT_CONNECTOR_ERROR, "the connection was lost"
    return None


def _check_only_where(method: str, where: HttpMessage) -> None:
    """Return only if `where` says where to and as whom, and nothing of what one HTTP call does."""
    only = HttpMessage(
        method=method,
        origin=where.origin,
        path=where.path,
        slash=where.slash,
        query=where.query,
        headers=where.headers,
        auth=where.auth,
        tls=where.tls,
        addresses=where.addresses,
    )
    if where != only:
        raise ValueError(
            f"it takes `{method}`; body, redirects, pages and the like do not apply to what is talked over"
        )
    for name in where.headers or {}:
        if name.lower().startswith(("sec-websocket-", "mcp-")) or name.lower() in _OURS:
            raise ValueError(f"header `{name:.60}` is the lane's to set")


async def _refuse_redirect(*_: object) -> None:
    raise RedirectRefused("the other side points elsewhere, and a redirect is not followed")
