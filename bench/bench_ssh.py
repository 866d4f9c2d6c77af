"""The SSH lane beside the floor: the same program over bare asyncssh, to the same server, in the same run."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncssh

from rexecop.lanes.port import LaneResult
from rexecop.lanes.ssh import SshLane
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.vocabulary import Effect, Ended, Isolation

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.lanes.sshd import Sshd, sshd
from tests.lanes.support import secrets_of

ROUNDS: Final = 60
CONNECTIONS: Final = 8
PROGRAM: Final = "/bin/true"
LIMITS: Final = Limits(timeout_ms=10_000, output_bytes=4_096)
# Each address is a host of its own, so that each gets a connection of its own.
ADDRESSES: Final = [f"127.0.0.{n + 1}" for n in range(CONNECTIONS)]

Exec = Callable[[int], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshFigures:
    """Programs per second over `CONNECTIONS` reused connections, and the median of one in milliseconds."""

    bare_per_second: float
    plain_per_second: float
    wrapped_per_second: float
    bare_ms: float
    wrapped_ms: float


def measure_ssh() -> SshFigures:
    """Run the program bare, through the lane as a bare command line, and through it as it usually is."""
    with tempfile.TemporaryDirectory() as folder:
        listen = [f"ListenAddress {address}" for address in ADDRESSES[1:]]
        with sshd(Path(folder) / "server", *listen) as server:
            return asyncio.run(_measure(server))


async def _measure(server: Sshd) -> SshFigures:
    connections = [await _connect(server, address) for address in ADDRESSES]
    lane = SshLane(secrets=secrets_of(key=server.key.read_bytes()))

    async def bare(n: int) -> None:
        ended = await connections[n].run(PROGRAM, encoding=None, stdin=asyncssh.DEVNULL)
        if ended.exit_status != 0:
            raise SystemExit(f"bare: {ended.exit_status}")

    def through(wrapped: bool) -> Exec:
        calls = [_call(server, address, wrapped) for address in ADDRESSES]

        async def one(n: int) -> None:
            async for event in lane.open(calls[n], LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None):
                if isinstance(event, LaneResult) and event.ended is not Ended.OK:
                    raise SystemExit(f"lane: {event.message}")

        return one

    figures = SshFigures(
        bare_per_second=await _rate(bare),
        plain_per_second=await _rate(through(False)),
        wrapped_per_second=await _rate(through(True)),
        bare_ms=await _median(bare),
        wrapped_ms=await _median(through(True)),
    )
    lane.close()
    for connection in connections:
        connection.close()
    return figures


async def _connect(server: Sshd, address: str) -> asyncssh.SSHClientConnection:
    known = ([asyncssh.import_public_key(server.host_key)], [], [])
    return await asyncssh.connect(
        address,
        server.port,
        config=None,
        username=server.user,
        client_keys=[str(server.key)],
        agent_path=None,
        known_hosts=known,
    )


def _call(server: Sshd, address: str, wrapped: bool) -> Call:
    host = {
        "host": address,
        "port": server.port,
        "user": server.user,
        "host_keys": [server.host_key],
        "identity": {"secret": "key"},
    }
    return Call(
        target="bench",
        connector="bench",
        action="nothing",
        effect=Effect.READ,
        request=ExchangeRequest(
            protocol="ssh/1",
            message={"route": [host], "command": {"argv": [PROGRAM], "wrapped": wrapped}},
            peers=(f"{address}:{server.port}",),
        ),
    )


async def _rate(one: Exec) -> float:
    """Return how often `one` is done per second over all connections, each taking one at a time."""

    async def in_turn(n: int) -> None:
        for _ in range(ROUNDS):
            await one(n)

    await asyncio.gather(*map(one, range(CONNECTIONS)))
    started = time.perf_counter()
    await asyncio.gather(*map(in_turn, range(CONNECTIONS)))
    return CONNECTIONS * ROUNDS / (time.perf_counter() - started)


async def _median(one: Exec) -> float:
    taken = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        await one(0)
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


def main() -> None:
    found = measure_ssh()
    floor = found.bare_per_second
    print(f"{CONNECTIONS} reused connections, {PROGRAM}, one at a time on each")
    print(f"floor, bare asyncssh: {floor:.0f}/s, {found.bare_ms:.1f} ms one alone")
    print(
        f"lane, bare command line: {found.plain_per_second:.0f}/s, {found.plain_per_second / floor:.2f} of it"
    )
    print(
        f"lane, wrapped: {found.wrapped_per_second:.0f}/s, {found.wrapped_per_second / floor:.2f} of it, "
        f"{found.wrapped_ms:.1f} ms one alone"
    )


if __name__ == "__main__":
    main()
