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
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, Generic, Protocol, TypeVar, cast

from rexecop.operations.errors import StoreError, StoreUnavailable, StoreUncertain
from rexecop.proof.errors import RexecopError
from rexecop.store.apply import Applier
from rexecop.store.database import Contended, Uncertain
from rexecop.store.errors import StoreBusy

GROUP_JOBS_MAX: Final = 256  # What one flush carries: enough to make it cheap, short enough to stay quick.
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
TRIES_MAX: Final = 20  # Groups that deadlock are few, and one of two always goes on.

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


class Transactions(Protocol):
    """How a database begins and ends the one transaction that is under way."""

    @property
    def applier(self) -> Applier:
        """What applies batches within it."""
        ...

    @property
    def place(self) -> str:
        """What people call the ledger."""
        ...

    @property
    def apart(self) -> bool:
        """Whether its statements wait for a network: an event loop's thread does not run them."""
        ...

    def begin(self, *, durable: bool, wait: bool) -> None:
        """Begin; with `wait` the turn of others is waited for. Without `durable` no flush is needed.

        Raises:
            Contended: another process is writing and we are not to wait; nothing was done.
        """
        ...

    def commit(self) -> None:
        """Commit.

        Raises:
            StoreError: it certainly was not. Uncertain: whether it was cannot be told.
        """
        ...

    def rollback(self) -> None:
        """Leave nothing of what was begun, if anything was.

        Raises:
            StoreError: it cannot be told whether that is so.
        """
        ...

    def meaning(self, error: BaseException) -> StoreError | None:
        """Return what an error of the database means, None for a defect of ours or an interrupt.

        Raises:
            Contended: the transaction can be tried again from its beginning.
        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


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

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._applier = transactions.applier
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
            with suppress(StoreError):  # Whoever waits hears of it; here nobody does.
                self.run(lambda applier: None, durable=False)
        with self._mutex:
            self._closed = True
            thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            thread.join()
        self._transactions.close()

    def _enter(self, job: Job[T]) -> None:
        if self.stopped is not None:
            raise self._refusal()
        if self._closed:
            raise StoreUnavailable(f"the ledger `{self._transactions.place}` was closed")
        self._waiting.append(cast("Job[object]", job))

    def _refusal(self) -> StoreError:
        place = self._transactions.place
        return StoreUncertain(f"this process stopped writing to `{place}`: {self.stopped}", path=place)

    # --- leading ---

    def _lead_here(self, group: _Group | None = None) -> None:
        """Carry one group, or what is left of `group`, to its end in this thread."""
        group = group or self._gather()
        try:
            if group.begun or self._begin_patiently(group):
                self._commit(group)
        finally:
            self._pass_on()

    def _lead_in_loop(self) -> None:
        """Apply one group in the loop's thread and leave its flush to the writer's."""
        if not self._may_lead():
            return
        if self._transactions.apart:
            self._send(None)
            return
        group = self._gather()
        try:
            over = not self._begin(group, wait=False)
        except Contended:
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

    def _begin_patiently(self, group: _Group) -> bool:
        for _ in range(TRIES_MAX):
            try:
                return self._begin(group, wait=True)
            except Contended:
                continue
        busy = StoreBusy(f"the ledger `{self._transactions.place}` was written by others {TRIES_MAX} times")
        self._abandon(group, busy)
        return False

    def _begin(self, group: _Group, *, wait: bool) -> bool:
        """Apply the jobs of `group` in a new transaction; return whether there is one to commit.

        Raises:
            Contended: others were in the way; nothing was done.
        """
        try:
            self._transactions.begin(durable=any(job.durable for job in group.jobs), wait=wait)
            self._applier.start()
            self._applier.alone = len(group.jobs) == 1
            for job in group.jobs:
                job.error = None
                try:
                    job.result = job.work(self._applier)
                except (RexecopError, self._applier.unfit) as error:
                    job.error = error if isinstance(error, RexecopError) else self._meaning(error)
        except Contended:
            raise
        except BaseException as error:
            known = error if isinstance(error, StoreError) else self._meaning(error)
            # A defect of ours, or an interrupt: whoever waits must hear of it all the same.
            self._abandon(group, known or error)
            if known is None:
                raise
            return False
        if all(job.error is not None for job in group.jobs):
            self._abandon(group, None)
            return False
        group.begun = True
        return True

    def _meaning(self, error: BaseException) -> StoreError | None:
        try:
            return self._transactions.meaning(error)
        except Contended:
            self._roll_back()
            raise

    def _commit(self, group: _Group) -> None:
        try:
            self._transactions.commit()
        except Uncertain as error:
            self.refuse(error.reason)
            self._abandon(group, self._refusal())
            return
        except StoreError as error:
            self._abandon(group, error)
            return
        except BaseException as error:  # An interrupt: rolled back if it came before the commit.
            self._abandon(group, error)
            raise
        self._applier.keep()
        self._resolve(group.jobs)
        self.on_commit()

    def refuse(self, reason: StoreError) -> None:
        """Write nothing more in this process, because of `reason`."""
        with self._mutex:
            self.stopped = self.stopped or reason

    def _abandon(self, group: _Group, error: BaseException | None) -> None:
        """Roll back, and fail every job that has no error of its own with `error`."""
        self._roll_back()
        self._fail(group.jobs, error)

    def _roll_back(self) -> None:
        try:
            self._transactions.rollback()
        except StoreError as failed:
            self.refuse(failed)

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
