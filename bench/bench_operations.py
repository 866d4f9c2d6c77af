"""Two-step read-only operations, durable: one at a time and 32 abreast, beside a floor of the same run.

The floor commits the same bytes in the same number of flushed transactions with bare
SQLite. Every operation is planned, started and validated through the application,
with 10 policies in force and `synchronous=FULL`.
"""

from __future__ import annotations

import asyncio
import os
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

HERE: Final = Path(__file__).parent
OPERATIONS: Final = 600
ABREAST: Final = 32
COMMITS: Final = 4  # Flushed transactions of one operation.
POLICIES: Final = 10
SCRIPTED: Final = "environment.yaml"
PROGRAMS: Final = "environment-process.yaml"  # `true`, twice, through the process lane without isolation.

_PACK: Final = b'id: bench\nversion: "1"\n'
_RULE: Final = """\
@id("rule-{number}")
permit (principal is User, action in Action::"read", resource)
when {{ context.intent == "{intent}" }};
"""


def _request(environment: str) -> PlanInput:
    return PlanInput(
        profile=str(HERE / "profile"),
        env=str(HERE / environment),
        intent="look",
        target="thing",
        mode="read_only",
        channel="bench",
    )


async def _one(instance: Instance, environment: str) -> None:
    view = await instance.plan(_request(environment))
    view = await instance.start(view.operation_id)
    if instance.validate(view.operation_id).verdict != "passed" or view.state != "completed":
        raise SystemExit(f"an operation of the benchmark ended {view.state}")


async def _many(instance: Instance, count: int, abreast: int, environment: str = SCRIPTED) -> float:
    """Return operations per second."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await _one(instance, environment)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(abreast)))
    return count / (time.perf_counter() - started)


def _floor(folder: Path, bytes_per_operation: int) -> float:
    """Return operations per second of bare SQLite: `COMMITS` flushed inserts for each."""
    connection = apsw.Connection(str(folder / "floor.sqlite"))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", "full")
    connection.execute("CREATE TABLE t(x BLOB)")
    row = os.urandom(bytes_per_operation // COMMITS)
    started = time.perf_counter()
    for _ in range(OPERATIONS * COMMITS):
        connection.execute("INSERT INTO t VALUES(?)", (row,))
    rate = OPERATIONS / (time.perf_counter() - started)
    connection.close()
    return rate


async def _measure(folder: Path) -> None:
    settings = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    await init_root(replace(settings, quiet=True))
    pack = settings.root / "policy" / "bench"
    pack.mkdir()
    (pack / "pack.yaml").write_bytes(_PACK)
    rules = (_RULE.format(number=n, intent="look" if n == 0 else f"other-{n}") for n in range(POLICIES - 4))
    (pack / "rules.cedar").write_text("\n".join(rules), encoding="utf-8")
    ledger = settings.root / "ledger.sqlite"
    with open_instance(settings, {}) as instance:
        await _many(instance, 50, 1)
        alone = await _many(instance, OPERATIONS, 1)
        abreast = await _many(instance, OPERATIONS, ABREAST)
        await _many(instance, 20, 1, PROGRAMS)
        programs = await _many(instance, OPERATIONS, ABREAST, PROGRAMS)
    before = ledger.stat().st_size
    with open_instance(settings, {}) as instance:
        await _many(instance, 500, ABREAST)
    grown = (ledger.stat().st_size - before) / 500
    floor = _floor(folder, int(grown))
    print(f"two-step reads, {POLICIES} policies, plan -> start -> validate, synchronous=FULL")
    print(f"  floor: {COMMITS} bare commits each {floor:8.0f} /s")
    print(f"  one at a time              {alone:8.0f} /s   {alone / floor:6.2f} of the floor")
    print(f"  {ABREAST} abreast                 {abreast:8.0f} /s   {abreast / floor:6.2f} of the floor")
    print(f"  process lane, {ABREAST} abreast   {programs:8.0f} /s   {programs / floor:6.2f} of the floor")
    print(f"  disk                       {grown:8.0f} bytes an operation")


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_measure(Path(folder)))


if __name__ == "__main__":
    main()
