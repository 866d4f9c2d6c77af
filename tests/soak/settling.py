"""Before a round and after its faults: what is planned, and what people do until everything has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rexecop.app.build import init_root, open_instance
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.operations.fold import Operation, fold
from rexecop.operations.machine import TERMINAL
from rexecop.operations.next import probe_of
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Phase, State
from tests.app.support import bob, opened, settings
from tests.soak import profile
from tests.soak.process import MARGIN_MS, PERMIT_SECONDS, SCENE

STILL_SECONDS_MAX: Final = 60  # Where nothing was recorded for so long, nothing moves any more.
LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """One operation of a round; `mark` names it in the effects, `late` ones wait for their approval."""

    mark: str
    intent: str
    target: str
    pace: float
    late: bool
    fails: bool


def effects_file() -> Path:
    return SCENE.folder / "effects"


def make_root(storage: str, orders: Sequence[Ordered]) -> int:
    """Make the root of a round, with everything that was ordered in its queue."""
    asyncio.run(_made(storage, orders))
    return 0


async def _made(storage: str, orders: Sequence[Ordered]) -> None:
    folder = SCENE.folder
    (folder / "marks").mkdir()
    effects_file().touch()
    profile.write(folder, effects_file())
    await init_root(
        replace(settings(folder), storage=storage), others=("alice",), approver="bob", hello=False
    )
    with open_instance(settings(folder)) as instance:
        await instance.key_new("alice", "requester", folder / "alice")
    with opened(folder) as instance:
        for one in orders:
            await _planned(folder, instance, one)


async def _planned(folder: Path, instance: Instance, one: Ordered) -> None:
    if one.fails:
        (folder / f"effects.{one.mark}").touch()
    asked = PlanInput(
        profile=str(folder / "soak"),
        env=str(folder / "soak.environment.yaml"),
        intent=one.intent,
        target=one.target,
        mode="apply" if one.intent in profile.CHANGES else "read_only",
        parameters={"mark": one.mark, "pace": f"{one.pace:.3f}"},
    )
    operation = (await instance.plan(asked)).operation_id
    (folder / "marks" / one.mark).write_text(operation)
    if one.intent in profile.CHANGES and not one.late:
        await instance.approve(operation, key=bob(folder))
    instance.enqueue(operation)


def all_operations() -> dict[str, str]:
    """Return the operation behind each mark."""
    return {one.name: one.read_text() for one in sorted((SCENE.folder / "marks").iterdir())}


def stands(mark: str, action: str, target: str) -> bool:
    """Return what somebody sees who looks whether a change stands."""
    lines = effects_file().read_text().splitlines()
    said = f"{mark} {action} {target}"
    return lines.count(f"{said} do") > lines.count(f"{said} undo")


def settle() -> int:
    """Do what people do, beside a worker that is well, until all has ended; 1 where something is stuck."""
    for one in SCENE.folder.glob("effects.*"):
        one.unlink()  # What made calls fail is mended.
    chosen = replace(settings(SCENE.folder), permit_seconds=PERMIT_SECONDS, reconcile_margin_ms=MARGIN_MS)
    with open_instance(chosen) as instance:
        return asyncio.run(_settle(instance))


async def _settle(instance: Instance) -> int:
    moved, size, refused = time.monotonic(), 0, dict[str, str]()
    retried: set[str] = set()
    while True:
        left: dict[str, Operation] = {}
        for mark, operation in all_operations().items():
            op = fold(instance.parts.ledger.journal(operation).records)
            if op.state in TERMINAL and not op.receipt_due and not _retries(op, operation, retried):
                continue
            left[operation] = op
            try:
                await _help(instance, mark, operation, op, retried)
            except RexecopError as error:
                refused[operation] = f"{error.code}: {error.message}"
        if not left:
            return 0
        if (now := instance.parts.ledger.counts()["rows"]["records"]) != size:
            moved, size = time.monotonic(), now
        if time.monotonic() > moved + STILL_SECONDS_MAX:
            for operation, op in left.items():
                print(f"stuck: {operation} {op.state} ({op.reason}), refused {refused.get(operation)}")
            return 1
        await asyncio.sleep(LOOK_SECONDS)


def _retries(op: Operation, operation: str, retried: set[str]) -> bool:
    """Return whether somebody tries a failed operation again, which is half of them, and once."""
    due = op.state is State.FAILED and int(operation[-1], 16) % 2 == 0 and not op.undo
    return due and operation not in retried and any(not one.settled for one in op.steps.values())


async def _help(instance: Instance, mark: str, operation: str, op: Operation, retried: set[str]) -> None:
    folder = SCENE.folder
    if op.state is State.FAILED:
        retried.add(operation)
        await instance.retry(operation, "what was broken is mended")
    elif op.state is State.WAITING_FOR_APPROVAL:
        await instance.approve(operation, key=bob(folder))
    elif op.state is State.PAUSED:
        if (awaited := op.awaited) is not None:
            with suppress(RexecopError):  # Somebody may have said it in the course of the round.
                await instance.approve(operation, key=bob(folder), step=awaited.id)
        await instance.resume(operation, "go on")
    elif op.state is State.INDETERMINATE:
        await _tell(instance, mark, operation, op)
    elif op.state is State.APPROVED:
        instance.enqueue(operation)


async def _tell(instance: Instance, mark: str, operation: str, op: Operation) -> None:
    """Say what became of what was lost: by its probe, or as somebody sees it who looks."""
    for progress in op.unknown.values():
        step = progress.step
        if not isinstance(step, CallStep):
            continue
        if probe_of(op, progress) is not None:
            await instance.reconcile(operation, probe=True, happened=None, reason=None, step=step.id)
            return
        there = stands(mark, step.id.partition("@")[0], step.target)
        happened = there if progress.phase is Phase.DO else not there
        await instance.reconcile(operation, probe=False, happened=happened, reason="looked", step=step.id)
        return
