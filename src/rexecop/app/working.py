"""Where the service plans and drives: one thread with an event loop of its own, so that the other answers.

Connections of lanes belong to the loop that opened them, so everything that may touch a target runs here.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Final, TypeAlias, TypeVar

from rexecop.app.instance import Instance
from rexecop.operations.errors import StoreUnavailable
from rexecop.proof.errors import RexecopError

T = TypeVar("T")
Work: TypeAlias = Callable[[], Coroutine[object, object, T]]

DRAIN_SECONDS: Final = 10.0  # A call in flight may end by itself; with the grace of open requests below 30 s.


class Works:
    """What is under way for one instance; the thread begins with the first of it."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._turn = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, work: Work[T]) -> Future[T]:
        """Let `work` go on, whoever waits for it; a defect of ours is told in one line.

        Raises:
            StoreUnavailable: the service ends.
        """
        with self._turn:
            if self._closed:
                raise StoreUnavailable("the service ends; nothing more is begun")
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="works", daemon=True)
                self._thread.start()
            begun = asyncio.run_coroutine_threadsafe(work(), self._loop)
        begun.add_done_callback(self._over)
        return begun

    @staticmethod
    def _over(ended: Future[T]) -> None:
        error = None if ended.cancelled() else ended.exception()
        if error is not None and not isinstance(error, RexecopError):
            sys.stderr.write(f"rexecop: error[internal-error]: {type(error).__name__} in what was begun\n")

    async def run(self, work: Work[T]) -> T:
        """Return what `work` returns; it is not cut short where the caller is."""
        begun = asyncio.wrap_future(self.begin(work))
        begun.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # They may be gone.
        return await asyncio.shield(begun)

    def leave(self) -> None:
        """Let every operation that is driven park before its next call; whoever comes next goes on."""
        self._instance.parts.lifecycle.driver.leaving = True

    def close(self) -> None:
        """Wait until what is under way ended or parked, end what did not in time, and the thread."""
        self.leave()
        with self._turn:
            loop, thread, self._loop, self._closed = self._loop, self._thread, None, True
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(_ended(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _ended() -> None:
    """Return when no task is left in this loop."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=DRAIN_SECONDS)
    late = asyncio.all_tasks() - {asyncio.current_task()}
    for task in late:
        task.cancel()  # It ends its call, and its record says how.
    await asyncio.gather(*late, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()
