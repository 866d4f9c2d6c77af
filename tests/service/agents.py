"""An agent: the official client in a loop of its own, over the standard streams of a process or over HTTP."""

import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias, TypeVar

import httpx2
import mcp_types as types
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client, ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

T = TypeVar("T", bound=types.Result)
Asked: TypeAlias = (
    types.CallToolRequest
    | types.GetTaskRequest
    | types.GetTaskPayloadRequest
    | types.CancelTaskRequest
    | types.ListTasksRequest
)
Connect = Callable[[], AbstractAsyncContextManager[ClientSession | Client]]
SECONDS: Final = 60.0


class Agent:
    """A connected client; `heard` are the notices of progress of its last call."""

    def __init__(self, portal: BlockingPortal, session: ClientSession | Client) -> None:
        self._portal = portal
        self._session = session
        self.heard: list[tuple[float, float | None, str | None]] = []

    def tools(self) -> dict[str, types.Tool]:
        found = self._portal.call(self._session.list_tools)
        return {tool.name: tool for tool in found.tools}

    def call(self, tool: str, /, **arguments: object) -> types.CallToolResult:
        self.heard = []

        async def told(progress: float, total: float | None, message: str | None) -> None:
            self.heard.append((progress, total, message))

        async def call() -> types.CallToolResult:
            return await self._session.call_tool(
                tool, arguments, read_timeout_seconds=SECONDS, progress_callback=told
            )

        found = self._portal.call(call)
        assert isinstance(found, types.CallToolResult)
        return found

    def send(self, request: Asked, kind: type[T]) -> T:
        """Return what is answered to `request`, as a `kind`."""

        async def ask() -> T:
            session = self._session
            assert isinstance(session, ClientSession)
            return await session.send_request(request, kind, request_read_timeout_seconds=SECONDS)

        return self._portal.call(ask)

    def begin(self, tool: str, /, **arguments: object) -> types.Task:
        """Return the task that a call of `tool` is."""
        asked = types.CallToolRequestParams(name=tool, arguments=arguments, task=types.TaskMetadata())
        return self.send(types.CallToolRequest(params=asked), types.CreateTaskResult).task

    def task(self, task: str) -> types.GetTaskResult:
        asked = types.GetTaskRequest(params=types.GetTaskRequestParams(task_id=task))
        return self.send(asked, types.GetTaskResult)

    def result(self, task: str) -> types.CallToolResult:
        asked = types.GetTaskPayloadRequest(params=types.GetTaskPayloadRequestParams(task_id=task))
        return self.send(asked, types.CallToolResult)

    def cancel(self, task: str) -> types.CancelTaskResult:
        asked = types.CancelTaskRequest(params=types.CancelTaskRequestParams(task_id=task))
        return self.send(asked, types.CancelTaskResult)

    def tasks(self, cursor: str | None = None) -> types.ListTasksResult:
        asked = types.ListTasksRequest(params=types.PaginatedRequestParams(cursor=cursor))
        return self.send(asked, types.ListTasksResult)

    def capabilities(self) -> types.ServerCapabilities | None:
        return self._session.server_capabilities

    def told(self, tool: str, /, **arguments: object) -> dict[str, object]:
        """Return the structured answer to a call."""
        found = self.call(tool, **arguments).structured_content
        assert isinstance(found, dict)
        return found


@contextmanager
def agent(connect: Connect) -> Iterator[Agent]:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(connect()) as session:
        yield Agent(portal, session)


def over_stdio(*words: str, folder: Path, **variables: str) -> Connect:
    """Return what connects to `rexecop` with `words`, as clients did until 2026."""
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["-m", "rexecop", *words],
        env={**os.environ, **variables},
        cwd=str(folder),
    )

    @asynccontextmanager
    async def connect() -> AsyncIterator[ClientSession]:
        async with stdio_client(parameters) as (read, write), ClientSession(read, write) as session:
            await session.initialize()
            yield session

    return connect


def over_http(url: str, token: str) -> Connect:
    """Return what connects to the service at `url` with `token`, in the newest version of the protocol."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[Client]:
        headers = {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
            Client(streamable_http_client(url, http_client=http)) as session,
        ):
            yield session

    return connect


def over_http_before(url: str, token: str) -> Connect:
    """Return what connects to the service at `url` with `token`, as clients did until 2026."""

    @asynccontextmanager
    async def connect() -> AsyncIterator[ClientSession]:
        headers = {"authorization": f"Bearer {token}"}
        async with (
            httpx2.AsyncClient(headers=headers, timeout=SECONDS) as http,
            streamable_http_client(url, http_client=http) as (read, write, *_),
            ClientSession(read, write) as session,
        ):
            await session.initialize()
            yield session

    return connect
