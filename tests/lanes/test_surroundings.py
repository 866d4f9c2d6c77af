"""What a call may say of its process: a terminal, a user, a mask, limits; in every class, and measured."""

import os
import pwd
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.lanes import cgroup, sandbox
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.sandbox import why_not_held, why_not_reached
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.typist import pieces
from rexecop.lanes.wire import Launch
from rexecop.proof.call import Call, Limits, ProcessRequest, ResourceLimits, SecretRef, Terminal
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, process, result_of, secrets_of
from tests.needs import needs

EVERY_CLASS = [
    Isolation.NONE,
    Isolation.RLIMITS,
    pytest.param(Isolation.LANDLOCK_SECCOMP, marks=needs("landlock")),
    pytest.param(Isolation.BUBBLEWRAP, marks=needs("bwrap")),
]
NOBODY = pwd.getpwnam("nobody")


@pytest.fixture(scope="module", name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(
        isolation=dict.fromkeys(Isolation, Grade.SHAPE),
        secrets=secrets_of(password=b"correct horse"),
        hidden=(),
    )
    yield lane
    lane.close()


def with_surroundings(call: Call, **changes: object) -> Call:
    """`call` with other fields of its request."""
    assert isinstance(call.request, ProcessRequest)
    return replace(call, request=replace(call.request, **changes))  # type: ignore[arg-type]


def shell(script: str, **changes: object) -> Call:
    return with_surroundings(process("/bin/sh", "-c", script), **changes)


def ran(lane: ProcessLane, call: Call, isolation: Isolation, limits: Limits = LIMITS) -> LaneResult:
    return result_of(call_lane(lane, call, limits=limits, isolation=isolation))


@pytest.mark.parametrize("isolation", EVERY_CLASS)
class TestATerminal:
    def test_it_has_its_size_and_is_the_program_s_own(self, lane: ProcessLane, isolation: Isolation) -> None:
        script = "stty size; exec 9<>/dev/tty && echo own; test -t 0 && test -t 1 && test -t 2 && echo all"
        if isolation is Isolation.LANDLOCK_SECCOMP:  # It opens nothing for writing, a terminal neither.
            script = script.replace("9<>", "9<")
        result = ran(lane, shell(script, tty=Terminal(rows=10, columns=33)), isolation)

        assert (result.stdout, result.stderr) == (b"10 33\r\nown\r\nall\r\n", b"")

    def test_ctrl_c_interrupts_the_program_and_ctrl_d_ends_its_input(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        script = "trap 'echo interrupted' INT; echo ready; read x; read y || echo end"
        result = ran(lane, shell(script, tty=Terminal(), stdin="\x03\x04"), isolation)

        assert result.ended is Ended.OK, result
        assert b"interrupted" in result.stdout
        assert result.stdout.endswith(b"end\r\n")

    def test_what_is_typed_is_read_line_by_line(self, lane: ProcessLane, isolation: Isolation) -> None:
        call = shell("stty -echo; echo name; read x; read y; echo $y $x", tty=Terminal(), stdin="one\ntwo\n")

        assert ran(lane, call, isolation).stdout == b"name\r\ntwo one\r\n"


class TestATerminalElsewhere:
    def test_a_program_that_hears_nothing_of_ctrl_c_is_ended_by_it(self, lane: ProcessLane) -> None:
        result = ran(lane, shell("echo ready; exec sleep 30", tty=Terminal(), stdin="\x03"), Isolation.NONE)

        assert (result.failure, result.signal) == (Failure.KILLED, 2)

    @needs("bwrap")
    def test_a_file_that_is_no_program_is_told_from_inside_the_sandbox(
        self, lane: ProcessLane, tmp_path: Path
    ) -> None:
        file = tmp_path / "data"
        file.write_text("data")
        file.chmod(0o755)
        result = ran(lane, with_surroundings(process(str(file)), tty=Terminal()), Isolation.BUBBLEWRAP)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.NOT_EXECUTABLE)

    def test_an_echoed_secret_is_taken_out_of_the_output(self, lane: ProcessLane) -> None:
        typed = (SecretRef(secret="password"), "\n")
        result = ran(lane, shell("echo ready; read x", tty=Terminal(), stdin=typed), Isolation.NONE)

        assert b"[redacted]" in result.stdout and b"horse" not in result.stdout

    def test_input_is_typed_piece_by_piece_and_ended(self) -> None:
        assert pieces(b"") == [b"\x04"]
        assert pieces(b"a\n") == [b"a\n", b"\x04"]
        assert pieces(b"a\n\x03b") == [b"a\n", b"\x03", b"b", b"\x04", b"\x04"]
        assert pieces(b"a\n\x04") == [b"a\n", b"\x04"]


@pytest.mark.parametrize("isolation", EVERY_CLASS)
class TestMaskAndLimits:
    def test_files_are_made_with_the_mask_of_the_call(
        self, lane: ProcessLane, isolation: Isolation, tmp_path: Path
    ) -> None:
        modes = set()
        for umask in (None, "0077"):
            file = tmp_path / f"made-{umask}"
            call = replace(
                shell(f"echo > {file}", umask=umask, writable=(str(tmp_path),)), effect=Effect.CHANGE
            )
            assert ran(lane, call, isolation).ended is Ended.OK
            modes.add(stat.S_IMODE(file.stat().st_mode))

        assert modes == {0o644, 0o600}

    def test_limits_are_in_force_measured_and_cannot_be_raised(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        asked = ResourceLimits(open_files=50, file_bytes=1 << 20, cpu_seconds=3, address_bytes=1 << 30)
        script = "ulimit -H -n; ulimit -H -f; ulimit -H -t; ulimit -H -v; ulimit -c"
        result = ran(lane, shell(script, rlimits=asked), isolation)

        # The shell counts files in blocks of 512 bytes and addresses in units of 1024.
        assert result.stdout.split() == [b"50", b"2048", b"3", b"1048576", b"0"]
        facts = result.measured.facts or {}
        assert (facts["open_files"], facts["cpu_seconds"], facts["core_bytes"]) == (50, 3, 0)

    def test_a_file_past_its_limit_ends_the_program(
        self, lane: ProcessLane, isolation: Isolation, tmp_path: Path
    ) -> None:
        script = f"exec head -c 100000 /dev/zero > {tmp_path}/large"
        call = shell(script, rlimits=ResourceLimits(file_bytes=4_096), writable=(str(tmp_path),))
        result = ran(lane, replace(call, effect=Effect.CHANGE), isolation)

        assert result.ended is not Ended.OK
        assert (tmp_path / "large").stat().st_size == 4_096


@pytest.fixture(name="open_folder")
def _open_folder() -> Iterator[Path]:
    """A folder that everybody may enter and write to."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


class TestAUser:
    @needs("root")
    @pytest.mark.parametrize("isolation", EVERY_CLASS)
    def test_a_program_runs_as_the_user_of_the_call_with_no_group_of_ours(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        result = ran(lane, shell("id -u; id -g; id -G", user="nobody"), isolation)

        uid, gid = str(NOBODY.pw_uid).encode(), str(NOBODY.pw_gid).encode()
        assert result.stdout.split() == [uid, gid, gid]
        assert (result.measured.facts or {})["Uid"] == NOBODY.pw_uid
        assert (result.measured.facts or {})["CapEff"] == "0" * 16

    @needs("root")
    @pytest.mark.parametrize("isolation", EVERY_CLASS)
    def test_it_owns_what_it_makes_and_reads_nothing_of_ours(
        self, lane: ProcessLane, isolation: Isolation, open_folder: Path
    ) -> None:
        (open_folder / "private").write_text("ours")
        (open_folder / "private").chmod(0o600)
        script = f"cat {open_folder}/private; echo > {open_folder}/made"
        call = replace(shell(script, user="nobody", writable=(str(open_folder),)), effect=Effect.CHANGE)

        assert ran(lane, call, isolation).stdout == b""
        assert (open_folder / "made").stat().st_uid == NOBODY.pw_uid

    @needs("root", "bwrap")
    def test_what_is_hidden_stays_hidden_from_a_user_who_cannot_pass_the_folder_above_it(
        self, tmp_path: Path
    ) -> None:
        closed = tmp_path / "closed"
        (closed / "root").mkdir(parents=True)
        closed.chmod(0o700)
        lane = ProcessLane(isolation={}, secrets=NO_SECRETS, hidden=(str(closed / "root"),))
        try:
            result = ran(lane, shell("id -u", user="nobody"), Isolation.BUBBLEWRAP)
        finally:
            lane.close()

        assert result.stdout.split() == [str(NOBODY.pw_uid).encode()], result
        assert (result.measured.facts or {})["root"] == "hidden"

    def test_a_user_who_does_not_exist_is_refused(self, lane: ProcessLane) -> None:
        result = ran(lane, shell("id", user="no-such-user"), Isolation.NONE)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)

    def test_a_runner_that_is_not_root_changes_to_nobody_else(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
        result = ran(lane, shell("id", user="nobody"), Isolation.NONE)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)
        assert "root" in (result.message or "")

    def test_its_own_user_needs_no_change(self, lane: ProcessLane) -> None:
        own = pwd.getpwuid(os.geteuid()).pw_name

        assert ran(lane, shell("id -u", user=own), Isolation.NONE).stdout.split() == [
            str(os.geteuid()).encode()
        ]


@needs("bwrap", "cgroup")
class TestAControlGroup:
    isolation = Isolation.BUBBLEWRAP_CGROUP

    def left(self) -> list[str]:
        return [
            name for folder in cgroup.find() for name in os.listdir(folder) if name.startswith(cgroup.NAME)
        ]

    def test_memory_past_its_bound_ends_the_tree_and_is_told(self, lane: ProcessLane) -> None:
        call = process(sys.executable, "-I", "-S", "-c", "bytearray(200 << 20)", effect=Effect.CHANGE)
        result = ran(lane, call, self.isolation, replace(LIMITS, memory_bytes=64 << 20))

        assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.MEMORY_LIMIT)
        facts = result.measured.facts or {}
        assert facts["memory_kills"] and facts["cgroup_memory"] == 64 << 20

    def test_a_process_past_its_bound_is_never_made(self, lane: ProcessLane) -> None:
        script = "for n in 1 2 3 4 5 6 7 8; do sleep 30 & done; wait"
        result = ran(lane, shell(script), self.isolation, replace(LIMITS, processes=4))

        assert result.failure is Failure.NONZERO_EXIT
        assert (result.measured.facts or {})["processes_refused"]

    def test_a_read_in_it_is_contained_and_leaves_no_group_behind(self, lane: ProcessLane) -> None:
        facts = ran(lane, process("true"), self.isolation).measured.facts or {}

        assert (facts["grade"], facts["cgroup"], facts["cgroup_processes"]) == ("contained", "member", 66)
        assert self.left() == []

    def test_a_group_that_was_not_entered_is_no_such_class(self) -> None:
        good = {"cgroup": "member", "NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0" * 16}
        reason = why_not_reached(self.isolation, {**good, "cgroup": "outside"}, {})

        assert reason is not None


def test_without_a_delegated_group_the_class_is_refused_and_nothing_weaker_runs(
    lane: ProcessLane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroup, "find", list)
    result = ran(lane, process("touch", str(tmp_path / "mark")), Isolation.BUBBLEWRAP_CGROUP)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
    assert not (tmp_path / "mark").exists()


def test_without_gvisor_its_class_is_refused_and_nothing_weaker_runs(
    lane: ProcessLane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "find_gvisor", lambda: None)
    result = ran(lane, process("touch", str(tmp_path / "mark")), Isolation.GVISOR)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
    assert "gVisor" in (result.message or "")
    assert not (tmp_path / "mark").exists()


class TestUnifiedGroups:
    """Version 2 of the interface, on a folder that looks like it: no controller is delegated everywhere."""

    def test_bounds_are_written_under_their_names_and_removed(self, tmp_path: Path) -> None:
        (tmp_path / f"{cgroup.NAME}{os.getpid()}").mkdir()
        for name in ("memory.max", "memory.swap.max", "pids.max", "cgroup.procs", "cgroup.kill"):
            (tmp_path / f"{cgroup.NAME}{os.getpid()}" / name).write_text("")
        group = cgroup.Group([str(tmp_path)], 1 << 20, 7)
        group.take([os.getpid()])

        assert group.measured(os.getpid()) == {
            "cgroup": "member", "cgroup_memory": str(1 << 20), "cgroup_processes": "7",
        }  # fmt: skip
        assert group.measured(1)["cgroup"] == "outside"


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        ({"open_files": "1024"}, {"open_files": 50}),
        ({}, {"cpu_seconds": 3}),
        ({"Uid": "0"}, {"uid": 65534}),
        ({"Uid": "65534 0"}, {"uid": 65534}),
        ({"cgroup_memory": "9223372036854771712"}, {"cgroups": ["/x"], "memory_bytes": 5}),
    ],
    ids=repr,
)
def test_a_limit_that_is_not_in_force_is_named(facts: dict[str, str], changes: dict[str, object]) -> None:
    free = dict.fromkeys(Launch._fields[9:], 0) | {"uid": -1}
    lists: dict[str, object] = {
        "argv": [],
        "env": {},
        "readable": [],
        "writable": [],
        "groups": [],
        "cgroups": [],
    }
    launch = Launch(isolation="none", program="", cwd="/", **lists, **free)  # type: ignore[arg-type]

    assert why_not_held(launch, {}) is None
    assert why_not_held(launch._replace(**changes), facts) is not None  # type: ignore[arg-type]


def test_the_classes_a_user_needs_hide_the_first_folder_he_cannot_pass(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    found = sandbox._topmost_closed(str(closed / "inner"))

    assert str(closed).startswith(found)
