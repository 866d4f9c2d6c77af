"""Workers in processes of their own, on a ledger of `tests.sim`, whose leases and permits are short.

`python -m tests.app.worker_process FOLDER ENGINE STORAGE NAME...` makes one for each name, of the engine
`embedded`, or `dbos` of version 1 or `dbos:VERSION`; with `@elsewhere` after it, it is one of a machine of
its own, with leases of an hour. It says which process it is in NAME.pid, works from
when the file NAME is there until SIGTERM, and how it ended lies in NAME.status. One whose file says a
number kills itself just before its so-manieth append.

What a call does is a line in the file `effects` of the folder. While `hold-STEP` lies there, the calls
of that step wait just before they act, while `stay-STEP` does just after; each that waits says so in
`waits-STEP`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.lifecycle import Lifecycle
from rexecop.app.telling import Telling
from rexecop.app.worker import Worker, serve
from rexecop.engines import driver, runner
from rexecop.engines.driver import Driver
from rexecop.engines.runner import runner_id
from rexecop.engines.world import Authority, World
from rexecop.lanes.port import Clearance, LaneEvent, LaneResult
from rexecop.lanes.simulated import SIMULATED
from rexecop.operations.fold import fold
from rexecop.operations.ports import Appended, Batch
from rexecop.proof.call import Call, Limits, ScriptedRequest
from rexecop.proof.vocabulary import Effect, Ended, Isolation, Phase
from rexecop.store.ledger import LedgerStore
from rexecop.store.postgres import PostgresStore
from rexecop.store.sqlite import SqliteStore
from tests.sim.world import CONTENTS, SIGNER, FakeAuthority, ScriptLane
from tests.store import servers

MARGIN: Final = timedelta(0)


class FileLane(ScriptLane):
    """Acts on a file, so that several processes see what happened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        assert isinstance(call.request, ScriptedRequest)
        told = call.request.arguments
        effect, phase = f"{told['operation']} {told['step']}\n", Phase(str(told["phase"]))
        if phase is not Phase.PROBE:
            await self._wait("hold", str(told["step"]))
        clearance()
        effects = self._folder / "effects"
        stands = effects.exists() and effect in effects.read_text()
        if call.effect is not Effect.READ:
            with effects.open("a") as file:
                file.write(effect)
            await self._wait("stay", str(told["step"]))
        text = b"yes\n" if stands else b"no\n"
        yield LaneResult(
            ended=Ended.OK, duration_ms=3, measured=SIMULATED, stdout=text, stdout_bytes=len(text)
        )

    async def _wait(self, how: str, step: str) -> None:
        while (self._folder / f"{how}-{step}").exists():
            (self._folder / f"waits-{step}").touch()
            await asyncio.sleep(0.01)


def in_hand(store: LedgerStore, folder: Path, authority: Authority | None = None, capacity: int = 10) -> Any:  # noqa: ANN401 - stands for an instance
    """Return what a worker needs of an instance."""
    world = World(
        store=store,
        lanes={ScriptedRequest.kind: FileLane(folder)},
        authority=authority or FakeAuthority(lambda: ()),
        contents=CONTENTS,
        clock=SystemClock(),
        ids=SystemIds(),
        signing=lambda: SIGNER,
        runner=runner_id(),
        permit_seconds=1,
        sound=lambda: None,
        capacity=capacity,
    )
    telling = Telling(world, SimpleNamespace(watches=lambda intent: ()))  # type: ignore[arg-type]
    lifecycle = Lifecycle(world, Driver(world), MARGIN)
    parts = SimpleNamespace(world=world, lifecycle=lifecycle, ledger=store, telling=telling)
    return SimpleNamespace(
        parts=parts,
        settings=SimpleNamespace(root=folder / "root"),  # Where no schedules are.
        operation=lambda name: fold(store.journal(name).records),
    )


def opened(folder: Path, storage: str) -> LedgerStore:
    """Open the ledger: in `folder` where `storage` is `sqlite`, else in PostgreSQL."""
    if storage == "sqlite":
        return SqliteStore.open(folder / "ledger.sqlite")
    return PostgresStore.open(servers.server(storage))


def employed(instance: Any, engine: str, **more: Any) -> Worker:  # noqa: ANN401 - stands for an instance
    """Return a worker of `engine`."""
    if engine == "embedded":
        return Worker(instance, **more)
    from rexecop.app.fleet import FleetWorker
    from rexecop.engines.dbos import Dispatcher

    world = instance.parts.world
    version = engine.partition(":")[2] or "1"
    dispatcher = Dispatcher(instance.parts.ledger.server, world.runner, world.capacity, version=version)
    return FleetWorker(instance, dispatcher=dispatcher, **more)


def dies_at(store: LedgerStore, count: int) -> None:
    """Let this process kill itself just before it appends to `store` for the `count`th time."""
    append, left = store.append, iter(range(count - 1))

    async def appending(batch: Batch) -> Appended:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return await append(batch)

    store.append = appending  # type: ignore[method-assign]


def work(folder: Path, engine: str, storage: str, name: str) -> None:
    """Be a worker once the file `name` is there."""
    while not (folder / name).exists():
        time.sleep(0.01)
    engine, _, elsewhere = engine.partition("@")
    if elsewhere:
        runner.boot_id = lambda: f"{elsewhere}-{name}"
    driver.LEASE = timedelta(hours=1) if elsewhere else timedelta(seconds=0.6)  # type: ignore[misc]
    driver.RENEW_SECONDS = 0.2  # type: ignore[misc]
    with opened(folder, storage) as store:
        if told := (folder / name).read_text():
            dies_at(store, int(told))
        asyncio.run(serve(employed(in_hand(store, folder), engine, poll_seconds=0.1)))


def main(folder: Path, engine: str, storage: str, names: list[str]) -> None:
    """Fork a process for each name, once everything is loaded."""
    if engine != "embedded":
        import rexecop.engines.dbos  # noqa: F401
    processes: dict[int, str] = {}
    for name in names:
        kind, _, plain = name.rpartition("=")
        process = os.fork()
        if process == 0:
            work(folder, kind or engine, storage, plain)
            sys.exit(0)
        processes[process] = plain
        said(folder, plain, "pid", process)
    for _ in names:
        process, status = os.wait()
        said(folder, processes[process], "status", status)


def said(folder: Path, name: str, what: str, value: int) -> None:
    part = folder / f"{name}.part"
    part.write_text(str(value))
    part.rename(folder / f"{name}.{what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
