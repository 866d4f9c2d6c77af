"""The HTTP lane beside the floor: the same requests by the bare library, in the same run."""

import asyncio
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import aiohttp

from rexecop.lanes.http import HttpLane
from rexecop.lanes.port import LaneResult
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.vocabulary import Effect, Ended, Isolation

ABREAST: Final = 32
EACH: Final = 150
ROUNDS: Final = 3  # Alternating, so that a busy moment of the machine falls on both.
BODY: Final = b'{"state":"running","since":"2026-11-27T06:00:00Z"}'
ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
)
LIMITS: Final = Limits(timeout_ms=10_000, output_bytes=4_096)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFigures:
    """Calls per second with `ABREAST` at a time in one process; the median of one alone, milliseconds."""

    bare: float
    lane: float
    bare_ms: float
    lane_ms: float


class _Answers(asyncio.Protocol):
    """The least a server can do, so that the client is what is measured."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


def _serve(told: Connection) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(_Answers, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())


def measure_http() -> HttpFigures:
    """Make the same calls bare and through the lane, in turn."""
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        return asyncio.run(_measured(here.recv()))
    finally:
        server.terminate()
        server.join()


async def _measured(port: int) -> HttpFigures:
    lane = HttpLane(secrets=NO_SECRETS)
    call = Call(
        target="local",
        connector="bench",
        action="look",
        effect=Effect.READ,
        request=ExchangeRequest(
            protocol="http/1",
            message={
                "method": "GET",
                "origin": {"scheme": "http", "host": "127.0.0.1", "port": port},
                "path": ["hosts", "web-1", "agent"],
                "addresses": {"private": True},
            },
            peers=(f"127.0.0.1:{port}",),
        ),
    )
    url = f"http://127.0.0.1:{port}/hosts/web-1/agent"

    async def through() -> None:
        async for event in lane.open(call, LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None):
            if isinstance(event, LaneResult) and (event.ended is not Ended.OK or event.stdout != BODY):
                raise SystemExit(f"{event.ended}: {event.message}")

    async with aiohttp.ClientSession() as session:

        async def bare() -> None:
            async with session.get(url) as response:
                if await response.read() != BODY:
                    raise SystemExit("the server answered something else")

        rates: dict[Callable[[], Awaitable[None]], list[float]] = {bare: [], through: []}
        for one in rates:
            await _rate(one)
        for _ in range(ROUNDS):
            for one, found in rates.items():
                found.append(await _rate(one))
        figures = HttpFigures(
            bare=max(rates[bare]),
            lane=max(rates[through]),
            bare_ms=await _alone(bare),
            lane_ms=await _alone(through),
        )
    lane.close()
    return figures


async def _rate(one: Callable[[], Awaitable[None]]) -> float:
    async def in_turn() -> None:
        for _ in range(EACH):
            await one()

    started = time.perf_counter()
    await asyncio.gather(*(in_turn() for _ in range(ABREAST)))
    return ABREAST * EACH / (time.perf_counter() - started)


async def _alone(one: Callable[[], Awaitable[None]]) -> float:
    found = []
    for _ in range(200):
        started = time.perf_counter()
        await one()
        found.append((time.perf_counter() - started) * 1000)
    return statistics.median(found)


def main() -> None:
    """Print the figures."""
    figures = measure_http()
    for name, rate, alone in (
        ("bare", figures.bare, figures.bare_ms),
        ("lane", figures.lane, figures.lane_ms),
    ):
        print(
            f"{name}, {ABREAST} abreast {rate:7.0f} calls/s   {rate / figures.bare:4.0%} p50 {alone:.2f} ms"
        )


if __name__ == "__main__":
    main()
