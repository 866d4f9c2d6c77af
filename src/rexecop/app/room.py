"""The operations room: who waits, what is locked, who works, and whether anything can be written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from rexecop.app.instance import Instance
from rexecop.app.reading import operation_line
from rexecop.app.views import OperationLine
from rexecop.app.worker import Beat, workers_alive
from rexecop.operations.errors import StoreError
from rexecop.operations.queue import Verdict
from rexecop.proof.vocabulary import State


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLine:
    """An operation that waits to be started; `cause` is what kind of thing for, None where it may."""

    place: int
    priority: str
    since: datetime
    cause: str | None
    waits: str
    until: datetime | None
    operation: OperationLine


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """Everything that waits to be started, in order; `drained` is who ordered that nothing is, and when."""

    drained: str | None
    running: int
    queue: tuple[QueueLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockLine:
    """A lock on a target, and the operation that holds it, `alone` or `shared` with others."""

    target: str
    held: str
    operation: OperationLine


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeView:
    """How a root works now: `waiting` counts by cause what waits to be started, `states` what has begun.

    `untended` began and is driven by nobody. `unwritable` is why the ledger cannot be written; nothing
    that changes something runs then.
    """

    workers: tuple[Beat, ...]
    capacity: int | None
    drained: str | None
    running: int
    states: Mapping[str, int]
    untended: int
    waiting: Mapping[str, int]
    oldest: datetime | None
    unwritable: str | None


def queue_view(instance: Instance) -> QueueView:
    """Return who waits to be started, and for what."""
    queue, store = instance.parts.lifecycle.queue, instance.parts.world.store

    def line(verdict: Verdict) -> QueueLine:
        return QueueLine(
            place=verdict.place,
            priority=verdict.waiting.priority,
            since=verdict.waiting.since,
            cause=verdict.cause,
            waits=verdict.words,
            until=verdict.until,
            operation=operation_line(*store.row(verdict.waiting.operation)),
        )

    running = sum(queue.is_driven(lease) for _, _, lease in store.under_way())
    return QueueView(drained=queue.drained(), running=running, queue=tuple(map(line, queue.judged())))


def locks_view(instance: Instance) -> tuple[LockLine, ...]:
    """Return every lock that stands, by target."""
    store = instance.parts.world.store
    return tuple(
        LockLine(
            target=lock.target,
            held="alone" if lock.exclusive else "shared",
            operation=operation_line(*store.row(lock.operation)),
        )
        for lock in store.locks()
    )


def runtime_view(instance: Instance) -> RuntimeView:
    """Return how the root works now."""
    queue, world = instance.parts.lifecycle.queue, instance.parts.world
    verdicts, rows = queue.judged(), world.store.under_way()
    waits = {one.waiting.operation for one in verdicts}
    driven = sum(queue.is_driven(lease) for _, _, lease in rows)
    left = [row for _, row, lease in rows if not queue.is_driven(lease) and row.state != State.PAUSED]
    alone = [row for row in left if row.operation not in waits]
    return RuntimeView(
        workers=workers_alive(instance),
        capacity=world.capacity,
        drained=queue.drained(),
        running=driven,
        states=Counter(row.state for _, row, _ in rows),
        untended=len(alone),
        waiting=Counter(str(one.cause or "ready") for one in verdicts),
        oldest=min((one.waiting.since for one in verdicts), default=None),
        unwritable=_unwritable(instance),
    )


def _unwritable(instance: Instance) -> str | None:
    """Return why nothing can be written: found by a transaction that leaves nothing behind."""
    try:
        instance.parts.world.store.post("check", "write", None)
        instance.parts.ledger.require_sure()
    except StoreError as error:
        return error.message
    return None
