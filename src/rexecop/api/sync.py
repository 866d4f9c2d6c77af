"""The same instance for programs without an event loop: a thread of its own has one, and does the work.

Any thread may call, also one in which an event loop runs: it waits until the answer is there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from functools import wraps
from types import TracebackType
from typing import Concatenate, Final, Generic, ParamSpec, TypeVar

from rexecop.api.errors import InstanceClosed
from rexecop.api.instance import Instance

P = ParamSpec("P")
T = TypeVar("T")

AGAIN: Final = "open_instance_sync(…)"


class _Work(Generic[T]):
    """One coroutine in the loop of another thread, and who waits for it here."""

    def __init__(self, work: Coroutine[object, object, T], loop: asyncio.AbstractEventLoop) -> None:
        """Let `work` begin in `loop`."""
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._done = threading.Event()
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(lambda task: self._done.set())

    def wait(self) -> T:
        """Return what it returns; interrupted here, it is cancelled, and waited for."""
        try:
            self._done.wait()
        except BaseException:
            # Ctrl-C, most likely: nothing goes on behind the caller's back.
            self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())
            self._done.wait()
            raise
        assert self._task is not None
        try:
            return self._task.result()
        except asyncio.CancelledError as error:
            raise InstanceClosed("this instance was closed meanwhile", next_steps=(AGAIN,)) from error


def _waiting(
    method: Callable[Concatenate[Instance, P], Coroutine[object, object, T]],
) -> Callable[Concatenate[SyncInstance, P], T]:
    """Return `method` as one that waits for its answer."""

    @wraps(method)
    def call(self: SyncInstance, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._run(method(self._instance, *args, **kwargs))

    return call


class SyncInstance:
    """`Instance` with methods that return instead of being awaited; see there."""

    def __init__(self, instance: Instance) -> None:
        """Take over `instance`, which nobody used yet."""
        self._instance = instance
        self._turn = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rexecop", daemon=True)
        self._thread.start()

    def __enter__(self) -> SyncInstance:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger and end what was started; safe to repeat."""
        with self._turn:
            if self._closed:
                return
            self._closed, ending = True, _Work(self._end(), self._loop)
        try:
            ending.wait()
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        """End what other threads still wait for, then the instance."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._instance.close()
        await asyncio.get_running_loop().shutdown_default_executor()

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Once closed: which sinks did not take the newest checkpoint, and why."""
        return self._instance.unpublished

    def _run(self, work: Coroutine[object, object, T]) -> T:
        with self._turn:  # What begins before the end is ended by it.
            if self._closed:
                work.close()
                raise InstanceClosed("this instance was closed", next_steps=(AGAIN,))
            begun = _Work(work, self._loop)
        return begun.wait()

    plan = _waiting(Instance.plan)
    start = _waiting(Instance.start)
    resume = _waiting(Instance.resume)
    retry = _waiting(Instance.retry)
    rollback = _waiting(Instance.rollback)
    reconcile = _waiting(Instance.reconcile)
    pause = _waiting(Instance.pause)
    cancel = _waiting(Instance.cancel)
    wait = _waiting(Instance.wait)
    approve = _waiting(Instance.approve)
    deny = _waiting(Instance.deny)
    status = _waiting(Instance.status)
    preview = _waiting(Instance.preview)
    why = _waiting(Instance.why)
    history = _waiting(Instance.history)
    operations = _waiting(Instance.operations)
    export = _waiting(Instance.export)
    verify = _waiting(Instance.verify)
