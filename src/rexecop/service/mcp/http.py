"""`/mcp`: the protocol over streamable HTTP, a request and an answer at a time, for callers at the door."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from importlib import import_module
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from rexecop.app.door import Act, Caller, Door
from rexecop.app.errors import CallerUnknown, Forbidden
from rexecop.app.instance import Instance
from rexecop.proof.errors import RexecopError
from rexecop.service.mcp.desk import WAIT_SECONDS, Desk, Run, here

PATH: Final = "/mcp"
BODY_BYTES_MAX: Final = 1 << 20  # Arguments of one call.
_SDK: Final = "mcp"


class McpEndpoint:
    """The application below `/mcp`; `hosts` are the names it answers to, None: any."""

    def __init__(self, desk: Desk, door: Door, hosts: Collection[str] | None, run: Run) -> None:
        self._desk = desk
        self._run = run
        self._door = door
        self._hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        refusal = self._foreign(request)
        if refusal is None:
            try:
                caller = self._caller(request)
                # It takes a second the first time, in which others are answered.
                await asyncio.to_thread(import_module, "rexecop.service.mcp.server")
            except CallerUnknown as error:
                refusal = _problem(401, error.message, error.code, {"www-authenticate": "Bearer"})
            except ModuleNotFoundError as error:
                if error.name is None or error.name.split(".")[0] not in (_SDK, "mcp_types"):
                    raise
                refusal = _problem(503, "the extra `mcp` is not installed", "extra-missing", {})
            except RexecopError as error:
                status = 403 if isinstance(error, Forbidden) else 503
                refusal = _problem(status, error.message, error.code, {})
            else:
                await self._talk(caller, scope, receive, send)
                return
        await refusal(scope, receive, send)

    def _caller(self, request: Request) -> Caller:
        peer = None if request.client is None else request.client.host
        caller = self._door.caller(request.headers, peer)
        self._door.require(caller, Act.VIEW)
        return caller

    async def _talk(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from rexecop.service.mcp.server import server_of

        manager = StreamableHTTPSessionManager(
            server_of(self._desk, caller, run=self._run),
            json_response=True,
            stateless=True,
            max_request_body_size=BODY_BYTES_MAX,
        )
        async with manager.run():
            await manager.handle_request(scope, receive, send)

    def _foreign(self, request: Request) -> Response | None:
        """Refuse what a page of another site would send: a foreign host name, or a foreign origin."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        name = host if host.endswith("]") or ":" not in host else host.rpartition(":")[0]
        if self._hosts is not None and name.strip("[]").lower() not in self._hosts:
            return _problem(421, "this address is not served under that Host", "forbidden", {})
        if origin is not None and origin != f"{request.url.scheme}://{host}":
            return _problem(403, "requests from another Origin are refused", "forbidden", {})
        return None


def routes(
    instance: Instance,
    door: Door,
    hosts: Collection[str] | None,
    *,
    run: Run = here,
    wait_seconds: int = WAIT_SECONDS,
) -> list[Route]:
    """Return the route of the protocol over `instance`, for whom `door` lets in; `run` does the work."""
    endpoint = McpEndpoint(Desk(instance, door, wait_seconds=wait_seconds), door, hosts, run)
    # No stream without a request, and no session to end: neither GET nor DELETE.
    return [Route(PATH, endpoint, methods=["POST"])]


def _problem(status: int, detail: str, code: str, headers: dict[str, str]) -> Response:
    body = {"status": status, "title": code, "detail": detail, "code": code}
    found = {"cache-control": "no-store", "x-content-type-options": "nosniff", **headers}
    return JSONResponse(body, status, found, media_type="application/problem+json")
