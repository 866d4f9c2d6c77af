"""Input for a program that runs: in order, bounded, and of no concern to one that reads no more."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import pytest

from rexecop.lanes import wire
from rexecop.lanes.failures import Failure
from rexecop.lanes.live import WAITING_BYTES_MAX, Live
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.spawning import Keeper
from rexecop.proof.vocabulary import Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, process, result_of, run


def test_what_was_put_before_the_program_is_there_comes_after_what_its_call_says() -> None:
    async def fed() -> bytes:
        live, (read, write) = Live(feeds=True), os.pipe()
        live.put(b"second, ")
        live.join(write, b"first, ", terminal=False)
        live.start(lambda: None)
        live.put(b"third")
        live.end()
        return os.read(read, 100) + os.read(read, 100)

    assert run(fed()) == b"first, second, third"


def test_a_program_that_is_started_again_misses_nothing() -> None:
    async def fed() -> bytes:
        live, (_, lost), (read, write) = Live(feeds=True), os.pipe(), os.pipe()
        live.put(b"second")
        live.join(lost, b"first, ", terminal=False)
        live.close()
        live.join(write, b"first, ", terminal=False)
        live.start(lambda: None)
        return os.read(read, 100)

    assert run(fed()) == b"first, second"


def test_more_than_may_wait_is_refused_and_so_is_input_after_its_end() -> None:
    live = Live(feeds=True)
    live.put(bytes(WAITING_BYTES_MAX))
    with pytest.raises(OverflowError):
        live.put(b"x")

    ended = Live(feeds=True)
    ended.end()
    with pytest.raises(OverflowError):
        ended.put(b"x")


def test_what_does_not_fit_into_the_pipe_waits_and_arrives_whole() -> None:
    data = bytes(range(256)) * 4_096

    async def fed() -> bytes:
        live, (read, write) = Live(feeds=True), os.pipe()
        live.join(write, b"", terminal=False)
        live.start(lambda: None)
        live.put(data)
        live.end()
        got, os_read = bytearray(), asyncio.to_thread
        while piece := await os_read(os.read, read, 1 << 16):
            got += piece
        return bytes(got)

    assert run(fed()) == data


def test_a_program_that_reads_no_more_costs_nothing() -> None:
    async def fed() -> int:
        live, (read, write) = Live(feeds=True), os.pipe()
        live.join(write, b"", terminal=False)
        live.start(lambda: None)
        os.close(read)
        for _ in range(3):
            live.put(bytes(WAITING_BYTES_MAX))
        with suppress(OSError):
            os.close(write)
            raise AssertionError("our end was left open")
        return live.bytes

    assert run(fed()) == 0


@pytest.mark.parametrize(("typed", "ends"), [(b"a\n", 1), (b"a", 2), (b"", 1), (b"a\x04", 0)])
def test_a_terminal_gets_the_end_as_it_is_typed(typed: bytes, ends: int) -> None:
    async def fed() -> bytes:
        live, (read, write) = Live(feeds=True), os.pipe()
        live.join(write, b"", terminal=True)
        live.start(lambda: None)
        live.put(typed)
        live.end()
        found = os.read(read, 100)
        live.close()
        return found

    assert run(fed()) == typed + b"\x04" * ends


def test_a_program_that_ends_before_its_input_leaves_nothing_open() -> None:
    lane = ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=NO_SECRETS, hidden=())

    async def story() -> list[int]:
        counts = []
        for _ in range(3):
            opened = lane.spoken_to(Live(feeds=True)).open(
                process("true"), LIMITS, Isolation.NONE, 1, lambda: None
            )
            assert result_of([event async for event in opened]).ended is Ended.OK
            counts.append(len(os.listdir("/proc/self/fd")))
        return counts

    try:
        first, *others = run(story())
    finally:
        lane.close()

    assert others == [first, first]


def test_an_interrupt_that_comes_in_one_piece_with_the_word_to_start_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = bytearray()

    async def together(keeper: Keeper, fields: list[bytes]) -> None:
        held.extend(wire.pack(fields))
        if fields[0] != wire.GO:
            await asyncio.get_running_loop().sock_sendall(keeper._socket, bytes(held))
            held.clear()

    monkeypatch.setattr(Keeper, "send", together)
    lane, live = (
        ProcessLane(isolation={Isolation.NONE: Grade.SHAPE}, secrets=NO_SECRETS, hidden=()),
        Live(feeds=False),
    )
    live.interrupt()
    try:
        result = result_of(call_lane(lane.spoken_to(live), process("sleep", "30")))
    finally:
        lane.close()

    assert (result.failure, result.signal) == (Failure.KILLED, 2)
