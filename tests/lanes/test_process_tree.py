"""Nothing outlives its call, its spawner or its runner, however it detached."""

import asyncio
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rexecop.lanes import kernel, proctree
from rexecop.lanes.child import wait_for_go
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneEvent, LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, Limits
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, out_of_time, process, result_of, run
from tests.needs import needs

PATIENCE_SECONDS = 60.0
CLASSES = [
    Isolation.NONE,
    Isolation.RLIMITS,
    pytest.param(Isolation.BUBBLEWRAP, marks=needs("bwrap")),
]
# A child, a grandchild in a session of its own, and one orphaned on purpose; each writes its pid down.
TREE = """
cd "$1"
sleep 60 & echo $! > child
setsid sh -c 'echo $$ > session; sleep 60 & wait' &
(setsid sh -c '(sleep 60 & echo $! > orphan)' &)
while [ ! -s child ] || [ ! -s session ] || [ ! -s orphan ]; do sleep 0.01; done
echo ready
"""


@pytest.fixture(name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(
        isolation=dict.fromkeys([Isolation.NONE, Isolation.RLIMITS, Isolation.BUBBLEWRAP], Grade.SHAPE),
        secrets=NO_SECRETS,
        hidden=(),
    )
    yield lane
    lane.close()


def until(holds: Callable[[], bool]) -> bool:
    """Whether `holds` comes true before patience ends."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def sleepers(folder: Path) -> list[int]:
    """Processes that were started in `folder`, found by looking at all of them."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.readlink(f"/proc/{name}/cwd") == str(folder):
                    found.append(int(name))
            except OSError:
                continue
    return [pid for pid in found if alive(pid)]


def tree_call(folder: Path, *, then: str) -> Call:
    """A change that starts `TREE` in `folder`, then does `then`."""
    return process(
        *("/bin/sh", "-c", TREE + then, "sh", str(folder)),
        effect=Effect.CHANGE,
        cwd=str(folder),
        writable=(str(folder),),
    )


@pytest.mark.parametrize("isolation", CLASSES)
@pytest.mark.parametrize(
    ("then", "ended", "failure"),
    [("exit 0", Ended.OK, None), ("sleep 60", Ended.UNKNOWN, Failure.TIMEOUT)],
    ids=["exit", "timeout"],
)
def test_a_tree_ends_with_its_call(
    lane: ProcessLane, tmp_path: Path, isolation: Isolation, then: str, ended: Ended, failure: Failure | None
) -> None:
    call = tree_call(tmp_path, then=then)

    def made(limits: Limits) -> LaneResult:
        return result_of(call_lane(lane, call, limits=limits, isolation=isolation))

    result = out_of_time(made, lambda found: found.stdout != b"") if failure else made(LIMITS)

    assert (result.ended, result.failure, result.stdout) == (ended, failure, b"ready\n")
    assert result.measured.facts is not None and result.measured.facts["tree_empty"] is True
    assert sleepers(tmp_path) == []


@pytest.mark.parametrize("isolation", CLASSES)
def test_a_tree_ends_when_its_call_is_cancelled(
    lane: ProcessLane, tmp_path: Path, isolation: Isolation
) -> None:
    call = tree_call(tmp_path, then="sleep 60")

    async def cancel_when_ready() -> None:
        async def wait() -> None:
            opened = lane.open(call, LIMITS, isolation, 1, lambda: None)
            async for _ in opened:
                ready.set()

        ready = asyncio.Event()
        task = asyncio.create_task(wait())
        await ready.wait()
        assert sleepers(tmp_path)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(cancel_when_ready())

    assert until(lambda: not sleepers(tmp_path))


@pytest.mark.parametrize("isolation", CLASSES)
def test_a_cancelled_program_may_tidy_up_within_its_grace_and_no_longer(
    lane: ProcessLane, tmp_path: Path, isolation: Isolation
) -> None:
    script = "cd $1; trap 'touch tidy; exit' TERM; (trap '' TERM; echo; exec sleep 60) & wait"
    call = process(
        *("/bin/sh", "-c", script, "sh", str(tmp_path)),
        effect=Effect.CHANGE,
        cwd=str(tmp_path),
        writable=(str(tmp_path),),
    )

    async def cancel_when_ready() -> float:
        opened = lane.open(call, Limits(timeout_ms=20_000, output_bytes=9, grace_ms=5_000), isolation, 1, no)
        async for _ in opened:
            break
        started = time.monotonic()
        await opened.aclose()  # type: ignore[attr-defined]
        return time.monotonic() - started

    def no() -> None:
        """Let it go."""

    took = run(cancel_when_ready())

    assert (tmp_path / "tidy").exists() and sleepers(tmp_path) == []
    assert took < 5, "a program that has ended does not use up its grace"


RUNNER = """
import asyncio, sys
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call, Limits, ProcessRequest
from rexecop.proof.vocabulary import Effect, Grade, Isolation
folder, isolation, script = sys.argv[1], Isolation(sys.argv[2]), sys.argv[3]
lane = ProcessLane(isolation={isolation: Grade.SHAPE}, secrets=NO_SECRETS, hidden=())
request = ProcessRequest(argv=("/bin/sh", "-c", script, "sh", folder), cwd=folder, writable=(folder,))
call = Call(target="t", connector="c", action="a", effect=Effect.CHANGE, request=request)
async def main():
    limits = Limits(timeout_ms=60_000, output_bytes=1_000)
    async for event in lane.open(call, limits, isolation, 1, lambda: None):
        print(lane.spawner.pid, flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("isolation", CLASSES)
def test_every_tree_ends_when_the_runner_is_killed(tmp_path: Path, isolation: Isolation) -> None:
    argv = [sys.executable, "-c", RUNNER, str(tmp_path), isolation.value, TREE + "sleep 60"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as runner:
        assert runner.stdout is not None
        spawner = int(runner.stdout.readline())
        assert len(sleepers(tmp_path)) >= 4
        runner.send_signal(signal.SIGKILL)

    assert until(lambda: not sleepers(tmp_path) and not alive(spawner))


def test_a_killed_keeper_loses_the_answer_and_its_tree_ends(lane: ProcessLane, tmp_path: Path) -> None:
    call = tree_call(tmp_path, then="sleep 60")

    async def kill_the_keeper() -> LaneResult:
        events: list[LaneEvent] = []
        opened = lane.open(call, LIMITS, Isolation.NONE, 1, lambda: None)
        async for event in opened:
            if not events:
                assert lane.spawner.pid is not None
                for keeper in proctree.children(lane.spawner.pid):
                    os.kill(keeper, signal.SIGKILL)
            events.append(event)
        return result_of(events)

    result = run(kill_the_keeper())

    assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
    assert until(lambda: not sleepers(tmp_path))


def test_a_killed_spawner_is_started_again(lane: ProcessLane) -> None:
    assert result_of(call_lane(lane, process("true"))).ended is Ended.OK
    first = lane.spawner.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)

    assert result_of(call_lane(lane, process("true"))).ended is Ended.OK
    assert lane.spawner.pid != first


def test_an_interrupt_for_the_runner_does_not_reach_its_calls(lane: ProcessLane) -> None:
    result_of(call_lane(lane, process("true")))
    assert lane.spawner.pid is not None
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(lane.spawner.pid, number)

    assert os.getsid(lane.spawner.pid) != os.getsid(0)
    assert result_of(call_lane(lane, process("true"))).ended is Ended.OK


def test_a_word_to_start_that_comes_too_late_starts_nothing(
    lane: ProcessLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner was frozen after its clearance: its word names a moment that has passed."""
    monkeypatch.setattr("rexecop.lanes.process.GO_VALID_MS", -1)
    for isolation in (Isolation.NONE, Isolation.RLIMITS):
        result = result_of(call_lane(lane, process("touch", str(tmp_path / "mark")), isolation=isolation))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.DEADLINE_PASSED)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(("late_ms", "word"), [(-60_000, 8), (60_000, 0)], ids=["too late", "no word"])
def test_a_forked_child_looks_at_the_time_once_more_itself(late_ms: int, word: int) -> None:
    """Frozen between the keeper's look and its own, or left alone by a keeper that died."""
    read, write = os.pipe()
    os.write(write, struct.pack(">q", kernel.boot_ms() + late_ms)[:word])
    os.close(write)
    try:
        with pytest.raises(OSError, match=r"expired|canceled"):
            wait_for_go(read)
    finally:
        os.close(read)


def test_a_refused_clearance_executes_nothing(lane: ProcessLane, tmp_path: Path) -> None:
    def refuse() -> None:
        raise InterruptedError("no")

    for isolation in (Isolation.NONE, Isolation.RLIMITS):
        with pytest.raises(InterruptedError):
            call_lane(lane, process("touch", str(tmp_path / "mark")), isolation=isolation, clearance=refuse)
    assert not (tmp_path / "mark").exists()
