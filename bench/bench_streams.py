"""The stream lanes beside the floor: the same stream read by bare aiohttp, in the same run."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import ClientSession, WSMsgType, web

from rexecop.lanes.messages.http import Addresses, HttpMessage, Origin
from rexecop.lanes.messages.streams import Bounds, SseMessage, Stop, WebSocketMessage
from rexecop.lanes.port import Chunk, Lane, LaneResult
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.sse import SseLane
from rexecop.lanes.websocket import WebSocketLane
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.codec import to_json
from rexecop.proof.vocabulary import Effect, Ended, Isolation

EVENTS: Final = 50_000
AT_ONCE: Final = 50  # Events the server writes before it lets the loop go on.
TEXT: Final = '{"unit": "agent.service", "state": "running", "restarts": 3}'
LIMITS: Final = Limits(timeout_ms=120_000, output_bytes=64 * 1024)
BOUNDS: Final = Bounds(total_bytes=1 << 30)
ROUNDS: Final = 3


def measure_streams() -> Mapping[str, tuple[float, float]]:
    """Return events per second by protocol: bare, and through the lane."""
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        try:
            return asyncio.run(_both(port))
        finally:
            server.terminate()


async def _both(port: int) -> dict[str, tuple[float, float]]:
    http = HttpMessage(
        method="GET",
        origin=Origin(scheme="http", host="127.0.0.1", port=port),
        path=("stream",),
        addresses=Addresses(private=True),
    )
    stop = Stop(count=EVENTS)
    sse = SseMessage(http=http, stop=stop, bounds=BOUNDS)
    socket = WebSocketMessage(http=http, stop=stop, bounds=BOUNDS)
    return {
        "sse": (
            await _best(lambda: _bare_sse(port)),
            await _best(lambda: _through(SseLane(secrets=NO_SECRETS), _call("sse/1", sse))),
        ),
        "websocket": (
            await _best(lambda: _bare_websocket(port)),
            await _best(lambda: _through(WebSocketLane(secrets=NO_SECRETS), _call("websocket/1", socket))),
        ),
    }


async def _best(once: Callable[[], Awaitable[int]]) -> float:
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        if await once() != EVENTS:
            raise SystemExit("not every event came")
        rates.append(EVENTS / (time.perf_counter() - started))
    return max(rates)


async def _bare_sse(port: int) -> int:
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{port}/stream") as response:
        return sum([data.count(b"\n") async for data in response.content.iter_any()]) // 2


async def _bare_websocket(port: int) -> int:
    async with ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/stream") as socket:
        return sum([message.type is WSMsgType.TEXT async for message in socket])


async def _through(lane: Lane, call: Call) -> int:
    chunks = 0
    async for event in lane.open(call, LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None):
        chunks += isinstance(event, Chunk)
        if isinstance(event, LaneResult):
            if event.ended is not Ended.OK or not chunks:
                raise SystemExit(event.message)
            return int(str((event.data or {})["events"]))
    raise SystemExit("the lane ended without a result")


def _call(protocol: str, message: SseMessage | WebSocketMessage) -> Call:
    peers = (message.http.origin.peer,)
    request = ExchangeRequest(protocol=protocol, message=to_json(message), peers=peers)
    return Call(target="local", connector="bench", action="listen", effect=Effect.READ, request=request)


async def _serve(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Upgrade"):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for _ in range(EVENTS):
            await socket.send_str(TEXT)
        await socket.close()
        return socket
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for _ in range(EVENTS // AT_ONCE):
        await response.write(f"data: {TEXT}\n\n".encode() * AT_ONCE)
    return response


async def _server() -> None:
    app = web.Application()
    app.router.add_get("/stream", _serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Print the figures."""
    for name, (bare, lane) in measure_streams().items():
        print(
            f"{name:<10} bare aiohttp {bare:9,.0f} events/s  lane {lane:8,.0f} events/s   {lane / bare:4.2f}×"
        )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(_server())
    else:
        main()
