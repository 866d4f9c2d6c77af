"""A worker: starts what may start, goes on with what others left, and hears when to stop.

It looks at rows, so it needs no message: an approval, a lock given back, a window that opens or a
runner that died are seen at the next look. Any number of workers and commands share a root; what
two of them try at once, the ledger gives to one.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecop.app.following import KIND, due, follow
from rexecop.app.instance import Instance
from rexecop.app.queueing import AGAIN, AGAIN_MAX
from rexecop.app.schedules import CHANNEL, Schedules
from rexecop.app.triggering import CHANNEL as TRIGGER
from rexecop.app.triggering import Inbox
from rexecop.engines.driver import Driven
from rexecop.engines.errors import RunnerBusy
from rexecop.engines.runner import is_alive
from rexecop.operations.errors import AppendConflict, LeaseHeld, StoreUnavailable, StoreUncertain
from rexecop.operations.ports import Row
from rexecop.operations.queue import Waiting
from rexecop.proof.canonical import Digest
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.times import parse_time
from rexecop.proof.vocabulary import State
from rexecop.store.errors import RootIdentityDoubtful, StoreDamaged

WORKERS: Final = "worker"
BEAT: Final = timedelta(seconds=10)
SILENT_MAX: Final = timedelta(seconds=30)  # Who was not heard of for so long does not work.
SWEEP: Final = timedelta(minutes=1)  # Who drives an operation keeps its promises; dying in between is rare.
OUTPACED: Final = (RunnerBusy, AppendConflict, LeaseHeld)  # Somebody else went on with it just then.
BETWEEN_SECONDS: Final = 0.02  # Looks are this far apart however fast operations end.


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life of a worker that began at `since`."""

    pid: int
    since: datetime
    seen: datetime


@dataclass(slots=True)
class Worker:
    """One worker on one root."""

    instance: Instance
    once: bool = False
    poll_seconds: float = 1.0
    watches_inbox: bool = False
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _left: dict[str, tuple[Digest, datetime | None]] = field(default_factory=dict)
    _driven: int = 0
    _beats: tuple[datetime, datetime] | None = None
    _broken: BaseException | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _schedules: Schedules = field(init=False)
    _swept: datetime | None = None

    def __post_init__(self) -> None:
        self._schedules = Schedules(self.instance)

    async def run(self, stop: asyncio.Event) -> int:
        """Work until `stop`, or with `once` until nothing may go on; what runs then ends or parks.

        Return how many operations it drove.

        Raises:
            StoreUnavailable, StoreUncertain: the ledger cannot be written; nothing changing goes on.
        """
        world = self.instance.parts.world
        stopping = asyncio.ensure_future(stop.wait())
        stopping.add_done_callback(lambda _: self._news.set())
        try:
            world.store.be_heard(world.runner)
            self._beat()
            await self._open()
            while not stop.is_set() and self._broken is None:
                self._news.clear()
                self._beat()
                elsewhere = await self._look()
                if self.once and not self._tasks and not elsewhere:
                    break
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), self.poll_seconds)
                await asyncio.sleep(BETWEEN_SECONDS)
        finally:
            stopping.cancel()
            self.instance.parts.lifecycle.driver.leaving = True
            await self._finish()
            await self._close()
            with suppress(StoreUnavailable, StoreUncertain):
                world.store.post(WORKERS, world.runner, None)
        if self._broken is not None:
            raise self._broken
        return self._driven

    async def _open(self) -> None:
        """Get ready before the first look."""

    async def _close(self) -> None:
        """Tidy up when nothing runs any more; what cannot be is left to the next worker."""

    async def _finish(self) -> None:
        """Let what runs end, or park before its next call; cancelled meanwhile, end calls at once."""
        tasks = [*self._tasks.values()]
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        except asyncio.CancelledError:
            await asyncio.gather(*tasks, return_exceptions=True)

    def _beat(self) -> None:
        world = self.instance.parts.world
        now = world.clock.now()
        began, seen = self._beats or (now, now - BEAT)
        if now - seen < BEAT:
            return
        self._beats = (began, now)
        beat = Beat(pid=os.getpid(), since=began, seen=now)
        world.store.post(WORKERS, world.runner, encode(beat))
        for runner, _ in world.store.posted(WORKERS):
            if not is_alive(runner, world.store):
                world.store.post(WORKERS, runner, None)

    async def _look(self) -> int:
        """Begin everything that may go on now; return how much of it others may have in hand."""
        capacity = self.instance.parts.world.capacity or len(self._tasks) + 1
        self._look_for_requests()
        begun, ready = self._found()
        for row in begun:
            if len(self._tasks) < capacity:
                self._spawn(row.operation, self._go_on(row))
        for waiting in ready:
            if len(self._tasks) < capacity:
                self._spawn(waiting.operation, self._start(waiting.operation))
        return 0

    def _look_for_requests(self) -> None:
        if self.watches_inbox and "" not in self._tasks and (inbox := Inbox(self.instance)).has_news():
            self._spawn("", inbox.take())
        if CHANNEL not in self._tasks and self._schedules.due():
            self._spawn(CHANNEL, self._schedules.take())
        now = self.instance.parts.world.clock.now()
        if KIND not in self._tasks and (self._swept is None or now >= self._swept + SWEEP):
            self._swept = now
            if found := due(self.instance):
                self._spawn(KIND, self._follow(found))

    def _found(self) -> tuple[list[Row], list[Waiting]]:
        """Return what has begun, is driven by nobody and is worth a look, and what may start, in its order.

        What found no room before waits for its turn in the queue, whether it has begun or not.
        """
        queue, store = self.instance.parts.lifecycle.queue, self.instance.parts.world.store
        queue.tidy()
        verdicts, rows = queue.judged(), store.under_way()
        known, waits = (
            {row.operation for _, row, _ in rows},
            {one.waiting.operation for one in verdicts if one.cause},
        )
        alone = [row for _, row, lease in rows if not queue.is_driven(lease) and row.operation not in waits]
        ready = [one.waiting for one in verdicts if one.cause is None and one.waiting.operation not in known]
        return [row for row in alone if self._may_go_on(row)], ready

    def _may_go_on(self, row: Row) -> bool:
        """Return whether it is worth while to look at an operation that nobody drives."""
        if row.state == State.PAUSED and row.waiting:
            return False
        head, until = self._left.get(row.operation, (None, None))
        return head != row.head or (until is not None and until <= self.instance.parts.world.clock.now())

    def _spawn(self, name: str, work: Coroutine[object, object, None]) -> None:
        if name in self._tasks:
            work.close()
            return
        task = self._tasks[name] = asyncio.ensure_future(work)
        task.add_done_callback(lambda done: self._over(name, done))

    def _over(self, name: str, task: asyncio.Task[None]) -> None:
        """Take note of a task that ended; what no operation alone is to blame for ends the worker."""
        del self._tasks[name]
        self._news.set()
        failed = None if task.cancelled() else task.exception()  # One that nobody looked at is printed.
        self._broken = self._broken or failed

    async def _start(self, operation: str, *, judged: bool = False) -> None:
        lifecycle = self.instance.parts.lifecycle
        try:
            driven = await lifecycle.start(operation, judged=judged, goes_on=True)
            self._driven += driven.queued is None
            await self._ended(driven)
        except OUTPACED:
            return
        except RexecopError as error:
            _require_one_to_blame(error)
            with suppress(RexecopError):  # It is over: then its records say why.
                lifecycle.queue.enter(self.instance.operation(operation), reason=error.message)

    async def _go_on(self, row: Row) -> None:
        """Take an operation over, or see that only a person or time helps, and leave it until then."""
        lifecycle, now, until = self.instance.parts.lifecycle, self.instance.parts.world.clock.now(), None
        try:
            paused = row.state == State.PAUSED
            driven = await (lifecycle.start if paused else lifecycle.take_over)(row.operation)
            if driven.session.op.count != row.records or driven.queued is not None:
                self._driven += driven.queued is None
                await self._ended(driven)
                return
        except OUTPACED:
            until = now + AGAIN  # Who came first may die before it writes anything that is seen.
        except RexecopError as error:
            _require_one_to_blame(error)
            found = error.facts.get("until")
            until = parse_time(found) if isinstance(found, str) else now + AGAIN_MAX
        with suppress(RexecopError):
            self._leave(row.operation, self.instance.parts.world.store.row(row.operation)[1].head, until)

    async def _ended(self, driven: Driven) -> None:
        """Do what follows where an operation went as far as it goes."""
        await self.instance.parts.telling.assessed(driven.session.op)
        if driven.session.op.the_intent.origin.channel == TRIGGER:
            await follow(self.instance, driven.session.id)

    async def _follow(self, operations: Sequence[str]) -> None:
        """Keep what was promised of operations whose driver died before it did."""
        for operation in operations:
            try:
                await follow(self.instance, operation)
            except RexecopError as error:
                _require_one_to_blame(error)

    def _leave(self, operation: str, head: Digest, until: datetime | None) -> None:
        """Look at `operation` again only at `until`, or when it has another `head`."""
        self._left[operation] = (head, until)


def _require_one_to_blame(error: RexecopError) -> None:
    """Raise `error` again where the whole ledger is what failed."""
    own = isinstance(error, StoreDamaged | RootIdentityDoubtful)
    if isinstance(error, StoreUnavailable | StoreUncertain) and not own:
        raise error


def workers_alive(instance: Instance) -> tuple[Beat, ...]:
    """Return the workers of this root that live and were heard of lately."""
    world = instance.parts.world
    found = [(runner, decode(Beat, body)) for runner, body in world.store.posted(WORKERS)]
    heard = world.clock.now() - SILENT_MAX
    return tuple(beat for runner, beat in found if is_alive(runner, world.store) and beat.seen >= heard)


async def serve(worker: Worker) -> int:
    """Let `worker` run until SIGTERM or SIGINT; the same again ends the calls that run. Raises as `run`."""
    stop, loop, me = asyncio.Event(), asyncio.get_running_loop(), asyncio.current_task()

    def heard() -> None:
        if stop.is_set() and me is not None:
            me.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, heard)
    return await worker.run(stop)
