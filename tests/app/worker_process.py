"""Workers in processes of their own, on a ledger of `tests.sim`, whose leases and permits are short.

`python -m tests.app.worker_process LEDGER NAME...` makes one for each name. It says which process it is in
NAME.pid, works from when the file NAME is there until SIGTERM, and how it ended lies in NAME.status.

What a call does is a line in the file `effects` beside the ledger. While `hold-STEP` lies there, the calls
of that step wait just before they act, while `stay-STEP` does just after; each that waits says so in
`waits-STEP`.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.lifecycle import Lifecycle
from rexecop.app.worker import Worker, serve
from rexecop.engines import caller, driver
from rexecop.engines.driver import Driver
from rexecop.engines.runner import runner_id
from rexecop.engines.world import World
from rexecop.lanes.port import Clearance, LaneEvent, LaneResult
from rexecop.lanes.simulated import SIMULATED
from rexecop.operations.fold import fold
from rexecop.proof.call import Call, Limits, ScriptedRequest
from rexecop.proof.vocabulary import Effect, Ended, Isolation, Phase
from rexecop.store.sqlite import SqliteStore
from tests.sim.world import CONTENTS, SIGNER, FakeAuthority, ScriptLane

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


def in_hand(store: SqliteStore, folder: Path) -> Any:  # noqa: ANN401 - stands for an instance
    """Return what a worker needs of an instance."""
    world = World(
        store=store,
        lanes={ScriptedRequest.kind: FileLane(folder)},
        authority=FakeAuthority(lambda: ()),
        contents=CONTENTS,
        clock=SystemClock(),
        ids=SystemIds(),
        signing=lambda: SIGNER,
        runner=runner_id(),
        permit_seconds=1,
        sound=lambda: None,
        capacity=10,
    )
    parts = SimpleNamespace(world=world, lifecycle=Lifecycle(world, Driver(world), MARGIN), ledger=store)
    return SimpleNamespace(parts=parts, operation=lambda name: fold(store.journal(name).records))


def work(ledger: Path, name: str) -> None:
    """Be a worker once the file `name` is there."""
    while not (ledger.parent / name).exists():
        time.sleep(0.01)
    driver.LEASE = timedelta(seconds=0.6)  # type: ignore[misc]
    caller.RENEW_SECONDS = 0.2  # type: ignore[misc]
    with SqliteStore.open(ledger) as store:
        asyncio.run(serve(Worker(in_hand(store, ledger.parent), poll_seconds=0.1)))


def main(ledger: Path, names: list[str]) -> None:
    """Fork a process for each name, once everything is loaded."""
    processes: dict[int, str] = {}
    for name in names:
        process = os.fork()
        if process == 0:
            work(ledger, name)
            sys.exit(0)
        processes[process] = name
        said(ledger, name, "pid", process)
    for _ in names:
        process, status = os.wait()
        said(ledger, processes[process], "status", status)


def said(ledger: Path, name: str, what: str, value: int) -> None:
    part = ledger.parent / f"{name}.part"
    part.write_text(str(value))
    part.rename(ledger.parent / f"{name}.{what}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
