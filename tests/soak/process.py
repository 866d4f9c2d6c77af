"""Processes of the campaign: the real command line, with short leases and what its seed drew against it.

They are forked from one that loaded everything and opened nothing, so that a start costs milliseconds.
What they append and call is written down beside the root, by the clock that all of them share.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import apsw

import rexecop.app.queueing
import rexecop.app.worker
from rexecop.app.clock import SystemClock
from rexecop.cli.main import run
from rexecop.engines import driver, runner
from rexecop.lanes.port import Clearance, LaneEvent
from rexecop.lanes.process import ProcessLane
from rexecop.operations.errors import StoreError
from rexecop.operations.ports import Appended, Batch
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.records import Record
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.times import whole_milliseconds
from rexecop.proof.vocabulary import Isolation, Phase
from rexecop.store import connection as connections
from rexecop.store.ledger import LedgerStore
from rexecop.store.sqlite_transactions import SqliteTransactions
from tests.store.faulty import Disk, answer_lost, fail_at

LEASE_SECONDS: Final = 0.8
PERMIT_SECONDS: Final = 1
MARGIN_MS: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What is to become of one process: its death at an append, or the disk under its ledger failing."""

    append: int = 0
    when: str = "before"
    disk: str = ""
    place: int = 0


@dataclass(slots=True)
class Scene:
    """Where a round takes place; every process of it knows this from its birth."""

    folder: Path = Path()

    @property
    def clock(self) -> Path:
        """Holds by how many seconds the clock is wrong."""
        return self.folder / "clock"

    @property
    def appends(self) -> Path:
        return self.folder / "appends.jsonl"

    @property
    def calls(self) -> Path:
        return self.folder / "calls"

    @property
    def broken(self) -> Path:
        return self.folder / "broken"


SCENE: Final = Scene()
_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None)
_FATE: Final[list[Fate]] = [Fate()]
_STORE: Final[list[LedgerStore]] = []


def offset() -> float:
    """Return by how much the clock of this round is wrong now."""
    try:
        return float(SCENE.clock.read_text())
    except (OSError, ValueError):
        return 0.0


def write_line(path: Path, line: str) -> None:
    """Add one line, whole, whoever else writes."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, f"{line}\n".encode())
    finally:
        os.close(handle)


def install(*, elsewhere: bool = False) -> None:
    """Make everything short, and let what happens be seen; the processes that are forked inherit it.

    With `elsewhere` each of them is on a machine of its own as the others see it, with leases as they are.
    """
    again = timedelta(seconds=0.3)
    owns: tuple[tuple[Any, str, object], ...] = (
        (driver, "LEASE", timedelta(seconds=LEASE_SECONDS)),
        (driver, "RENEW_SECONDS", LEASE_SECONDS / 3),
    )
    if elsewhere:
        owns = ((runner, "boot_id", lambda: f"machine-{os.getpid()}"),)
    changes: tuple[tuple[Any, str, object], ...] = (
        *owns,
        (rexecop.app.queueing, "AGAIN", again),
        (rexecop.app.queueing, "AGAIN_MAX", 4 * again),
        (rexecop.app.worker, "AGAIN", again),
        (rexecop.app.worker, "AGAIN_MAX", 4 * again),
        (SystemClock, "now", _now),
        (LedgerStore, "append", _appending(LedgerStore.append)),
        (ProcessLane, "open", _opening(ProcessLane.open)),
        (connections, "open_writer", _on_disk(connections.open_writer)),
        (SqliteTransactions, "close", _closing(SqliteTransactions.close)),
    )
    for owner, name, value in changes:
        setattr(owner, name, value)
    os.environ["REXECOP_PERMIT_SECONDS"] = str(PERMIT_SECONDS)
    os.environ["REXECOP_RECONCILE_MARGIN_MS"] = str(MARGIN_MS)


def _now(_: SystemClock) -> datetime:
    return whole_milliseconds(datetime.now(UTC) + timedelta(seconds=offset()))


def _appending(append: Callable[..., Any]) -> Callable[..., Any]:
    async def appending(self: LedgerStore, batch: Batch) -> Appended:
        _STORE[:] = [self]
        fate = _FATE[0]
        _FATE[0] = replace(fate, append=fate.append - 1)
        if fate.append == 1 and fate.when == "before":
            _die()
        appended: Appended = await append(self, batch)
        if batch.records:
            write_line(SCENE.appends, json.dumps(_said(batch)))
        if fate.append == 1 and fate.when == "after":
            _die()
        return appended

    return appending


def _said(batch: Batch) -> dict[str, object]:
    kinds = [type(sealed.record) for sealed in batch.records]
    return {
        "at": time.monotonic(),
        "pid": os.getpid(),
        "operation": batch.operation,
        "begun": kinds.count(Attempt),
        "asks": any(_asks(sealed.record) for sealed in batch.records),
        "ended": kinds.count(Outcome),
        "takes": batch.lease is not None,
        "gives": batch.release,
    }


def _asks(record: Record) -> bool:
    """Return whether only a person can say what became of a lost attempt."""
    if not isinstance(record, Attempt):
        return False
    step = record.permit.step.partition("@")[0]
    return step == "blind" or (record.phase is Phase.UNDO and not step.startswith("probed"))


def _die() -> None:
    write_line(SCENE.folder / "deaths", f"{os.getpid()} {time.monotonic()}")
    os.kill(os.getpid(), signal.SIGKILL)


def _opening(opened: Callable[..., AsyncIterator[LaneEvent]]) -> Callable[..., AsyncIterator[LaneEvent]]:
    async def opening(
        self: ProcessLane,
        call: Call,
        limits: Limits,
        isolation: Isolation,
        attempt: int,
        clearance: Clearance,
    ) -> AsyncIterator[LaneEvent]:
        def cleared() -> None:
            clearance()
            _note_call(call, attempt)

        async for event in opened(self, call, limits, isolation, attempt, cleared):
            yield event

    return opening


def _note_call(call: Call, attempt: int) -> None:
    """Write down a call that is about to act; its attempt must be on disk by now, and without an outcome."""
    if not isinstance(call.request, ProcessRequest) or not str(call.request.argv[0]).endswith("/mark"):
        return  # It measures the machine.
    _, verb, _, mark, *_ = call.request.argv
    write_line(SCENE.calls, f"{mark} {verb} {attempt}")
    operation = operation_of(str(mark).split()[0])
    with suppress(StoreError):  # What cannot be looked at now is counted at the end.
        records = _STORE[0].journal(operation).records
        ended = {one.record.attempt for one in records if isinstance(one.record, Outcome)}
        if not any(
            isinstance(one.record, Attempt)
            and (one.record.target, one.record.permit.attempt) == (call.target, attempt)
            and one.digest not in ended
            for one in records
        ):
            write_line(SCENE.broken, f"{mark} {verb} {attempt}: no attempt stands behind it")


def operation_of(mark: str) -> str:
    """Return the operation whose own mark that is."""
    return (SCENE.folder / "marks" / mark).read_text()


def _on_disk(open_writer: Callable[..., apsw.Connection]) -> Callable[..., apsw.Connection]:
    def opened(path: Path, patience: connections.Patience, vfs: str | None = None) -> apsw.Connection:
        fate = _FATE[0]
        if not fate.disk:
            return open_writer(path, patience, vfs)
        disk = Disk()
        connection = open_writer(path, patience, disk.name)
        _DISKS.append(disk)
        disk.reset()
        disk.fault = {
            "full": fail_at(fate.place, apsw.SQLITE_FULL, for_ever=True),
            "no flush": fail_at(fate.place, apsw.SQLITE_IOERR_FSYNC),
            "answer lost": answer_lost(fate.place, apsw.SQLITE_IOERR_FSYNC),
        }[fate.disk]
        return connection

    return opened


def _closing(close: Callable[[SqliteTransactions], None]) -> Callable[[SqliteTransactions], None]:
    def closing(self: SqliteTransactions) -> None:
        for (
            disk
        ) in _DISKS:  # SQLite says nothing of what fails in tidying up; a layer in Python cannot help it.
            disk.fault = lambda what, count, after: None
        close(self)

    return closing


_DISKS: Final[list[Disk]] = []  # Their file layers are gone when they are.


def fork(work: Callable[[], int], told: Path, fate: Fate | None = None) -> int:
    """Let a process of its own do `work`; what it says goes to the file `told`. Return its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # Whoever ends the campaign ends all of it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        handle = os.open(told, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for stream in (1, 2):
            os.dup2(handle, stream)
        _FATE[0] = fate or Fate()
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def commanding(*words: str) -> Callable[[], int]:
    """Return the work of one command line."""
    return lambda: run([*words, "--root", str(SCENE.folder / "root")])
