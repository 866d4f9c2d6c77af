"""Who may start now, who waits for what, and until when: a pure function over rows.

Whoever is to be started gets a turn, once; turns are kept to in their order. A later one passes
an earlier one only where nothing that it takes is what the earlier one waits for. A turn lies at
most `AHEAD` before the moment it was given, so nobody waits for ever behind those who come later.

What has begun, or holds locks, comes before all that has not. Whoever has room never waits for a
lock: locks are taken whole, with the room. So whoever holds locks and waits for room waits only for
those who end without it, and nobody waits in a circle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from rexecop.operations.fold import Operation
from rexecop.operations.next import acts
from rexecop.operations.ports import Held, Lock, Slot
from rexecop.proof.canonical import Digest
from rexecop.proof.records.intent import RECHECK
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import READ_MODES, Effect, Mode


class Priority(StrEnum):
    """How much an operation is preferred to others that wait."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


AHEAD: Final = timedelta(minutes=10)  # How much waiting one step of priority is worth.
SHARE: Final = timedelta(seconds=10)  # Between two turns of one requester others have theirs.
_LEAD: Final = {Priority.LOW: -AHEAD, Priority.NORMAL: timedelta(0), Priority.HIGH: AHEAD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An operation that is to be started, or to go on, when it may, as it stands on the board.

    `wake` is the moment before which it need not be tried, because of `reason`. `limit` is how
    many run in `environment` at one time; None where that does not count for it. What is `free` waits
    neither for room nor for the end of a drain.
    """

    operation: str
    requester: str
    environment: str
    limit: int | None
    exclusive: tuple[str, ...]
    shared: tuple[str, ...]
    priority: Priority
    since: datetime
    turn: datetime
    wake: datetime | None = None
    reason: str | None = None
    tries: int = 0
    free: bool = False


class Cause(StrEnum):
    """What kind of thing is waited for."""

    DRAIN = "drain"
    APPROVAL = "approval"
    TIME = "time"
    LOCK = "lock"
    ORDER = "order"
    CAPACITY = "capacity"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an operation, `place` in the queue, waits for; nothing where `cause` is None."""

    waiting: Waiting
    place: int
    cause: Cause | None = None
    words: str = ""
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What there is room for: `name` says how people call an operation.

    `running` names each operation that is driven now, with the environment it may change something in.
    `begun` are those that have begun and do not wait for approval of what is left.
    """

    running: Mapping[str, str | None]
    begun: Collection[str]
    held: Sequence[Held]
    unapproved: Collection[str]
    capacity: int | None
    drained: str | None
    now: datetime
    name: Callable[[str], str]


def touched(plan: Plan) -> dict[str, bool]:
    """Return each target that `plan` makes calls on, and whether any of them changes it."""
    found: dict[str, bool] = {}
    for step in plan.steps:
        if isinstance(step, CallStep):
            found[step.target] = found.get(step.target, False) or step.call.effect is not Effect.READ
    return found


def locks_of(op: Operation) -> tuple[Lock, ...]:
    """Return the locks that `op` holds from its start to its receipt, in the one order they are taken in.

    Targets that it changes are its own; those it only reads it shares. Nothing is locked by what
    touches nothing, may not wait, or looks again on behalf of an operation that holds the lock.
    """
    mode = op.the_intent.mode
    if mode in (Mode.DRY_RUN, Mode.EMERGENCY_READONLY) or op.the_intent.origin.channel == RECHECK:
        return ()
    return tuple(Lock(target=name, exclusive=alone) for name, alone in sorted(touched(op.the_plan).items()))


def is_free(op: Operation) -> bool:
    """Return whether `op` waits for nobody: who looks in an emergency, or for one that has room, may not."""
    return op.the_intent.mode is Mode.EMERGENCY_READONLY or op.the_intent.origin.channel == RECHECK


def slots_of(
    op: Operation, capacity: int | None, concurrent_max: Callable[[Digest], int | None]
) -> tuple[Slot, ...]:
    """Return the places that `op` takes when it starts or goes on; nothing where it only has to be closed.

    `concurrent_max` is asked for the limit of the pinned environment.
    """
    intent = op.the_intent
    if is_free(op) or not acts(op):
        return ()
    limit = concurrent_max(op.the_plan.environment) if intent.mode not in READ_MODES else None
    slots = [Slot(environment=None, limit=capacity)] if capacity is not None else []
    return (*slots, *([Slot(environment=intent.environment.id, limit=limit)] if limit is not None else []))


def turn_for(queue: Iterable[Waiting], requester: str, priority: Priority, now: datetime) -> datetime:
    """Return the turn of what `requester` wants started, asked for at `now`.

    It is after those that they asked for with that priority or a higher one, with room for others.
    """
    mine = (one for one in queue if one.requester == requester and _LEAD[one.priority] >= _LEAD[priority])
    return max((now - _LEAD[priority], *(one.turn + SHARE for one in mine)))


def judge(queue: Iterable[Waiting], house: House) -> tuple[Verdict, ...]:
    """Return for each of `queue`, in the order they come in, whether it may go on or what it waits for."""
    driven = len(house.running)
    changing = Counter(house.running.values())
    claimed: dict[tuple[str, bool], str] = {}
    for lock in house.held:
        _claim(claimed, lock.target, lock.operation, alone=lock.exclusive)
    holders = {lock.operation for lock in house.held}
    first = holders.union(house.begun)
    found: list[Verdict] = []
    queue = sorted(queue, key=lambda each: (each.operation not in first, each.turn, each.operation))
    for place, one in enumerate(queue, start=1):
        cause, words, until = _absent(one, house)
        wanted = [*((name, True) for name in one.exclusive), *((name, False) for name in one.shared)]
        if one.operation in holders:
            wanted = []  # It has them already: whoever waits for them has no turn before it.
        if cause is None:
            cause, words = _taken(sorted(wanted), claimed, holders, house)
            # Whoever waits for a target keeps those who come later from it, and from nothing else.
            for name, alone in wanted:
                _claim(claimed, name, one.operation, alone=alone)
        there = (changing[one.environment], one.limit, f" in environment `{one.environment}`")
        for count, limit, where in ((driven, house.capacity, ""), there):
            if cause is None and limit is not None and count >= limit and not one.free:
                cause, words = Cause.CAPACITY, f"no room: {count} of {limit} run{where}"
        if cause is None:
            driven += 1
            changing[one.environment] += one.limit is not None
        found.append(Verdict(waiting=one, place=place, cause=cause, words=words, until=until))
    return tuple(found)


def _absent(one: Waiting, house: House) -> tuple[Cause | None, str, datetime | None]:
    """Return why `one` is not even tried now; such a one keeps nobody from anything."""
    if house.drained is not None and not one.free and one.operation not in house.begun:
        return Cause.DRAIN, f"nothing is started: {house.drained}", None
    if one.operation in house.unapproved:
        return Cause.APPROVAL, "it is not approved yet", None
    if one.wake is not None and one.wake > house.now:
        return Cause.TIME, f"{one.reason}; it is tried again at {format_time(one.wake)}", one.wake
    return None, "", None


def _claim(claimed: dict[tuple[str, bool], str], target: str, operation: str, *, alone: bool) -> None:
    """Note the first that keeps those from `target` who want it alone, and those who would share it."""
    claimed.setdefault((target, True), operation)
    if alone:
        claimed.setdefault((target, False), operation)


def _taken(
    wanted: Sequence[tuple[str, bool]],
    claimed: Mapping[tuple[str, bool], str],
    holders: Collection[str],
    house: House,
) -> tuple[Cause | None, str]:
    for name, alone in wanted:
        other = claimed.get((name, alone))
        if other is None:
            continue
        if other in holders:
            return Cause.LOCK, f"target `{name}` is held by operation {house.name(other)}"
        return Cause.ORDER, f"operation {house.name(other)} has its turn on target `{name}` before"
    return None, ""
