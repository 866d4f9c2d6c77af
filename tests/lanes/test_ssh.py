"""The SSH lane against a real server: what every lane promises, and how commands run over it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

import pytest

from rexecop.lanes.failures import Failure
from rexecop.lanes.port import Chunk, LaneEvent
from rexecop.lanes.seat import Seat
from rexecop.lanes.ssh import SshLane
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.ssh_calls import command, exchange, facts, host, lane_for, result, result_in_loop, shell
from tests.lanes.sshd import Sshd, sshd
from tests.lanes.support import LIMITS, out_of_time, run, scripted, secrets_of
from tests.needs import needs

pytestmark = needs("sshd", "ssh-keygen")

BRIEF: Final = Limits(timeout_ms=400, output_bytes=64 * 1024, grace_ms=200)
# Three processes that live on after a signal to end: in the group, in a session of its own, and the program.
STUBBORN: Final = """
trap '' TERM HUP
echo $$ > "$1/program"
(echo $(exec sh -c 'echo $PPID') > "$1/child"; while :; do sleep 1; done) &
setsid sh -c 'echo $$ > "$1/stray"; trap "" TERM HUP; while :; do sleep 1; done' sh "$1" >/dev/null 2>&1 &
while :; do sleep 1; done
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


def stubborn(server: Sshd, folder: Path, effect: Effect = Effect.READ) -> Call:
    return command(server, "/bin/sh", "-c", STUBBORN, "sh", str(folder), effect=effect)


def pids(folder: Path) -> list[int]:
    return [int((folder / name).read_text()) for name in ("program", "child", "stray")]


def wait_for(holds: Callable[[], bool], seconds: float = 60.0) -> bool:
    give_up = time.monotonic() + seconds
    while not holds() and time.monotonic() < give_up:
        time.sleep(0.02)
    return holds()


def written(folder: Path) -> bool:
    files = [folder / name for name in ("program", "child", "stray")]
    return all(file.exists() and file.read_text().strip() for file in files)


def alive(pid: int) -> bool:
    """Whether `pid` runs; one that nobody collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class TestContract(LaneContract):
    isolation = Isolation.NOT_APPLICABLE

    @pytest.fixture(autouse=True)
    def _lane(self, server: Sshd) -> None:
        self.server = server
        self.lane = lane_for(server)

    def saying(self, text: str) -> Call:
        return command(self.server, "printf", "%s", text)

    def failing(self) -> Call:
        return command(self.server, "false")

    def slow(self) -> Call:
        return command(self.server, "sleep", "30")

    def foreign(self) -> Call:
        return scripted()


class TestCommands:
    def test_arguments_arrive_exactly_as_they_are(self, server: Sshd) -> None:
        words = [
            "a b",
            "",
            "'",
            '"$HOME"',
            "$(id)",
            "`id`",
            "*",
            "-n",
            "\\",
            "two\nlines",
            "grüße",
            ";",
            "!x",
        ]

        found = result(lane_for(server), command(server, "printf", "<%s>", *words))

        assert found.stdout.decode() == "".join(f"<{word}>" for word in words)

    def test_no_builtin_of_the_shell_is_ever_the_program(self, server: Sshd) -> None:
        found = result(lane_for(server), command(server, "eval", "echo no"))

        assert (found.ended, found.failure, found.stdout) == (Ended.FAILED, Failure.NOT_FOUND, b"")

    def test_input_environment_and_folder_reach_the_program(self, server: Sshd, tmp_path: Path) -> None:
        script = 'pwd; printf "%s\\n" "$GREETING"; [ "$g$n$l" = 123 ] && cat'
        call = shell(
            server,
            script,
            stdin="line\n\x01\nno end",
            env={"GREETING": "it's $HOME", "g": "1", "n": "2", "l": "3"},
            cwd=str(tmp_path),
        )

        assert result(lane_for(server), call).stdout.decode() == f"{tmp_path}\nit's $HOME\nline\n\x01\nno end"

    def test_a_folder_that_is_not_there_is_no_run(self, server: Sshd, tmp_path: Path) -> None:
        call = shell(server, "touch ran", effect=Effect.CHANGE, cwd=str(tmp_path / "none"))

        found = result(lane_for(server), call)

        assert (found.ended, found.failure) == (Ended.FAILED, Failure.NOT_FOUND)

    def test_both_streams_are_apart_and_hold_nothing_of_the_lane(self, server: Sshd) -> None:
        found = result(lane_for(server), shell(server, "echo out; echo err >&2"))

        assert (found.stdout, found.stderr, found.stderr_bytes) == (b"out\n", b"err\n", 4)

    @pytest.mark.parametrize(
        ("script", "failure", "status"),
        [
            ("exit 3", Failure.NONZERO_EXIT, 3),
            ("exec /nowhere/program", Failure.NOT_FOUND, 127),
            ("exec /etc/passwd", Failure.PERMISSION_DENIED, 126),
        ],
    )
    def test_a_status_is_an_answer_even_of_a_change(
        self, server: Sshd, script: str, failure: Failure, status: int
    ) -> None:
        found = result(lane_for(server), shell(server, script, effect=Effect.CHANGE))

        assert (found.ended, found.failure, found.status) == (Ended.FAILED, failure, status)

    @pytest.mark.parametrize("wrapped", [True, False])
    def test_a_change_that_a_signal_ended_may_have_happened(self, server: Sshd, wrapped: bool) -> None:
        call = shell(server, "kill -9 $$", effect=Effect.CHANGE, wrapped=wrapped)

        found = result(lane_for(server), call)

        assert (found.ended, found.failure) == (Ended.UNKNOWN, Failure.KILLED)
        assert found.signal == (None if wrapped else 9)

    def test_what_could_not_be_measured_stands_in_the_facts(self, server: Sshd) -> None:
        found = result(lane_for(server), command(server, "true"))

        assert found.measured.network == "peers"
        assert found.measured.isolation == Isolation.NOT_APPLICABLE
        assert {key: facts(found)[key] for key in ("grade", "tree", "read_by")} == {
            "grade": "shape",
            "tree": "marked",
            "read_by": "login shell",
        }

    def test_a_secret_goes_in_by_input_and_never_comes_out(self, server: Sshd) -> None:
        call = command(server, "cat", stdin={"text": ["token=", {"secret": "token"}]})

        found = result(lane_for(server, token="s3cr3t-value"), call)

        assert (found.stdout, found.redactions) == (b"token=[redacted]", 1)

    @pytest.mark.parametrize(
        "part", [{"argv": ["echo", {"secret": "key"}]}, {"env": {"A": {"secret": "key"}}}]
    )
    def test_a_secret_that_others_could_see_on_the_host_is_refused(
        self, server: Sshd, part: dict[str, list[str]]
    ) -> None:
        call = exchange([host(server)], {"command": {"argv": ["true"], **part}})

        assert result(lane_for(server), call).failure is Failure.REQUEST_INVALID

    def test_output_is_counted_to_its_end_and_kept_to_its_limit(self, server: Sshd) -> None:
        call = command(server, "head", "-c", "8000000", "/dev/zero")

        found = result(lane_for(server), call, replace(LIMITS, output_bytes=1_000))

        assert (found.ended, len(found.stdout), found.stdout_bytes) == (Ended.OK, 1_000, 8_000_000)

    def test_a_flood_is_ended(self, server: Sshd) -> None:
        found = result(lane_for(server), command(server, "yes"), replace(LIMITS, output_bytes=1_000))

        assert (found.ended, found.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
        assert facts(found)["left"] == 0

    def test_a_slow_reader_slows_the_program_down(self, server: Sshd) -> None:
        async def slowly() -> int:
            lane = lane_for(server)
            limits = replace(LIMITS, output_bytes=16 << 20)
            opened = lane.open(
                command(server, "cat", "/dev/zero"), limits, Isolation.NOT_APPLICABLE, 1, lambda: None
            )
            await anext(opened)
            await asyncio.sleep(0.3)
            event = await anext(opened)
            seen = len(event.data) if isinstance(event, Chunk) else 0
            await cast(AsyncGenerator[LaneEvent], opened).aclose()
            return seen

        assert run(slowly()) <= 1 << 20


class TestTheTree:
    def test_a_call_out_of_time_ends_with_its_whole_tree(self, server: Sshd, tmp_path: Path) -> None:
        call = stubborn(server, tmp_path)
        found = out_of_time(
            lambda limits: result(lane_for(server), call, limits), lambda _: written(tmp_path), grace_ms=200
        )

        assert (found.ended, found.failure) == (Ended.FAILED, Failure.TIMEOUT)
        assert (facts(found)["tree"], facts(found)["left"]) == ("marked", 0)
        assert not any(map(alive, pids(tmp_path)))

    def test_a_call_that_is_closed_ends_with_its_whole_tree(self, server: Sshd, tmp_path: Path) -> None:
        async def close_early() -> None:
            lane = lane_for(server)
            call = stubborn(server, tmp_path)
            work = asyncio.create_task(result_in_loop(lane, call, replace(BRIEF, timeout_ms=20_000)))
            while not written(tmp_path):
                await asyncio.sleep(0.01)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        run(close_early())

        assert not any(map(alive, pids(tmp_path)))

    def test_what_a_program_leaves_behind_ends_with_it(self, server: Sshd, tmp_path: Path) -> None:
        script = 'sleep 60 & echo $! > "$0/left"'
        found = result(lane_for(server), command(server, "/bin/sh", "-c", script, str(tmp_path)))

        assert found.ended is Ended.OK
        assert wait_for(lambda: not alive(int((tmp_path / "left").read_text())))

    def test_what_leaves_the_group_and_holds_the_output_ends_too(self, server: Sshd, tmp_path: Path) -> None:
        script = 'setsid sh -c "echo \\$\\$ > $0/left; exec sleep 60" & while [ ! -s $0/left ]; do :; done'
        found = result(lane_for(server), command(server, "/bin/sh", "-c", script, str(tmp_path)))

        assert (found.ended, facts(found)["left"]) == (Ended.OK, 0)
        assert not alive(int((tmp_path / "left").read_text()))

    def test_a_change_whose_connection_breaks_is_unknown_and_ends_by_itself(self, tmp_path: Path) -> None:
        with sshd(tmp_path / "server") as server:

            async def broken() -> tuple[Ended, Failure | None]:
                call = stubborn(server, tmp_path, Effect.CHANGE)
                work = asyncio.create_task(
                    result_in_loop(lane_for(server), call, replace(BRIEF, timeout_ms=4_000))
                )
                while not written(tmp_path):
                    await asyncio.sleep(0.01)
                server.drop_connections()
                found = await work
                return found.ended, found.failure

            assert run(broken()) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
            assert all(map(alive, pids(tmp_path)))
            assert wait_for(lambda: not any(map(alive, pids(tmp_path))))


class TestTerminals:
    def test_a_terminal_has_the_size_it_was_asked_for(self, server: Sshd) -> None:
        found = result(lane_for(server), shell(server, "stty size; tty", columns=101, rows=37))

        assert found.stdout.splitlines()[-2] == b"37 101"
        assert b"/dev/pts/" in found.stdout

    def test_a_terminal_for_a_person_is_opened_for_nobody_else(self, server: Sshd) -> None:
        call = command(server, "true", columns=80, rows=24, attended=True)

        found = result(lane_for(server), call)

        assert (found.ended, found.failure) == (Ended.REFUSED, Failure.LANE_UNAVAILABLE)
        assert "nobody sits at the terminal" in (found.message or "")

    @pytest.mark.parametrize("wrong", [{}, {"columns": 80, "rows": 24, "stdin": "x"}])
    def test_a_person_types_at_a_terminal_and_there_only(
        self, server: Sshd, tmp_path: Path, wrong: dict[str, Json]
    ) -> None:
        lane = SshLane(secrets=secrets_of(key=server.key.read_bytes()), seat=Seat(0, 1, tmp_path / "door"))

        part: dict[str, Json] = {"argv": ["true"], "attended": True, **wrong}
        found = result(lane, exchange([host(server)], {"command": part}))

        assert (found.ended, found.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)

    def test_control_c_interrupts_the_program(self, server: Sshd) -> None:
        call = command(server, "sleep", "30", columns=80, rows=24, stdin="\x03")

        found = result(lane_for(server), call)

        assert (found.failure, found.status) == (Failure.KILLED, 130)

    def test_input_ends_on_a_terminal(self, server: Sshd) -> None:
        call = command(server, "sort", columns=80, rows=24, stdin="b\na\n")

        found = result(lane_for(server), call)

        assert found.ended is Ended.OK
        assert found.stdout.endswith(b"a\r\nb\r\n")


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder = tmp_path_factory.mktemp("ssh") / "forced"
    with sshd(folder, 'ForceCommand echo "<$SSH_ORIGINAL_COMMAND>"') as running:
        yield running


class TestHostsThatRunOtherThings:
    def test_a_bare_command_line_is_sent_as_it_is(self, forced: Sshd) -> None:
        found = result(lane_for(forced), command(forced, "show", "version 2", wrapped=False))

        assert (found.ended, found.stdout) == (Ended.OK, b"<show 'version 2'>\n")
        assert facts(found)["tree"] == "none"

    def test_nobody_knows_what_is_left_of_a_bare_command_out_of_time(self, server: Sshd) -> None:
        call = command(server, "sleep", "2", effect=Effect.CHANGE, wrapped=False)

        found = result(lane_for(server), call, BRIEF)

        assert (found.ended, found.failure) == (Ended.UNKNOWN, Failure.TIMEOUT)
        assert (facts(found)["tree"], facts(found)["left"]) == ("none", "unknown")

    def test_a_host_that_runs_something_else_is_never_ok(self, forced: Sshd) -> None:
        read = result(lane_for(forced), command(forced, "true"))
        change = result(lane_for(forced), command(forced, "true", effect=Effect.CHANGE))

        assert (read.ended, read.failure) == (Ended.FAILED, Failure.UNSUPPORTED)
        assert change.ended is Ended.UNKNOWN

    def test_a_shell_that_talks_first_does_not_disturb(self, tmp_path: Path) -> None:
        with sshd(tmp_path / "server") as server:
            (server.folder / ".bashrc").write_text("echo welcome; echo careful >&2\n")
            found = result(lane_for(server), shell(server, "echo out; echo err >&2"))

        assert found.ended is Ended.OK
        assert found.stdout.endswith(b"out\n") and found.stderr.endswith(b"err\n")
        assert b"rexecop" not in found.stderr
