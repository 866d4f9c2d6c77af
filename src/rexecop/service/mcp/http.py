"""`/mcp`: the protocol over streamable HTTP, a request and an answer at a time, for callers at the door."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Final

import anyio
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from rexecop.app.door import Act, Caller, Door
from rexecop.app.errors import CallerUnknown, ExtraMissing, Forbidden
from rexecop.app.instance import Instance
from rexecop.proof.errors import RexecopError
from rexecop.service.answers import problem
from rexecop.service.doorway import let_in, turned_away
from rexecop.service.errors import SiteForeign
from rexecop.service.mcp.desk import WAIT_SECONDS, Desk, Run, here
from rexecop.service.sites import Sites

PATH: Final = "/mcp"
BODY_BYTES_MAX: Final = 1 << 20  # Arguments of one call.
_SDK: Final = "mcp"


class McpEndpoint:
    """The application below `/mcp`."""

    def __init__(self, desk: Desk, door: Door, sites: Sites, run: Run) -> None:
        self._desk = desk
        self._run = run
        self._door = door
        self._sites = sites

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        foreign = self._sites.foreign(request)
        if foreign is not None:
            refusal = problem(foreign[0], foreign[1], SiteForeign.code, {})
        else:
            try:
                caller = let_in(self._door, request, Act.VIEW)
                # It takes a second the first time, in which others are answered.
                await asyncio.to_thread(import_module, "rexecop.service.mcp.server")
            except (CallerUnknown, Forbidden) as error:
                refusal = turned_away(error)
            except ModuleNotFoundError as error:
                if error.name is None or error.name.split(".")[0] not in (_SDK, "mcp_types"):
                    raise
                refusal = problem(503, "the extra `mcp` is not installed", ExtraMissing.code, {})
            except RexecopError as error:
                refusal = problem(503, error.message, error.code, {})
            else:
                await self._talk(caller, scope, receive, send)
                return
        await refusal(scope, receive, send)

    async def _talk(self, caller: Caller, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one message of `caller`; once they are gone, nothing is waited for any more."""
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

        from rexecop.service.mcp.server import server_of

        manager = StreamableHTTPSessionManager(
            server_of(self._desk, caller, run=self._run),
            json_response=True,
            stateless=True,
            max_request_body_size=BODY_BYTES_MAX,
        )
        heard = asyncio.Event()

        async def listen() -> Message:
            message = await receive()
            if not message.get("more_body", False):
                heard.set()
            return message

        async def leave_with_caller() -> None:
            await heard.wait()
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        async with manager.run(), anyio.create_task_group() as group:
            group.start_soon(leave_with_caller)
            await manager.handle_request(scope, listen, send)
            group.cancel_scope.cancel()


def routes(
    instance: Instance,
    door: Door,
    sites: Sites,
    *,
    run: Run = here,
    wait_seconds: int = WAIT_SECONDS,
) -> list[Route]:
    """Return the route of the protocol over `instance`, for whom `door` lets in; `run` does the work."""
    endpoint = McpEndpoint(Desk(instance, door, wait_seconds=wait_seconds), door, sites, run)
    # No stream without a request, and no session to end: neither GET nor DELETE.
    return [Route(PATH, endpoint, methods=["POST"])]
