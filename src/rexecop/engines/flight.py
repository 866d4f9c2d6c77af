"""Calls of one operation that are under way in this process, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Final

from rexecop.operations.course import Key
from rexecop.operations.errors import LeaseHeld, StoreUncertain
from rexecop.proof.errors import RexecopError

CALLS_MAX: Final = 64  # Each holds a connection or a process, and some hundred kilobytes of output.


class Flight:
    """Begins calls, waits for them, and leaves none behind. After a failure no other begins.

    `stopped` says that none is to begin either until those under way have ended.
    """

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[None], Key] = {}
        self._ended: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self.failed: RexecopError | None = None
        self.stopped = False

    @property
    def keys(self) -> frozenset[Key]:
        """The steps whose calls are under way."""
        return frozenset(self._tasks.values())

    @property
    def room(self) -> int:
        """How many more calls may begin."""
        return CALLS_MAX - len(self._tasks)

    def begin(self, key: Key, work: Coroutine[None, None, None]) -> None:
        """Begin `work` on the step `key`."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._end)
        self._tasks[task] = key

    def _end(self, task: asyncio.Task[None]) -> None:
        self._ended.append(task)
        self._news.set()

    async def wait(self) -> None:
        """Return when something ended; the first error is kept, and the other calls go on to their end.

        Raises:
            LeaseHeld, StoreUncertain: nothing of what goes on can be recorded any more. What is no
                error of ours is raised as well.
        """
        await self._news.wait()  # `asyncio.wait` would go over all that is under way each time.
        self._news.clear()
        done, self._ended = self._ended, []
        for task in done:
            del self._tasks[task]
        errors = [error for task in done if (error := task.exception()) is not None]
        for error in errors:
            if isinstance(error, LeaseHeld | StoreUncertain) or not isinstance(error, RexecopError):
                raise error
            self.failed = self.failed or error

    def take_failure(self) -> RexecopError | None:
        """Return the first error once, when nothing is under way."""
        failed, self.failed = self.failed, None
        return failed

    async def cancel(self) -> None:
        """End every call: each lane is told, and what came of it is for those to find who look later."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        self._ended.clear()


@contextmanager
def every(seconds: float, work: Callable[[], None]) -> Iterator[None]:
    """Do `work` so often meanwhile, until it fails once."""
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []

    def again() -> None:
        with suppress(RexecopError):
            work()
            timers[:] = [loop.call_later(seconds, again)]

    timers.append(loop.call_later(seconds, again))
    try:
        yield
    finally:
        timers[0].cancel()
