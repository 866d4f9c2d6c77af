"""Waiting here for what may not go on yet: for room, a target, a turn or people."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from rexecop.app.lifecycle import Lifecycle
from rexecop.engines.driver import Driven
from rexecop.engines.errors import NotWaiting, RunnerBusy
from rexecop.operations.queue import Priority
from rexecop.proof.principal import Principal
from rexecop.proof.records.command import Verb
from rexecop.proof.vocabulary import State

LOOK_SECONDS: Final = 0.25  # How often who waits for a turn looks whether it came.


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """Whether who lets an operation go on waits for it, and how many seconds; or lets a worker do it."""

    timeout: float | None = None
    wait: bool = False
    detach: bool = False


AT_ONCE: Final = Waits()


async def start(lifecycle: Lifecycle, operation: str, priority: Priority | None, waits: Waits) -> Driven:
    """Drive an operation until it ends or parks; with `wait` also wait until it may start.

    Cancelled, what only this call put into the queue is taken out again: nobody waits for it any more.

    Raises:
        TimeoutError: the time passed; the place in the queue is kept.
    """
    mine = operation not in lifecycle.queue.waiting()
    try:
        async with asyncio.timeout(waits.timeout):
            return await _started(lifecycle, operation, priority, wait=waits.wait)
    except asyncio.CancelledError:
        if mine:
            with suppress(NotWaiting):  # It was not put there yet, or somebody started it meanwhile.
                lifecycle.queue.leave(lifecycle.session(operation).op)
        raise


async def order(
    lifecycle: Lifecycle, operation: str, verb: Verb, by: Principal, reason: str | None, waits: Waits
) -> Driven:
    """Record `verb`, and drive what it leads to; once it is recorded the place in the queue is kept.

    Raises:
        TimeoutError: the time passed.
    """
    async with asyncio.timeout(waits.timeout):
        driven = await lifecycle.command(operation, verb, by, reason, detach=waits.detach)
        asked = driven.session.op.state is State.WAITING_FOR_APPROVAL
        if not waits.wait or (driven.queued is None and not asked):
            return driven
        return await _started(lifecycle, operation, None, wait=True)


async def _started(lifecycle: Lifecycle, operation: str, priority: Priority | None, *, wait: bool) -> Driven:
    while True:
        try:
            driven = await lifecycle.start(operation, priority)
        except RunnerBusy:
            if not wait:
                raise
        else:
            asked = driven.session.op.state is State.WAITING_FOR_APPROVAL
            if not wait or not (asked or driven.queued):
                return driven
            if asked:
                lifecycle.queue.enter(lifecycle.session(operation).op, priority)
        await asyncio.sleep(LOOK_SECONDS)
        while (found := lifecycle.queue.verdict(operation)) is not None and found.cause is not None:
            await asyncio.sleep(LOOK_SECONDS)
