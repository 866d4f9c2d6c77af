"""One operation over many targets: one by one and 32 at a time, beside a floor of the same run; its memory.

The floor commits twice for each call, flushed, with bare SQLite: the attempt before it, and what
came of it. Calls are scripted, so nothing but the engine takes time.
"""

from __future__ import annotations

import asyncio
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw

from rexecop.app.build import init_root, open_instance
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import load_settings

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
TARGETS: Final = 96  # Of four steps each: nearly what one plan holds.
STEPS: Final = 4
AT_ONCE: Final = 32
_WAVES: Final = (
    "waves: {canary: 1, size: 2, max_parallel: 2, stop_after: 25%, check: check_health, on_stop: undo}"
)


def _floor(folder: Path) -> float:
    """Return calls per second of bare SQLite: two flushed inserts for each."""
    connection = apsw.Connection(str(folder / "floor.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t(x BLOB)")
    started = time.perf_counter()
    for _ in range(2 * TARGETS * STEPS):
        connection.execute("INSERT INTO t VALUES(?)", (bytes(800),))
    return TARGETS * STEPS / (time.perf_counter() - started)


def _profile(folder: Path, waves: str) -> Path:
    for file in (EXAMPLES / "profiles/fleet").rglob("*.yaml"):
        written = folder / file.relative_to(EXAMPLES / "profiles/fleet")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(
            file.read_text(encoding="utf-8").replace(_WAVES, f"waves: {waves}"), encoding="utf-8"
        )
    return folder / "profile.yaml"


async def _run(instance: Instance, profile: Path, environment: Path) -> float:
    """Return calls per second."""
    view = await instance.plan(
        PlanInput(
            profile=str(profile),
            env=str(environment),
            intent="upgrade",
            target="web",
            mode="apply",
            parameters={"version": "1.5"},
            channel="bench",
        )
    )
    started = time.perf_counter()
    view = await instance.start(view.operation_id)
    if view.state != "completed":
        raise SystemExit(f"an operation of the benchmark ended {view.state}")
    return TARGETS * STEPS / (time.perf_counter() - started)


async def _measure(folder: Path) -> None:
    settings = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    await init_root(replace(settings, quiet=True))
    hosts = ", ".join(f"host{number}" for number in range(TARGETS))
    text = (EXAMPLES / "environments/fleet.example.yaml").read_text(encoding="utf-8")
    environment = folder / "fleet.yaml"
    environment.write_text(text.replace("web1, web2, web3, web4, web5", hosts), encoding="utf-8")
    narrow = _profile(folder / "narrow", "{max_parallel: 1}")
    wide = _profile(folder / "wide", f"{{max_parallel: {AT_ONCE}, size: 100%, check: check_health}}")
    floor = _floor(folder)
    with open_instance(settings, {}) as instance:
        rates = [await _run(instance, profile, environment) for profile in (narrow, wide)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"one operation of {TARGETS} targets and {STEPS} steps each, apply, synchronous=FULL")
    print(f"  floor: two bare commits a call {floor:8.0f} calls/s   ratio")
    print(f"  one target at a time           {rates[0]:8.0f} calls/s   {rates[0] / floor:6.2f}")
    print(f"  {AT_ONCE} targets at a time          {rates[1]:8.0f} calls/s   {rates[1] / floor:6.2f}")
    print(f"  memory at most                 {memory:8.0f} MB")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder)))


if __name__ == "__main__":
    main()
