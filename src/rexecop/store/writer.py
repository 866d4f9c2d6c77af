"""Group commit: whatever waits is applied in one transaction and made durable by one flush.

One group is under way at a time. Whoever finds none under way leads: an event loop
applies the group itself and leaves only the flush to the writer's thread, because a
thread that runs many short statements beside a busy event loop waits for the
interpreter at every one of them; a caller that waits anyway does all of it. While a
group is flushed the next one gathers, so nobody waits for a timer.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Final, Generic, TypeVar, cast

import apsw

from rexecop.operations.errors import StoreError, StoreUnavailable, StoreUncertain
from rexecop.proof.errors import RexecopError
from rexecop.store.apply import Applier
from rexecop.store.connection import Patience, translate, was_not_written

GROUP_JOBS_MAX: Final = 256  # What one flush carries: enough to make it cheap, short enough to stay quick.
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """One piece of work inside the transaction, and who waits for it: a loop, or a thread.

    Work that is not `durable` needs no flush of its own: losing it in a power cut is harmless.
    """

    work: Callable[[Applier], T]
    weight: int = 0
    durable: bool = True
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[T] | None = None
    result: T | None = None
    error: BaseException | None = None
    done: threading.Event | None = None


Jobs = list[Job[object]]


class _State(Enum):
    IDLE = "nothing waits"
    SCHEDULED = "a loop will lead; whoever is sooner may take over"
    LEADING = "a group is under way"


@dataclass(slots=True)
class _Group:
    """Jobs of one transaction; `begun` once they are applied and only the flush is missing."""

    jobs: Jobs
    begun: bool = False


class Writer:
    """The one writer of this process.

    After a flush that failed it refuses everything, because what is on the disk cannot be
    known; `stopped` says why.
    """

    def __init__(self, connection: apsw.Connection, patience: Patience, path: Path) -> None:
        self._connection = connection
        self._patience = patience
        self._path = path
        self._applier = Applier(connection)
        self._mutex = threading.Lock()
        self._waiting: deque[Job[object]] = deque()
        self._state = _State.IDLE
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self.stopped: StoreError | None = None
        self.on_commit: Callable[[], None] = lambda: None

    # --- submitting ---

    def run(self, work: Callable[[Applier], T], *, weight: int = 0, durable: bool = True) -> T:
        """Do `work` in a transaction and return its result once that is committed.

        Raises:
            StoreError: what `work` raised. StoreUnavailable, StoreUncertain: see the port.
        """
        done = threading.Event()
        job: Job[T] = Job(work, weight=weight, durable=durable, done=done)
        with self._mutex:
            self._enter(job)
            lead = self._state is not _State.LEADING
            if lead:
                self._state = _State.LEADING
        if lead:
            self._lead_here()
        done.wait()
        if job.error is not None:
            raise job.error
        return cast(T, job.result)

    async def run_async(self, work: Callable[[Applier], T], *, weight: int = 0) -> T:
        """Do as `run`, without holding up the loop during the flush."""
        loop = asyncio.get_running_loop()
        job: Job[T] = Job(work, weight=weight, loop=loop, future=loop.create_future())
        with self._mutex:
            self._enter(job)
            ours = self._state is _State.IDLE or (self._state is _State.SCHEDULED and self._loop is not loop)
            if ours:
                self._state, self._loop = _State.SCHEDULED, loop
        if ours:
            loop.call_soon(self._lead_in_loop)
        assert job.future is not None
        return await job.future

    def close(self) -> None:
        """Finish what waits and refuse what comes; the connection is closed afterwards."""
        with self._mutex:
            if self._closed:
                return
        if self.stopped is None:
            self.run(lambda applier: None, durable=False)
        with self._mutex:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            thread.join()
        self._connection.close()

    def _enter(self, job: Job[T]) -> None:
        if self.stopped is not None:
            raise self._refusal()
        if self._closed:
            raise StoreUnavailable(f"the ledger `{self._path}` was closed")
        self._waiting.append(cast("Job[object]", job))

    def _refusal(self) -> StoreError:
        return StoreUncertain(
            f"this process stopped writing to `{self._path}`: {self.stopped}", path=str(self._path)
        )

    # --- leading ---

    def _lead_here(self, group: _Group | None = None) -> None:
        """Carry one group, or what is left of `group`, to its end in this thread."""
        group = group or self._gather()
        try:
            self._patience.waiting = True
            if group.begun or self._begin(group):
                self._commit(group)
        finally:
            self._pass_on()

    def _lead_in_loop(self) -> None:
        """Apply one group in the loop's thread and leave its flush to the writer's."""
        if not self._may_lead():
            return
        group = self._gather()
        self._patience.waiting = False
        try:
            over = not self._begin(group)
        except apsw.BusyError:
            # Another process is writing. Waiting for it is the thread's work too.
            over = False
        except BaseException:
            self._pass_on()
            raise
        if over:
            self._pass_on()
        else:
            self._send(group)

    def _gather(self) -> _Group:
        jobs: Jobs = []
        weight = 0
        with self._mutex:
            while self._waiting and len(jobs) < GROUP_JOBS_MAX and weight <= GROUP_BYTES_MAX:
                jobs.append(self._waiting.popleft())
                weight += jobs[-1].weight
        return _Group(jobs)

    def _pass_on(self) -> None:
        """Let the next group be led: by the loop that waits alone, else by the writer's thread."""
        with self._mutex:
            refused: Jobs = []
            if self.stopped is not None:
                refused, self._waiting = list(self._waiting), deque()
            loop = None
            self._state = _State.IDLE
            if self._waiting:
                loops = {job.loop for job in self._waiting}
                loop = self._loop = loops.pop() if len(loops) == 1 else None
                # A thread that waits may be the loop's own: nobody but us may lead then.
                self._state = _State.LEADING if loop is None else _State.SCHEDULED
            ours = self._state is _State.LEADING
        if refused:
            self._fail(refused, self._refusal())
        if ours:
            self._send(None)
        elif loop is not None:
            self._wake(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            loop.call_soon_threadsafe(self._lead_in_loop)
        except RuntimeError:  # The loop was closed while its work waited.
            if self._may_lead():
                self._send(None)

    def _may_lead(self) -> bool:
        """Return whether a group was scheduled and nobody leads it; from now on the caller does."""
        with self._mutex:
            scheduled = self._state is _State.SCHEDULED
            if scheduled:
                self._state = _State.LEADING
            return scheduled

    def _send(self, group: _Group | None) -> None:
        """Let the writer's thread carry `group`, or gather the next one."""
        with self._mutex:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="ledger-writer", daemon=True)
                self._thread.start()
        self._inbox.put(lambda: self._lead_here(group))

    def _serve(self) -> None:
        while (lead := self._inbox.get()) is not None:
            lead()

    # --- the transaction ---

    def _begin(self, group: _Group) -> bool:
        """Apply the jobs of `group` in a new transaction; return whether there is one to commit.

        Raises:
            apsw.BusyError: another process is writing and we are not to wait; nothing was done.
        """
        try:
            if not any(job.durable for job in group.jobs):
                self._connection.pragma("synchronous", "normal")
            self._connection.execute("BEGIN IMMEDIATE")
            self._applier.start()
            for job in group.jobs:
                try:
                    job.result = job.work(self._applier)
                except RexecopError as error:
                    job.error = error
        except (apsw.Error, StoreError) as error:
            if isinstance(error, apsw.BusyError) and not self._patience.waiting:
                raise
            self._abandon(group, error if isinstance(error, StoreError) else translate(error, self._path))
            return False
        except BaseException as error:
            # A defect of ours, or an interrupt: whoever waits must hear of it all the same.
            self._abandon(group, error)
            raise
        if all(job.error is not None for job in group.jobs):
            self._abandon(group, None)
            return False
        group.begun = True
        return True

    def _commit(self, group: _Group) -> None:
        try:
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            if was_not_written(error):
                self._abandon(group, translate(error, self._path))
            else:
                self.refuse(translate(error, self._path))
                self._abandon(group, self._refusal())
            return
        except BaseException as error:  # An interrupt: rolled back if it came before the commit.
            self._abandon(group, error)
            raise
        self._applier.keep()
        self._restore_flushing(group)
        self._resolve(group.jobs)
        self.on_commit()

    def refuse(self, reason: StoreError) -> None:
        """Write nothing more in this process, because of `reason`."""
        with self._mutex:
            self.stopped = self.stopped or reason

    def _abandon(self, group: _Group, error: BaseException | None) -> None:
        """Roll back, and fail every job that has no error of its own with `error`."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.Error as failed:
            self.refuse(translate(failed, self._path))
        self._restore_flushing(group)
        self._fail(group.jobs, error)

    def _restore_flushing(self, group: _Group) -> None:
        if not any(job.durable for job in group.jobs):
            self._connection.pragma("synchronous", "full")

    def _fail(self, jobs: Jobs, error: BaseException | None) -> None:
        for job in jobs:
            if job.error is None:
                job.error = error
        self._resolve(jobs)

    @staticmethod
    def _resolve(jobs: Jobs) -> None:
        """Tell everybody who waits; each loop is woken once."""
        by_loop: dict[asyncio.AbstractEventLoop, Jobs] = {}
        for job in jobs:
            if job.done is not None:
                job.done.set()
            elif job.loop is not None:
                by_loop.setdefault(job.loop, []).append(job)
        for loop, theirs in by_loop.items():
            try:
                loop.call_soon_threadsafe(partial(_settle, theirs))
            except RuntimeError:  # The loop was closed: nobody waits any more.
                continue


def _settle(jobs: Jobs) -> None:
    """Give the results to the futures, in their loop."""
    for job in jobs:
        if job.future is None or job.future.done():
            continue
        if job.error is not None:
            job.future.set_exception(job.error)
        else:
            job.future.set_result(job.result)
