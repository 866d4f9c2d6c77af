"""A worker of the distributed engine: it looks at the same rows, and hands what it finds to all workers.

Whoever looks first hands over; whoever has a hand free drives. What this one saw may be old when
another drives it, so that one looks at the rows again before it begins.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rexecop.app.instance import Instance
from rexecop.app.queueing import QUEUE
from rexecop.app.worker import SILENT_MAX, WORKERS, Beat, Worker
from rexecop.engines.runner import is_alive
from rexecop.operations.errors import StoreError
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import decode, encode
from rexecop.store.errors import ExtraMissing, StorageRefused
from rexecop.store.uri import POSTGRES_EXTRA

if TYPE_CHECKING:
    from rexecop.engines.dbos import Dispatcher

LEFT: Final = "left"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a worker could not go on with: nobody looks before `until`, or another `head`."""

    head: Digest
    until: datetime | None = None


@dataclass(slots=True, kw_only=True)
class FleetWorker(Worker):
    """One of the workers that share a distributed queue."""

    dispatcher: Dispatcher = field()

    async def _open(self) -> None:
        await asyncio.to_thread(self.dispatcher.open, self._handed, asyncio.get_running_loop())

    async def _close(self) -> None:
        await asyncio.to_thread(self.dispatcher.close)

    async def _look(self) -> int:
        from rexecop.engines.dbos import Job

        self._look_for_requests()
        self._read_left()
        begun, ready = self._found()
        jobs = [Job(operation=row.operation, records=row.records, turn=None) for row in begun]
        store = self.instance.parts.world.store
        for one in ready:
            with suppress(StoreError):
                records = store.records_of(one.operation)
                jobs.append(Job(operation=one.operation, records=records, turn=one.turn))
        heard, now = self._heard(), self.instance.parts.world.clock.now()

        def is_gone(executor: str) -> bool:
            return executor not in heard or not is_alive(executor, store)

        return await asyncio.to_thread(self.dispatcher.hand_over, jobs, is_gone, now)

    async def _handed(self, operation: str) -> None:
        """Drive what was handed to this worker, if it still is to be driven."""
        lifecycle, store = self.instance.parts.lifecycle, self.instance.parts.world.store
        if lifecycle.driver.leaving or self._broken is not None:
            return  # Whoever looks next hands it over anew.
        begun = [row for _, row, _ in store.under_way() if row.operation == operation]
        for row in begun:
            self._spawn(operation, self._go_on(row))
        if not begun and any(name == operation for name, _ in store.posted(QUEUE)):
            self._spawn(operation, self._start(operation, judged=True))
        if (task := self._tasks.get(operation)) is not None:
            await asyncio.wait({task})

    def _heard(self) -> set[str]:
        """Return the workers that were heard of lately."""
        world = self.instance.parts.world
        since = world.clock.now() - SILENT_MAX
        return {name for name, body in world.store.posted(WORKERS) if decode(Beat, body).seen >= since}

    def _read_left(self) -> None:
        """Know what other workers left; forget what is over."""
        store = self.instance.parts.world.store
        posted = store.posted(LEFT)
        begun = {row.operation for _, row, _ in store.under_way()} if posted else set()
        for operation, body in posted:
            if operation in begun:
                left = decode(Left, body)
                self._left[operation] = (left.head, left.until)
            else:
                store.post(LEFT, operation, None)

    def _leave(self, operation: str, head: Digest, until: datetime | None) -> None:
        Worker._leave(self, operation, head, until)
        self.instance.parts.world.store.post(LEFT, operation, encode(Left(head=head, until=until)))


def fleet_worker(instance: Instance, once: bool, poll_seconds: float, watches_inbox: bool) -> FleetWorker:
    """Return a worker of the distributed engine.

    Raises:
        StorageRefused: the ledger is not in PostgreSQL. ExtraMissing: the library is not installed.
    """
    from rexecop.store.sqlite import SqliteStore

    ledger, world = instance.parts.ledger, instance.parts.world
    if isinstance(ledger, SqliteStore):
        words = "the distributed engine needs a ledger in PostgreSQL, and this root has its own in a file"
        raise StorageRefused(words, allowed="postgresql://USER@HOST/DATABASE")
    try:
        from rexecop.engines.dbos import Dispatcher
        from rexecop.store.postgres import PostgresStore
    except ImportError as error:
        words = f"the distributed engine needs the extra `{POSTGRES_EXTRA}`, which is not installed"
        raise ExtraMissing(words, extra=POSTGRES_EXTRA) from error
    assert isinstance(ledger, PostgresStore)
    dispatcher = Dispatcher(ledger.server, world.runner, world.capacity)
    return FleetWorker(instance, once, poll_seconds, watches_inbox, dispatcher=dispatcher)
