"""Where the service plans, drives and works: one thread with an event loop of its own.

The other loop answers meanwhile. Connections of lanes belong to the loop that opened them, so everything
that may touch a target runs here.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, TypeAlias, TypeVar

from rexecop.app.instance import Instance
from rexecop.app.worker import Worker
from rexecop.operations.errors import StoreUnavailable
from rexecop.proof.errors import RexecopError

T = TypeVar("T")
Work: TypeAlias = Callable[[], Coroutine[object, object, T]]

DRAIN_SECONDS: Final = 10.0  # A call in flight may end by itself; with the grace of open requests below 30 s.
AGAIN_SECONDS: Final = 5.0  # A ledger that could not be written is tried again after this.


class Works:
    """What is under way for one instance; the thread begins with the first of it."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._turn = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._leaving = False
        self._stop = asyncio.Event()

    def carry_out(self) -> None:
        """Be a worker of the instance, too, from now on."""
        self.begin(self._carry_out)

    async def _carry_out(self) -> None:
        """Work until `leave`; what ends a worker does not end the service, and another takes its place."""
        while not self._stop.is_set():
            try:
                await Worker(self._instance).run(self._stop)
            except Exception as error:  # noqa: BLE001 - who answers goes on, and works again when it can
                code, words = "internal-error", type(error).__name__
                if isinstance(error, RexecopError):
                    code, words = error.code, error.message
                sys.stderr.write(f"rexecop: error[{code}]: nothing queued is carried out now: {words}\n")
            self._drive_on()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), AGAIN_SECONDS)

    def _drive_on(self) -> None:
        """Let operations be driven again, which who works stops when it ends, unless all is to end."""
        with self._turn:
            self._instance.parts.lifecycle.driver.leaving = self._leaving

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
        """Let what is driven park before its next call, and begin nothing queued; who comes next goes on."""
        with self._turn:
            self._leaving = self._instance.parts.lifecycle.driver.leaving = True
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)

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
