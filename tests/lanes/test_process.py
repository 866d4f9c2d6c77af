"""The process lane: what a program gets, what comes back, and how its call ends."""

import asyncio
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.lanes import wire
from rexecop.lanes.failures import Failure
from rexecop.lanes.output import FLOOD_BYTES
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.sandbox import SAFE_PATH
from rexecop.lanes.spawning import Keeper
from rexecop.proof.call import Call, Limits, SecretRef, Terminal
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.contract import LaneContract, ProgramContract
from tests.lanes.support import (
    LIMITS,
    call_lane,
    out_of_time,
    process,
    reply,
    result_of,
    run,
    scripted,
    secrets_of,
    shell,
)
from tests.lanes.test_surroundings import with_surroundings

SECRETS = {"password": b"correct horse", "short": b"ab"}
BRIEF = Limits(timeout_ms=150, output_bytes=64 * 1024, grace_ms=50)

# Looking does not open anything itself, as listing a folder of descriptors would.
OPEN_FILES = """
import os
for number in range(1024):
    try:
        os.fstat(number)
    except OSError:
        continue
    print(number)
"""


@pytest.fixture(scope="module", name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(
        isolation={Isolation.NONE: Grade.SHAPE, Isolation.RLIMITS: Grade.SHAPE},
        secrets=secrets_of(**SECRETS),
        hidden=(),
    )
    yield lane
    lane.close()


class ProcessContract(LaneContract):
    @pytest.fixture(autouse=True)
    def _use(self, lane: ProcessLane) -> None:
        self.lane = lane

    def saying(self, text: str) -> Call:
        return process("printf", "%s", text)

    def failing(self) -> Call:
        return process("false")

    def slow(self) -> Call:
        return process("sleep", "30")

    def foreign(self) -> Call:
        return scripted(reply())


class TestWithoutIsolation(ProcessContract, ProgramContract):
    isolation = Isolation.NONE

    def program(self, *argv: str, **options: object) -> Call:
        return with_surroundings(process(*argv), **options)


class TestWithLimits(ProcessContract):
    isolation = Isolation.RLIMITS


def ran(
    lane: ProcessLane, call: Call, limits: Limits = LIMITS, isolation: Isolation = Isolation.NONE
) -> LaneResult:
    return result_of(call_lane(lane, call, limits=limits, isolation=isolation))


class TestWhatAProgramGets:
    def test_its_arguments_arrive_exactly_and_no_shell_reads_them(self, lane: ProcessLane) -> None:
        arguments = ("$(id)", "a b", "'", '"', ";", "*", "", "-n", "\n", "é")
        result = ran(lane, process("printf", "[%s]", *arguments))

        assert result.stdout.decode() == "".join(f"[{argument}]" for argument in arguments)

    def test_its_environment_is_the_allow_list_and_what_the_call_names(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
        monkeypatch.setenv("LD_PRELOAD", "")
        result = ran(lane, process("env", env={"COLOUR": "green"}))

        assert sorted(result.stdout.decode().split()) == ["COLOUR=green", "LANG=C.UTF-8", f"PATH={SAFE_PATH}"]

    def test_a_search_path_of_the_runner_finds_no_program(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        planted = tmp_path / "planted-program"
        planted.write_text("#!/bin/sh\necho planted\n")
        planted.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

        assert ran(lane, process("planted-program")).failure is Failure.NOT_FOUND

    def test_it_has_three_open_files_and_no_more(self, lane: ProcessLane) -> None:
        result = ran(lane, process(sys.executable, "-I", "-S", "-c", OPEN_FILES))

        assert result.stdout.decode().split() == ["0", "1", "2"]

    def test_its_standard_input_is_what_the_call_says_or_empty(self, lane: ProcessLane) -> None:
        assert ran(lane, process("cat", stdin="three\nlines\nhere")).stdout == b"three\nlines\nhere"
        assert ran(lane, process("cat")).stdout == b""

    def test_standard_input_larger_than_a_pipe_holds_arrives_whole(self, lane: ProcessLane) -> None:
        assert ran(lane, process("wc", "-c", stdin="x" * 100_000)).stdout.strip() == b"100000"

    def test_it_starts_in_the_folder_of_the_call(self, lane: ProcessLane, tmp_path: Path) -> None:
        assert ran(lane, process("pwd", "-P", cwd=str(tmp_path))).stdout.decode().strip() == str(tmp_path)
        assert ran(lane, process("pwd", "-P")).stdout == b"/\n"

    def test_it_has_a_session_of_its_own(self, lane: ProcessLane) -> None:
        session = ran(lane, shell("cut -d' ' -f6 /proc/$$/stat; echo $$")).stdout.split()

        assert session[0] == session[1]

    def test_signals_the_spawner_ignores_have_their_defaults_again(self, lane: ProcessLane) -> None:
        ignored = ran(lane, process("grep", "SigIgn", "/proc/self/status")).stdout.split()[-1]

        # 32 and 33 belong to the C library; whoever started the tests may have ignored them for everyone.
        assert int(ignored, 16) & ~(0b11 << 31) == 0


class TestWhatComesBack:
    def test_output_and_errors_stay_apart(self, lane: ProcessLane) -> None:
        result = ran(lane, shell("echo out; echo err >&2"))

        assert (result.stdout, result.stderr) == (b"out\n", b"err\n")

    def test_output_that_is_no_text_comes_back_as_it_is(self, lane: ProcessLane) -> None:
        assert ran(lane, process("printf", r"\377\376\000\200")).stdout == b"\xff\xfe\x00\x80"

    def test_a_long_line_without_an_end_arrives_whole_with_its_last_blanks(self, lane: ProcessLane) -> None:
        limits = replace(LIMITS, output_bytes=1 << 20)
        result = ran(lane, shell("printf '%0262144d  ' 7"), limits)

        assert result.stdout == b"7".rjust(262_144, b"0") + b"  "

    def test_a_slow_drip_is_seen_before_the_end(self, lane: ProcessLane) -> None:
        events = call_lane(lane, shell("echo one; sleep 0.1; echo two"))

        assert len(events) >= 3

    def test_another_status_than_zero_failed_and_is_told(self, lane: ProcessLane) -> None:
        result = ran(lane, shell("exit 3"))

        assert (result.ended, result.failure, result.status) == (Ended.FAILED, Failure.NONZERO_EXIT, 3)

    @pytest.mark.parametrize(
        ("effect", "ended"), [(Effect.READ, Ended.FAILED), (Effect.CHANGE, Ended.UNKNOWN)]
    )
    def test_a_death_by_signal_is_told_and_leaves_a_change_unknown(
        self, lane: ProcessLane, effect: Effect, ended: Ended
    ) -> None:
        result = ran(lane, shell("kill -9 $$", effect=effect))

        assert (result.ended, result.failure, result.signal) == (ended, Failure.KILLED, 9)

    def test_a_program_that_does_not_exist_failed_and_was_never_executed(self, lane: ProcessLane) -> None:
        for name in ("no-such-program", "/no/such/program"):
            result = ran(lane, process(name, effect=Effect.CHANGE))

            assert (result.ended, result.failure) == (Ended.FAILED, Failure.NOT_FOUND)
            assert result.measured.protection == "not-executed"

    def test_a_file_that_may_not_be_executed_failed(self, lane: ProcessLane, tmp_path: Path) -> None:
        file = tmp_path / "data"
        file.write_text("data")

        assert ran(lane, process(str(file))).failure is Failure.PERMISSION_DENIED

    @pytest.mark.parametrize("isolation", [Isolation.NONE, Isolation.RLIMITS])
    def test_a_file_that_is_no_program_failed_and_was_never_executed(
        self, lane: ProcessLane, tmp_path: Path, isolation: Isolation
    ) -> None:
        file = tmp_path / "data"
        file.write_text("data")
        file.chmod(0o755)
        result = ran(lane, process(str(file), effect=Effect.CHANGE), isolation=isolation)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.NOT_EXECUTABLE)

    @pytest.mark.parametrize("isolation", [Isolation.NONE, Isolation.RLIMITS])
    def test_a_script_without_its_interpreter_was_never_executed(
        self, lane: ProcessLane, tmp_path: Path, isolation: Isolation
    ) -> None:
        file = tmp_path / "script"
        file.write_text("#!/no/such/interpreter\n")
        file.chmod(0o755)
        result = ran(lane, process(str(file), effect=Effect.CHANGE), isolation=isolation)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.INTERPRETER_MISSING)

    def test_a_folder_that_does_not_exist_failed_and_nothing_ran(self, lane: ProcessLane) -> None:
        assert ran(lane, process("true", cwd="/no/such/folder")).failure is Failure.NOT_FOUND

    def test_what_was_measured_is_told(self, lane: ProcessLane) -> None:
        measured = ran(lane, process("true"), isolation=Isolation.RLIMITS).measured

        assert (measured.isolation, measured.network) == ("rlimits", "host")
        assert measured.protection == "spawner-kills-tree"
        assert measured.facts is not None
        assert measured.facts["NoNewPrivs"] == 1 and measured.facts["grade"] == "shape"


class TestLimits:
    def test_a_flood_is_ended_counted_and_cut(self, lane: ProcessLane) -> None:
        result = ran(lane, process("yes"), replace(LIMITS, output_bytes=1_000))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
        assert len(result.stdout) == 1_000
        assert result.stdout_bytes > FLOOD_BYTES

    def test_output_past_what_is_kept_is_read_to_its_end_where_the_call_says_so(
        self, lane: ProcessLane
    ) -> None:
        limits = replace(LIMITS, output_bytes=1_000, raw_output_bytes=64 << 20)
        result = ran(lane, process("head", "-c", str(40 << 20), "/dev/zero"), limits)

        assert (result.ended, len(result.stdout), result.stdout_bytes) == (Ended.OK, 1_000, 40 << 20)

    def test_a_call_may_be_ended_sooner_than_usual(self, lane: ProcessLane) -> None:
        limits = replace(LIMITS, output_bytes=1_000, raw_output_bytes=5_000)
        result = ran(lane, process("head", "-c", str(8 << 20), "/dev/zero"), limits)

        assert (result.failure, len(result.stdout)) == (Failure.OUTPUT_LIMIT, 1_000)
        assert result.stdout_bytes < 1 << 20

    def test_a_program_that_refuses_to_end_is_ended(self, lane: ProcessLane) -> None:
        call = shell("trap '' TERM; echo deaf; sleep 30 & wait; sleep 30")
        result = out_of_time(lambda limits: ran(lane, call, limits), lambda found: found.stdout != b"")

        assert result.failure is Failure.TIMEOUT
        assert result.signal == 9
        assert result.stdout == b"deaf\n"

    def test_a_program_that_is_stopped_is_ended_at_its_time(self, lane: ProcessLane) -> None:
        call = shell("echo still; kill -STOP $$; echo never")
        result = out_of_time(lambda limits: ran(lane, call, limits), lambda found: found.stdout != b"")

        assert (result.failure, result.signal, result.stdout) == (Failure.TIMEOUT, 9, b"still\n")

    def test_a_program_may_tidy_up_within_its_grace(self, lane: ProcessLane) -> None:
        call = shell("trap 'echo tidy; exit 0' TERM; sleep 30 & wait")
        result = out_of_time(
            lambda limits: ran(lane, call, limits), lambda found: found.stdout != b"", grace_ms=20_000
        )

        assert (result.failure, result.stdout) == (Failure.TIMEOUT, b"tidy\n")

    def test_more_processes_than_allowed_end_the_call(self, lane: ProcessLane) -> None:
        script = "for n in 1 2 3 4 5 6 7 8; do sleep 30 & done; wait"
        result = ran(lane, shell(script), replace(LIMITS, processes=4))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.PROCESS_LIMIT)

    def test_memory_past_the_limit_is_not_given(self, lane: ProcessLane) -> None:
        limits = replace(LIMITS, memory_bytes=256 * 1024 * 1024)
        call = process(sys.executable, "-I", "-S", "-c", "bytearray(1 << 30)")

        assert ran(lane, call, limits, Isolation.RLIMITS).failure is Failure.NONZERO_EXIT

    def test_a_program_cannot_raise_its_limits(self, lane: ProcessLane) -> None:
        result = ran(lane, shell("ulimit -S -f; ulimit -H -f; ulimit -H -t"), isolation=Isolation.RLIMITS)

        assert b"unlimited" not in result.stdout


class TestSecrets:
    def call(self, *argv: str, stdin: bool = False) -> Call:
        ref = ("pw=", SecretRef(secret="password"), ";")
        return process(*argv, stdin=ref) if stdin else process(*argv, env={"PW": ref})

    def test_a_secret_reaches_the_program_and_no_output(self, lane: ProcessLane) -> None:
        for call in (self.call("env"), self.call("cat", stdin=True)):
            events = call_lane(lane, call)
            result = result_of(events)

            assert b"pw=[redacted];" in result.stdout
            assert SECRETS["password"] not in repr(events).encode()
            assert result.redactions == 1

    def test_a_secret_cut_in_two_by_the_program_is_still_taken_out(self, lane: ProcessLane) -> None:
        script = 'printf %s "${PW%???????}"; sleep 0.05; printf %s "${PW#??????????}"'
        call = process(*("/bin/sh", "-c", script), env={"PW": ("pw=", SecretRef(secret="password"), ";")})

        assert ran(lane, call).stdout == b"pw=[redacted];"

    def test_a_secret_that_cannot_be_read_refuses_the_call(self, lane: ProcessLane) -> None:
        result = ran(lane, process("env", env={"PW": (SecretRef(secret="missing"),)}))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.SECRET_MISSING)


@settings(max_examples=25)
@given(data=st.binary(max_size=300).filter(lambda data: b"\0" not in data))
def test_what_goes_in_comes_out_byte_for_byte(lane: ProcessLane, data: bytes) -> None:
    octal = "".join(f"\\{byte:03o}" for byte in data)

    assert ran(lane, process("printf", octal)).stdout == data


def test_closing_the_events_early_ends_the_program(lane: ProcessLane, tmp_path: Path) -> None:
    call = shell('echo $$ > "$1"; echo started; sleep 30', str(tmp_path / "pid"))

    async def start_and_leave() -> None:
        opened = lane.open(call, LIMITS, Isolation.NONE, 1, lambda: None)
        async for _ in opened:
            break
        await opened.aclose()  # type: ignore[attr-defined]

    run(start_and_leave())
    pid = int((tmp_path / "pid").read_text())

    assert not os.path.exists(f"/proc/{pid}")


def test_nothing_starts_before_the_first_event_is_asked_for(lane: ProcessLane, tmp_path: Path) -> None:
    asked: list[str] = []
    call = process("touch", str(tmp_path / "ran"), effect=Effect.CHANGE)

    async def open_and_leave() -> None:
        opened = lane.open(call, LIMITS, Isolation.NONE, 1, lambda: asked.append("asked"))
        await opened.aclose()  # type: ignore[attr-defined]

    run(open_and_leave())

    assert asked == []
    assert not (tmp_path / "ran").exists()


def test_a_keeper_is_heard_whose_socket_has_the_number_of_one_that_was_still_listened_to() -> None:
    async def talk() -> list[bytes]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        number, left = ours.fileno(), Keeper(ours)
        listening = asyncio.create_task(left.receive())
        await asyncio.sleep(0)
        theirs.close()
        listening.cancel()
        await left.end(0)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        assert number in (ours.fileno(), theirs.fileno())
        with theirs:
            asyncio.get_running_loop().call_soon(theirs.sendall, wire.pack([wire.READY]))
            async with asyncio.timeout(60):
                return await Keeper(ours).receive()

    assert run(talk()) == [wire.READY]


@pytest.mark.parametrize("tty", [None, Terminal()], ids=["pipes", "terminal"])
def test_closing_the_events_while_the_program_ends_never_hangs(
    lane: ProcessLane, tty: Terminal | None
) -> None:
    call = with_surroundings(shell("echo started"), tty=tty)

    async def start_and_race(wait_ms: int) -> None:
        opened = lane.open(call, LIMITS, Isolation.NONE, 1, lambda: None)
        async for _ in opened:
            break
        # The program is ending meanwhile: before, at and after that moment a close is the same.
        await asyncio.sleep(wait_ms / 1000)
        await opened.aclose()  # type: ignore[attr-defined]

    async def every_moment() -> None:
        async with asyncio.timeout(60):
            for wait_ms in range(12):
                await start_and_race(wait_ms)

    run(every_moment())

    assert ran(lane, process("echo", "alive")).stdout == b"alive\n"
