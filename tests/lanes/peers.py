"""Real peers on loopback for tests of the lanes: HTTP servers and raw sockets, in a thread of their own."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from aiohttp import web

from rexecop.lanes.messages.http import Addresses, Auth, HttpMessage, Origin
from rexecop.proof.call import Call, ExchangeRequest
from rexecop.proof.canonical import Json
from rexecop.proof.codec import to_json
from rexecop.proof.vocabulary import Effect

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[object, object, None]]

START_SECONDS: Final = 60.0


class Peers:
    """Servers that run beside the tests until `close`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def http(self, routes: Mapping[str, Handler]) -> int:
        """Serve `routes` (`"GET /path"`); return the port."""
        app = web.Application()
        for route, handler in routes.items():
            method, path = route.split()
            app.router.add_route(method, path, handler)

        async def start() -> int:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            return int(runner.addresses[0][1])

        return self.do(start())

    def raw(self, talk: Talk) -> int:
        """Serve raw connections on TCP by `talk`; return the port."""
        return self.do(self._serve(talk, host="127.0.0.1", port=0))

    def unix(self, path: Path, talk: Talk) -> str:
        """Serve raw connections on a Unix socket by `talk`; return its path."""

        async def start() -> None:
            await asyncio.start_unix_server(_quietly(talk), str(path))

        self.do(start())
        return str(path)

    def do(self, work: Coroutine[object, object, int | None]) -> int:
        """Run `work` in the loop of the servers."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_SECONDS) or 0

    def close(self) -> None:
        """End the servers with what they still do."""

        async def end() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    async def _serve(self, talk: Talk, *, host: str, port: int) -> int:
        server = await asyncio.start_server(_quietly(talk), host, port)
        return int(server.sockets[0].getsockname()[1])


def _quietly(talk: Talk) -> Talk:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    return serve


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def endpoint(
    port: int,
    path: str,
    query: Mapping[str, str] | None = None,
    *,
    headers: Mapping[str, str] | None = None,
    auth: Auth | None = None,
    method: str = "GET",
) -> HttpMessage:
    """A resource on loopback, which is a private address."""
    return HttpMessage(
        method=method,
        origin=Origin(scheme="http", host="127.0.0.1", port=port),
        path=tuple(path.strip("/").split("/")),
        query=None if query is None else {name: (value,) for name, value in query.items()},
        headers=headers,
        auth=auth,
        addresses=Addresses(private=True),
    )


def exchange(protocol: str, message: object, *, effect: Effect = Effect.READ) -> Call:
    """A call that exchanges `message` with the peer that its `http` names."""
    where = getattr(message, "http", None)
    peers = () if where is None else (where.origin.peer,)
    request = ExchangeRequest(protocol=protocol, message=to_json(message), peers=peers)
    return Call(target="db-1", connector="remote", action="look", effect=effect, request=request)


def with_message(call: Call, **changes: Json) -> Call:
    """`call` with other members of its message."""
    assert isinstance(call.request, ExchangeRequest)
    message = {**call.request.message, **changes}
    request = replace(call.request, message=message)
    return replace(call, request=request)
