"""The guest lane beside its floor: the same program through the process lane here, in the same run.

A guest runs it through that very lane, so what is more is the bridge: connecting, attaching,
frames, and the connection's end.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rexecop.lanes.guest import GuestLane
from rexecop.lanes.port import Lane, LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.lanes.bridges import GRANT, guest_call, program, token_of
from tests.lanes.support import secrets_of

ROUNDS: Final = 60
ABREAST: Final = 8
PROGRAM: Final = "/bin/true"
LIMITS: Final = Limits(timeout_ms=10_000, output_bytes=4_096)


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeFigures:
    """Medians of one call in milliseconds, and calls per second with `ABREAST` at a time."""

    local_ms: float
    bridge_ms: float
    local_per_second: float
    bridge_per_second: float


def measure_bridge(bridge: Lane, asked: Call) -> BridgeFigures:
    """Run the program here and over the bridge by turns, then abreast."""
    local = ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=NO_SECRETS, hidden=())
    request = ProcessRequest(argv=(PROGRAM,))
    here = Call(target="local", connector="bench", action="run", effect=Effect.READ, request=request)

    async def both() -> BridgeFigures:
        locally: list[float] = []
        over: list[float] = []
        for _ in range(ROUNDS):
            locally.append(await _call(local, here, Isolation.NONE))
            over.append(await _call(bridge, asked, Isolation.NOT_APPLICABLE))
        return BridgeFigures(
            local_ms=statistics.median(locally),
            bridge_ms=statistics.median(over),
            local_per_second=await _rate(local, here, Isolation.NONE),
            bridge_per_second=await _rate(bridge, asked, Isolation.NOT_APPLICABLE),
        )

    try:
        return asyncio.run(both())
    finally:
        local.close()


async def _call(lane: Lane, call: Call, isolation: Isolation) -> float:
    started = time.perf_counter()
    async for event in lane.open(call, LIMITS, isolation, 1, lambda: None):
        if isinstance(event, LaneResult) and event.ended is not Ended.OK:
            raise SystemExit(f"{lane.name}: {event.message}")
    return (time.perf_counter() - started) * 1000


async def _rate(lane: Lane, call: Call, isolation: Isolation) -> float:
    async def in_turn() -> None:
        for _ in range(ROUNDS // ABREAST):
            await _call(lane, call, isolation)

    started = time.perf_counter()
    await asyncio.gather(*(in_turn() for _ in range(ABREAST)))
    return ABREAST * (ROUNDS // ABREAST) / (time.perf_counter() - started)


def show(name: str, figures: BridgeFigures) -> None:
    """Print `figures` of the lane `name`."""
    over = figures.bridge_ms - figures.local_ms
    ratio = figures.bridge_ms / figures.local_ms
    print(f"process lane here          p50 {figures.local_ms:6.2f} ms")
    print(f"{name:<26} p50 {figures.bridge_ms:6.2f} ms  {ratio:4.1f}×  +{over:.2f} ms")
    print(f"process lane here, {ABREAST} abreast {figures.local_per_second:6.0f} calls/s")
    print(f"{name + f', {ABREAST} abreast':<28} {figures.bridge_per_second:6.0f} calls/s")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        path, grants = Path(folder) / "guest.sock", Path(folder) / "grants.json"
        lane = GuestLane(secrets_of(**{GRANT: token_of(grants).encode()}))
        place: dict[str, Json] = {"socket": str(path)}
        with program("guest", "--socket", str(path), "--grants", str(grants), ready="listening"):
            show("guest over a socket", measure_bridge(lane, guest_call(place, PROGRAM)))


if __name__ == "__main__":
    main()
