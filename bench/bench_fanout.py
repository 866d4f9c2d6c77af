"""One operation over many targets: 96 one by one and 32 at a time, 10,000 at 32 at a time, beside a floor.

The floor commits twice for each call, flushed, with bare SQLite: the attempt before it, and what
came of it. Calls are scripted, so nothing but the engine takes time. Each size is a process of its own,
so that the memory is its own: planning, approving by policy, running and exporting. A last process
verifies the exported bundle. `python bench/bench_fanout.py TARGETS` measures another size beside 96.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import apsw

from rexecop.app.build import init_root, open_instance
from rexecop.app.evidence import Asked
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings, load_settings
from rexecop.proof.records.attempt import Attempt

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
TARGETS: Final = 96
MANY: Final = 10_000
STEPS: Final = 4
AT_ONCE: Final = 32
FLOOR_CALLS: Final = 384
_WAVES: Final = (
    "waves: {canary: 1, size: 2, max_parallel: 2, stop_after: 25%, check: check_health, on_stop: undo}"
)
_NARROW: Final = "{max_parallel: 1}"
_WIDE: Final = f"{{max_parallel: {AT_ONCE}, size: 100%, check: check_health}}"


def _floor(folder: Path) -> float:
    """Return calls per second of bare SQLite: two flushed inserts for each."""
    connection = apsw.Connection(str(folder / "floor.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t(x BLOB)")
    started = time.perf_counter()
    for _ in range(2 * FLOOR_CALLS):
        connection.execute("INSERT INTO t VALUES(?)", (bytes(800),))
    return FLOOR_CALLS / (time.perf_counter() - started)


def _profile(folder: Path, waves: str) -> Path:
    for file in (EXAMPLES / "profiles/fleet").rglob("*.yaml"):
        written = folder / file.relative_to(EXAMPLES / "profiles/fleet")
        written.parent.mkdir(parents=True, exist_ok=True)
        written.write_text(
            file.read_text(encoding="utf-8").replace(_WAVES, f"waves: {waves}"), encoding="utf-8"
        )
    return folder / "profile.yaml"


def _environment(folder: Path, targets: int) -> Path:
    hosts = ", ".join(f"host{number}" for number in range(targets))
    text = (EXAMPLES / "environments/fleet.example.yaml").read_text(encoding="utf-8")
    written = folder / "fleet.yaml"
    written.write_text(text.replace("web1, web2, web3, web4, web5", hosts), encoding="utf-8")
    return written


def _memory(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that was resident, in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


async def _run(instance: Instance, profile: Path, environment: Path, targets: int) -> str:
    """Print how long one operation took in each part; return its id."""
    begun = time.perf_counter()
    asked = PlanInput(
        profile=str(profile),
        env=str(environment),
        intent="upgrade",
        target="web",
        mode="apply",
        parameters={"version": "1.5"},
        channel="bench",
    )
    view = await instance.plan(asked)
    planned, at = time.perf_counter(), datetime.now(UTC)
    view = await instance.start(view.operation_id)
    took, memory = time.perf_counter() - planned, _memory()
    if view.state != "completed":
        raise SystemExit(f"an operation of the benchmark ended {view.state}: {view.reason}")
    records = (sealed.record for sealed in instance.parts.world.store.journal(view.operation_id).records)
    first = next(record.at for record in records if isinstance(record, Attempt))
    calls = targets * STEPS
    print(
        f"{calls / took:8.0f} calls/s in {took:6.1f} s; planned in {planned - begun:5.1f} s, first call "
        f"{(first - at).total_seconds():5.1f} s after the start, at most {memory:4.0f} MB",
        flush=True,
    )
    return view.operation_id


async def _measure(folder: Path, waves: str, targets: int) -> None:
    settings = _settings(folder)
    await init_root(replace(settings, quiet=True))
    profile, environment = _profile(folder / "profile", waves), _environment(folder, targets)
    with open_instance(settings, {}) as instance:
        operation = await _run(instance, profile, environment, targets)
        instance.export(operation, Asked(path=folder / "bundle"))


def _settings(folder: Path) -> Settings:
    return load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)


def _in_a_process_of_its_own(folder: Path, waves: str, targets: int) -> None:
    folder.mkdir()
    subprocess.run([sys.executable, __file__, str(folder), waves, str(targets)], check=True)


def _verify(folder: Path) -> None:
    root = folder / ".rexecop"
    begun, before = time.perf_counter(), _memory(resource.RUSAGE_CHILDREN)
    words = ("-m", "rexecop", "--root", str(root), "verify", str(folder / "bundle"))
    done = subprocess.run([sys.executable, *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the bundle does not verify: {done.stdout}{done.stderr}")
    memory = _memory(resource.RUSAGE_CHILDREN)
    most = f"at most {memory:.0f} MB" if memory > before else f"less than {before:.0f} MB"
    size = (folder / "bundle").stat().st_size / 1e6
    print(f"  its bundle of {size:.0f} MB verified in {time.perf_counter() - begun:.1f} s, {most}")


def main(targets: int = MANY) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{STEPS} calls on each target, apply, synchronous=FULL; each size in a process of its own")
        print(f"  floor: two bare commits a call {_floor(folder):8.0f} calls/s", flush=True)
        for place, (words, waves, count) in enumerate(
            (
                ("one target at a time", _NARROW, TARGETS),
                (f"{AT_ONCE} targets at a time", _WIDE, TARGETS),
                (f"{AT_ONCE} targets at a time", _WIDE, targets),
            )
        ):
            print(f"  {count} targets, {words:<22}", end="", flush=True)
            _in_a_process_of_its_own(folder / str(place), waves, count)
        _verify(folder / "2")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        asyncio.run(_measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
    else:
        main(*map(int, sys.argv[1:2]))
