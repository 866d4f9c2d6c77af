"""Turns: everybody has one, in an order that is fixed, and nobody waits for what is not in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from rexecop.operations.ports import Held
from rexecop.operations.queue import AHEAD, SHARE, Cause, House, Priority, Verdict, Waiting, judge, turn_for

NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROOMY: Final = House(
    running={},
    begun=(),
    held=(),
    unapproved=(),
    capacity=None,
    drained=None,
    now=NOW,
    name=lambda operation: operation,
)
TARGETS: Final = ("db", "mail", "web")

asks = st.tuples(
    st.integers(0, 7200),
    st.sampled_from(("alice", "bob", "carol")),
    st.sampled_from(Priority),
    st.sets(st.sampled_from(TARGETS), min_size=1),
    st.booleans(),
)


def waiting(name: str, *alone: str, shared: tuple[str, ...] = (), **more: object) -> Waiting:
    one = Waiting(
        operation=name,
        requester="alice",
        environment="prod",
        limit=None,
        exclusive=alone,
        shared=shared,
        priority=Priority.NORMAL,
        since=NOW,
        turn=NOW,
    )
    return replace(one, **more)  # type: ignore[arg-type]


def entered(asked: Sequence[tuple[int, str, Priority, set[str], bool]]) -> list[Waiting]:
    """Give everybody who asks, in the order they came, a turn."""
    queue: list[Waiting] = []
    for n, (second, who, priority, targets, alone) in enumerate(sorted(asked, key=lambda one: one[0])):
        now = NOW + timedelta(seconds=second)
        names = tuple(sorted(targets))
        queue.append(
            waiting(
                f"op{n:03}",
                *(names if alone else ()),
                shared=() if alone else names,
                requester=who,
                priority=priority,
                since=now,
                turn=turn_for(queue, who, priority, now),
            )
        )
    return queue


def held(target: str, operation: str, *, exclusive: bool = True) -> Held:
    return Held(target=target, operation=operation, number=1, exclusive=exclusive)


def started(verdicts: Sequence[Verdict]) -> list[str]:
    return [one.waiting.operation for one in verdicts if one.cause is None]


def causes(verdicts: Sequence[Verdict]) -> dict[str, Cause | None]:
    return {one.waiting.operation: one.cause for one in verdicts}


@given(st.lists(asks, max_size=12), st.randoms(use_true_random=False))
def test_the_order_is_the_same_however_the_rows_come(asked: list, random: object) -> None:  # type: ignore[type-arg]
    queue = entered(asked)
    shuffled = list(queue)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    house = replace(ROOMY, capacity=2)

    assert judge(queue, house) == judge(shuffled, house)
    turns = [one.waiting.turn for one in judge(queue, house)]
    assert turns == sorted(turns)


@given(st.lists(asks, max_size=12), asks)
def test_nobody_is_overtaken_by_those_who_come_long_after(asked: list, late: tuple) -> None:  # type: ignore[type-arg]
    queue = entered(asked)
    last = max((one.turn for one in queue), default=NOW)
    moment = last + AHEAD + timedelta(seconds=1)

    assert all(turn_for(queue, late[1], priority, moment) > last for priority in Priority)
    for one in queue:
        mine = sum(other.requester == one.requester for other in queue)
        assert one.turn - one.since <= AHEAD + mine * (2 * AHEAD + SHARE)


@given(st.lists(asks, max_size=10), st.integers(1, 4))
def test_everybody_is_started_when_each_ends_in_its_time(asked: list, capacity: int) -> None:  # type: ignore[type-arg]
    queue, done = entered(asked), 0
    while queue:
        begun = set(started(judge(queue, replace(ROOMY, capacity=capacity))))
        assert begun, "nothing runs, and nothing may start"
        assert queue[0].operation in begun or len(begun) == capacity or len(queue) > 1
        done += len(begun)
        queue = [one for one in queue if one.operation not in begun]
    assert done == len(asked)


@given(st.lists(asks, max_size=12), st.integers(1, 4))
def test_what_starts_together_shares_no_target_that_one_of_them_changes(asked: list, capacity: int) -> None:  # type: ignore[type-arg]
    queue = {one.operation: one for one in entered(asked)}

    begun = started(judge(queue.values(), replace(ROOMY, capacity=capacity)))

    assert len(begun) <= capacity
    for n, name in enumerate(begun):
        for other in (queue[each] for each in begun[:n]):
            one = queue[name]
            assert not {*one.exclusive} & {*other.exclusive, *other.shared}
            assert not {*one.shared} & {*other.exclusive}


def taken(queue: Sequence[Waiting]) -> list[Held]:
    """Return the locks that those of `queue` have whose locks nobody before them has."""
    found: list[Held] = []
    for one in queue:
        mine = [held(name, one.operation) for name in one.exclusive]
        mine += [held(name, one.operation, exclusive=False) for name in one.shared]
        if not any(a.target == b.target and (a.exclusive or b.exclusive) for a in found for b in mine):
            found += mine
    return found


@given(
    st.lists(asks, min_size=1, max_size=8),
    st.sets(st.integers(0, 7)),
    st.sets(st.integers(0, 7)),
    st.integers(1, 3),
    st.sampled_from((None, 1, 2)),
    st.randoms(use_true_random=False),
)
def test_whoever_holds_locks_and_waits_for_room_never_stands_still_with_who_waits_for_the_locks(  # type: ignore[no-untyped-def]
    asked: list,  # type: ignore[type-arg]
    holding: set[int],
    again: set[int],
    capacity: int,
    limit: int | None,
    random,
) -> None:
    """Some were interrupted with their locks, some are tried again without, some are new; all end."""
    left = {one.operation: replace(one, limit=limit) for one in entered(asked)}
    names = list(left)
    locks = taken([left[names[n]] for n in holding if n < len(names)])
    begun = {names[n] for n in again if n < len(names)} | {lock.operation for lock in locks}
    running: dict[str, str | None] = {}
    while left or running:
        house = replace(ROOMY, running=running, begun=begun, held=locks, capacity=capacity)
        ready = started(judge(left.values(), house))
        assert ready or running, "nothing runs, and nothing may go on"
        for name in ready[: random.randint(0 if running else 1, len(ready))]:
            one, running = left.pop(name), running | {name: "prod"}
            mine = taken([one])
            others = [lock for lock in locks if lock.operation != name]
            assert not any(
                a.target == b.target and (a.exclusive or b.exclusive) for a in others for b in mine
            )
            locks = others + mine
        assert len(running) <= min(capacity, limit or capacity)
        over = random.choice(sorted(running))
        running = {name: where for name, where in running.items() if name != over}
        locks = [lock for lock in locks if lock.operation != over]


def test_what_has_begun_comes_before_what_has_not_and_the_earlier_turn_among_those() -> None:
    queue = [
        waiting("new", "a", turn=NOW - AHEAD),
        waiting("again", "b", turn=NOW + SHARE),
        waiting("holder", "c"),
    ]
    house = replace(ROOMY, begun=["again"], held=[held("c", "holder")], capacity=1)

    assert [one.waiting.operation for one in judge(queue, house)] == ["holder", "again", "new"]
    assert started(judge(queue, house)) == ["holder"]


def test_who_holds_a_target_waits_for_no_turn_on_it() -> None:
    queue = [waiting("again", "db"), waiting("holder", "db", turn=NOW + SHARE)]

    found = judge(queue, replace(ROOMY, begun=["again", "holder"], held=[held("db", "holder")]))

    assert causes(found) == {"again": Cause.LOCK, "holder": None}


def test_who_looks_in_an_emergency_waits_neither_for_room_nor_for_the_end_of_a_drain() -> None:
    full = replace(ROOMY, running={"x": None}, capacity=1, drained="drained by alice")

    assert started(judge([waiting("looks", free=True), waiting("other")], full)) == ["looks"]


def test_other_targets_pass_a_blocked_head_and_the_same_target_does_not() -> None:
    queue = [
        waiting("head", "db"),
        waiting("same", "db", turn=NOW + SHARE),
        waiting("reads", shared=("db",), turn=NOW + 2 * SHARE),
        waiting("other", "web", turn=NOW + 3 * SHARE),
    ]

    found = judge(queue, replace(ROOMY, held=[held("db", "running")]))

    assert causes(found) == {
        "head": Cause.LOCK,
        "same": Cause.LOCK,
        "reads": Cause.LOCK,
        "other": None,
    }
    assert found[0].words == "target `db` is held by operation running"
    assert causes(judge(queue, ROOMY))["same"] is Cause.ORDER


def test_reads_go_together_but_not_past_a_change_that_waits_for_them() -> None:
    queue = [waiting("change", "db"), waiting("read", shared=("db",), turn=NOW + SHARE)]
    reading = replace(ROOMY, held=[held("db", "running", exclusive=False)])

    assert started(judge(queue[1:], reading)) == ["read"]
    assert causes(judge(queue, reading)) == {"change": Cause.LOCK, "read": Cause.ORDER}


def test_what_is_not_approved_or_waits_for_a_time_keeps_nobody_from_anything() -> None:
    late = NOW + timedelta(hours=2)
    queue = [
        waiting("unsaid", "db"),
        waiting("later", "db", turn=NOW + SHARE, wake=late, reason="the window opens"),
        waiting("now", "db", turn=NOW + 2 * SHARE),
    ]

    found = judge(queue, replace(ROOMY, unapproved=["unsaid"], capacity=1))

    assert causes(found) == {"unsaid": Cause.APPROVAL, "later": Cause.TIME, "now": None}
    assert found[1].until == late


def test_an_environment_is_kept_to_its_limit_and_others_go_on() -> None:
    queue = [
        waiting("one", "a", limit=1),
        waiting("two", "b", limit=1, turn=NOW + SHARE),
        waiting("elsewhere", "c", environment="test", limit=1, turn=NOW + 2 * SHARE),
        waiting("reads", shared=("d",), turn=NOW + 3 * SHARE),
    ]

    assert started(judge(queue, ROOMY)) == ["one", "elsewhere", "reads"]
    full = replace(ROOMY, running={"x": "prod"})
    assert started(judge(queue, full)) == ["elsewhere", "reads"]
    assert judge(queue, full)[0].words == "no room: 1 of 1 run in environment `prod`"


def test_many_of_one_requester_leave_turns_to_others() -> None:
    queue = [waiting(f"a{n}", f"t{n}", turn=NOW + n * SHARE) for n in range(20)]
    moment = NOW + SHARE / 2
    turn = turn_for(queue, "bob", Priority.NORMAL, moment)

    order = judge([*queue, waiting("bob", "x", requester="bob", turn=turn)], replace(ROOMY, capacity=1))

    assert [one.waiting.operation for one in order][:3] == ["a0", "bob", "a1"]
    assert turn_for(queue, "alice", Priority.NORMAL, moment) == queue[-1].turn + SHARE
    assert turn_for(queue, "alice", Priority.HIGH, moment) < queue[0].turn


def test_a_drain_starts_nothing() -> None:
    found = judge([waiting("one", "a"), waiting("begun", "b")], replace(ROOMY, begun=["begun"], drained="so"))

    assert causes(found) == {"one": Cause.DRAIN, "begun": None}
