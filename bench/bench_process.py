"""The process lane beside the floor: the same program started bare, in the same run."""

import asyncio
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.lanes.port import LaneResult
from rexecop.lanes.probe import grades_of, measure_isolation
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.vocabulary import Effect, Ended, Isolation

ROUNDS: Final = 100
ABREAST: Final = 8
PROGRAM: Final = "/bin/true"
CALL: Final = Call(
    target="local",
    connector="bench",
    action="nothing",
    effect=Effect.READ,
    request=ProcessRequest(argv=(PROGRAM,)),
)
LIMITS: Final = Limits(timeout_ms=10_000, output_bytes=4_096)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """Medians in milliseconds, and calls per second with `ABREAST` at a time without isolation."""

    bare_ms: float
    lane_ms: Mapping[Isolation, float]
    calls_per_second: float


def measure_process() -> ProcessFigures:
    """Start the program bare and through the lane in every class that is reached here."""
    bare = statistics.median(_bare() for _ in range(ROUNDS))
    lane = ProcessLane(isolation=grades_of(measure_isolation()), secrets=NO_SECRETS, hidden=())
    try:
        medians, rate = asyncio.run(_through(lane))
    finally:
        lane.close()
    return ProcessFigures(bare_ms=bare, lane_ms=medians, calls_per_second=rate)


def _bare() -> float:
    started = time.perf_counter()
    subprocess.run([PROGRAM], stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return (time.perf_counter() - started) * 1000


async def _through(lane: ProcessLane) -> tuple[dict[Isolation, float], float]:
    medians: dict[Isolation, float] = {}
    for isolation in sorted(lane.capabilities.isolation):
        await _call(lane, isolation)
        medians[isolation] = statistics.median([await _call(lane, isolation) for _ in range(ROUNDS)])
    started = time.perf_counter()
    await asyncio.gather(*(_in_turn(lane) for _ in range(ABREAST)))
    return medians, ABREAST * ROUNDS / (time.perf_counter() - started)


async def _in_turn(lane: ProcessLane) -> None:
    for _ in range(ROUNDS):
        await _call(lane, Isolation.NONE)


async def _call(lane: ProcessLane, isolation: Isolation) -> float:
    started = time.perf_counter()
    async for event in lane.open(CALL, LIMITS, isolation, 1, lambda: None):
        if isinstance(event, LaneResult) and event.ended is not Ended.OK:
            raise SystemExit(f"{isolation}: {event.message}")
    return (time.perf_counter() - started) * 1000


def main() -> None:
    """Print the figures."""
    figures = measure_process()
    print(f"bare start                 p50 {figures.bare_ms:6.2f} ms")
    for isolation, lane_ms in figures.lane_ms.items():
        over = lane_ms - figures.bare_ms
        print(
            f"lane {isolation:<21} p50 {lane_ms:6.2f} ms  {lane_ms / figures.bare_ms:4.1f}×  +{over:.2f} ms"
        )
    print(f"lane none, {ABREAST} abreast           {figures.calls_per_second:6.0f} calls/s")


if __name__ == "__main__":
    main()
