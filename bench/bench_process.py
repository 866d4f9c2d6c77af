"""The process lane beside the floor: the same program started bare, in the same run.

Also how much memory a flood of output takes, and how fast a whole tree is gone once its
call is cancelled and its grace over.
"""

import asyncio
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from rexecop.lanes.port import LaneResult
from rexecop.lanes.probe import grades_of, measure_isolation
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.vocabulary import Effect, Ended, Isolation

ROUNDS: Final = 200
CANCELLED: Final = 60
ABREAST: Final = 8
PROGRAM: Final = "/bin/true"
GIBIBYTE: Final = 1 << 30
BUBBLEWRAP: Final = (
    "bwrap",
    "--unshare-all",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    PROGRAM,
)
FLOOD: Final = ("/usr/bin/head", "-c", str(GIBIBYTE), "/dev/zero")
# A child, one in a session of its own and one orphaned, none of which listens to a polite signal.
TREE: Final = (
    "trap '' TERM; sleep 60 & setsid sleep 60 & "
    "(setsid sh -c \"trap '' TERM; sleep 60 & wait\" &); echo; wait"
)
LIMITS: Final = Limits(timeout_ms=120_000, output_bytes=4_096, grace_ms=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFigures:
    """Medians in milliseconds, and calls per second with `ABREAST` at a time without isolation."""

    bare_ms: float
    bubblewrap_ms: float
    lane_ms: Mapping[Isolation, float]
    calls_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodFigures:
    """How long one gibibyte took, bare and through the lane, and the most memory it added."""

    bare_ms: float
    lane_ms: float
    added_bytes: int


def call_of(*argv: str) -> Call:
    """A read that runs `argv`."""
    request = ProcessRequest(argv=argv)
    return Call(target="local", connector="bench", action="run", effect=Effect.READ, request=request)


def measure_process() -> ProcessFigures:
    """Start the program bare and through the lane in every class that is reached here, by turns."""
    lane = ProcessLane(isolation=grades_of(measure_isolation()), secrets=NO_SECRETS, hidden=())
    try:
        bare, wrapped, medians, rate = asyncio.run(_through(lane))
    finally:
        lane.close()
    return ProcessFigures(bare_ms=bare, bubblewrap_ms=wrapped, lane_ms=medians, calls_per_second=rate)


def _bare(*argv: str) -> float:
    started = time.perf_counter()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while process.stdout.read1(1 << 16):
            pass
    return (time.perf_counter() - started) * 1000


async def _through(lane: ProcessLane) -> tuple[float, float, dict[Isolation, float], float]:
    classes = sorted(lane.capabilities.isolation, key=list(Isolation).index)
    call = call_of(PROGRAM)
    for isolation in classes:
        await _call(lane, call, isolation)
    bare: list[float] = []
    wrapped: list[float] = []
    bubblewrap = Isolation.BUBBLEWRAP in classes
    times: dict[Isolation, list[float]] = {isolation: [] for isolation in classes}
    for _ in range(ROUNDS):
        bare.append(_bare(PROGRAM))
        wrapped.append(_bare(*BUBBLEWRAP) if bubblewrap else 0.0)
        for isolation in classes:
            times[isolation].append(await _call(lane, call, isolation))
    started = time.perf_counter()
    await asyncio.gather(*(_in_turn(lane, call) for _ in range(ABREAST)))
    rate = ABREAST * ROUNDS / (time.perf_counter() - started)
    medians = {name: statistics.median(each) for name, each in times.items()}
    return statistics.median(bare), statistics.median(wrapped), medians, rate


async def _in_turn(lane: ProcessLane, call: Call) -> None:
    for _ in range(ROUNDS):
        await _call(lane, call, Isolation.NONE)


async def _call(lane: ProcessLane, call: Call, isolation: Isolation, limits: Limits = LIMITS) -> float:
    started = time.perf_counter()
    async for event in lane.open(call, limits, isolation, 1, lambda: None):
        if isinstance(event, LaneResult) and event.ended is not Ended.OK:
            raise SystemExit(f"{isolation}: {event.message}")
    return (time.perf_counter() - started) * 1000


def measure_flood() -> FloodFigures:
    """Put out a gibibyte of which the lane keeps one mebibyte."""
    lane = ProcessLane(isolation=grades_of(measure_isolation()), secrets=NO_SECRETS, hidden=())
    limits = replace(LIMITS, output_bytes=1 << 20, raw_output_bytes=2 * GIBIBYTE)
    try:
        asyncio.run(_call(lane, call_of(PROGRAM), Isolation.NONE))
        bare = _bare(*FLOOD)
        before = _peak()
        took = asyncio.run(_call(lane, call_of(*FLOOD), Isolation.NONE, limits))
        return FloodFigures(bare_ms=bare, lane_ms=took, added_bytes=_peak() - before)
    finally:
        lane.close()


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_cancel(isolation: Isolation) -> list[float]:
    """Return, in milliseconds past the grace, how long each cancelled tree took to be gone."""
    lane = ProcessLane(isolation=grades_of(measure_isolation()), secrets=NO_SECRETS, hidden=())

    async def all_of_them() -> list[float]:
        with tempfile.TemporaryDirectory() as folder:
            return [await _cancel(lane, isolation, folder) for _ in range(CANCELLED)]

    try:
        return sorted(asyncio.run(all_of_them()))
    finally:
        lane.close()


async def _cancel(lane: ProcessLane, isolation: Isolation, folder: str) -> float:
    request = ProcessRequest(argv=("/bin/sh", "-c", TREE), cwd=folder)
    call = Call(target="local", connector="bench", action="run", effect=Effect.READ, request=request)
    opened = lane.open(call, LIMITS, isolation, 1, lambda: None)
    async for _ in opened:
        break
    await asyncio.sleep(0.02)
    assert len(_in_folder(folder)) >= 4
    started = time.perf_counter()
    closing = asyncio.ensure_future(opened.aclose())  # type: ignore[attr-defined]
    await asyncio.sleep(LIMITS.grace_ms / 1000)
    while _in_folder(folder):
        await asyncio.sleep(0.001)
    took = (time.perf_counter() - started) * 1000 - LIMITS.grace_ms
    await closing
    return took


def _in_folder(folder: str) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/cwd") == folder:
                    found.append(name)
            except OSError:
                continue
    return found


def main() -> None:
    """Print the figures."""
    if sys.platform != "linux":
        raise SystemExit("needs Linux")
    flood = measure_flood()  # First, because the most memory of a process never shrinks.
    figures = measure_process()
    print(f"bare start                 p50 {figures.bare_ms:6.2f} ms")
    print(f"bare bubblewrap            p50 {figures.bubblewrap_ms:6.2f} ms")
    for isolation, lane_ms in figures.lane_ms.items():
        over = lane_ms - figures.bare_ms
        print(
            f"lane {isolation:<21} p50 {lane_ms:6.2f} ms  {lane_ms / figures.bare_ms:4.1f}×  +{over:.2f} ms"
        )
    print(f"lane none, {ABREAST} abreast           {figures.calls_per_second:6.0f} calls/s")
    ratio, added = flood.lane_ms / flood.bare_ms, flood.added_bytes / 2**20
    print(f"1 GiB put out, bare        {flood.bare_ms:7.0f} ms")
    print(f"1 GiB put out, 1 MiB kept  {flood.lane_ms:7.0f} ms  {ratio:4.1f}×  +{added:.1f} MiB")
    for isolation in (Isolation.NONE, Isolation.BUBBLEWRAP):
        took = measure_cancel(isolation)
        p99 = took[min(len(took) - 1, len(took) * 99 // 100)]
        print(f"gone past grace, {isolation:<10} p50 {statistics.median(took):6.1f} ms  p99 {p99:.1f} ms")


if __name__ == "__main__":
    main()
