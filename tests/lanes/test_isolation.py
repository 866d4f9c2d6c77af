"""Isolation classes: each is reached as a whole, and measured, or the call is refused."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from rexecop.lanes import landlock, sandbox
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.lanes.probe import CLASSES, best, grades_of, measure_isolation
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.sandbox import why_not_reached
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.proof.call import Call
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import LIMITS, call_lane, process, result_of, shell
from tests.lanes.test_process import ProcessContract
from tests.needs import needs

LANDLOCKED = needs("landlock")
CONFINING = [
    pytest.param(Isolation.LANDLOCK_SECCOMP, marks=LANDLOCKED),
    pytest.param(Isolation.BUBBLEWRAP, marks=needs("bwrap")),
]


@pytest.fixture(scope="module", name="folder")
def _folder() -> Iterator[Path]:
    """A folder everyone may enter, so that only the sandbox can refuse."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture(scope="module", name="lane")
def _lane(folder: Path) -> Iterator[ProcessLane]:
    root = folder / "root"
    root.mkdir()
    (root / "key").write_text("the instance key")
    lane = ProcessLane(
        isolation=dict.fromkeys(CLASSES, Grade.CONTAINED), secrets=NO_SECRETS, hidden=(str(root),)
    )
    yield lane
    lane.close()


def ran(lane: ProcessLane, call: Call, isolation: Isolation) -> LaneResult:
    return result_of(call_lane(lane, call, limits=LIMITS, isolation=isolation))


@LANDLOCKED
class TestUnderLandlock(ProcessContract):
    isolation = Isolation.LANDLOCK_SECCOMP


@needs("bwrap")
class TestUnderBubblewrap(ProcessContract):
    isolation = Isolation.BUBBLEWRAP


def python(source: str, *arguments: str, effect: Effect = Effect.READ) -> Call:
    return process(sys.executable, "-I", "-S", "-c", source, *arguments, effect=effect)


@pytest.mark.parametrize("isolation", CONFINING)
class TestAConfinedRead:
    def test_it_reads_what_lies_there(self, lane: ProcessLane, isolation: Isolation) -> None:
        assert ran(lane, process("cat", "/etc/passwd"), isolation).stdout == Path("/etc/passwd").read_bytes()

    def test_it_writes_nothing_outside(self, lane: ProcessLane, isolation: Isolation, folder: Path) -> None:
        kept = folder / f"kept-{isolation}"
        kept.write_text("as it was")
        script = (
            'cd "$1"; (echo x > new); (echo x > "$2"); rm -f "$2"; mv "$2" moved; mkdir made; ln -s a b; '
        )
        ran(lane, shell(script + "true", str(folder), kept.name), isolation)

        assert kept.read_text() == "as it was"
        assert not {"new", "moved", "made", "b"} & set(os.listdir(folder))

    def test_it_changes_no_mode_owner_time_or_length(
        self, lane: ProcessLane, isolation: Isolation, folder: Path
    ) -> None:
        kept = folder / f"attributes-{isolation}"
        kept.write_text("as it was")
        kept.chmod(0o666)
        before = kept.stat()
        script = 'chmod 777 "$1"; touch -d 2001-01-01 "$1"; truncate -s 0 "$1"; chown 1 "$1"; true'
        ran(lane, shell(script, str(kept)), isolation)
        after = kept.stat()

        assert (after.st_mode, after.st_mtime, after.st_size, after.st_uid) == (
            before.st_mode, before.st_mtime, before.st_size, before.st_uid,
        )  # fmt: skip

    def test_it_reaches_no_socket_of_this_machine(
        self, lane: ProcessLane, isolation: Isolation, folder: Path
    ) -> None:
        path = str(folder / f"socket-{isolation}"[:40])
        source = """
import socket, sys
for family, address in ((socket.AF_INET, ("127.0.0.1", int(sys.argv[1]))), (socket.AF_UNIX, sys.argv[2])):
    try:
        socket.socket(family).connect(address)
        print("connected")
    except OSError:
        print("refused")
"""
        with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
            unix.bind(path)
            unix.listen()
            result = ran(lane, python(source, str(tcp.getsockname()[1]), path), isolation)

        assert result.stdout.split() == [b"refused", b"refused"], result
        assert result.measured.network == "none"

    @pytest.mark.parametrize("name", ["system_bus_socket", "docker.sock", "ssh-agent", "@abstract"])
    def test_it_asks_nothing_of_a_bus_a_container_engine_or_an_agent(
        self, lane: ProcessLane, isolation: Isolation, folder: Path, name: str
    ) -> None:
        """A read-only mount hides no socket, so that the socket call itself is what has to fail."""
        source = """
import socket, sys
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    try:
        with socket.socket(socket.AF_UNIX, kind) as opened:
            opened.connect(sys.argv[1].replace("@", chr(0)))
            opened.send(b"do it")
            print("asked")
    except OSError:
        print("refused")
"""
        abstract = name.startswith("@")
        path = f"@{folder.name}-{isolation}" if abstract else str(folder / f"{name}-{isolation}"[:60])
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path.replace("@", "\0"))
            listening.listen()
            listening.setblocking(False)
            result = ran(lane, python(source, path), isolation)
            with pytest.raises(BlockingIOError):
                listening.accept()

        assert result.stdout.split() == [b"refused"] * 3, result

    def test_it_posts_to_nobody(self, lane: ProcessLane, isolation: Isolation) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(False)
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            result = ran(lane, process("curl", "-sS", "-m", "2", "-d", "act", url), isolation)
            with pytest.raises(BlockingIOError):
                server.accept()

        assert result.ended is Ended.FAILED

    def test_it_cannot_end_a_process_outside(self, lane: ProcessLane, isolation: Isolation) -> None:
        if isolation is Isolation.LANDLOCK_SECCOMP and landlock.landlock_version() < 6:
            return
        with subprocess.Popen(["sleep", "60"]) as outside:
            try:
                ran(lane, shell('kill -9 "$1"; pkill -9 -x sleep; true', str(outside.pid)), isolation)

                assert outside.poll() is None
            finally:
                outside.kill()

    def test_it_shares_no_memory_and_no_queue_with_anybody(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        source = """
import ctypes
libc = ctypes.CDLL(None)
print(libc.shmget(0x5EC2E7, 64, 0o1666), libc.msgget(0x5EC2E7, 0o1666))
"""
        ran(lane, python(source), isolation)
        listed = Path("/proc/sysvipc/shm").read_text() + Path("/proc/sysvipc/msg").read_text()

        assert str(0x5EC2E7) not in listed.split()

    def test_it_cannot_signal_this_process(self, lane: ProcessLane, isolation: Isolation) -> None:
        if isolation is Isolation.LANDLOCK_SECCOMP and landlock.landlock_version() < 6:
            # Told in the grade: below this version such a read is not `contained`.
            return
        result = ran(lane, shell('kill -0 "$1" 2>/dev/null && echo reached', str(os.getpid())), isolation)

        assert result.stdout == b""

    def test_it_cannot_make_name_spaces_or_trace(self, lane: ProcessLane, isolation: Isolation) -> None:
        source = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(0, 0, 0, 0))
print(libc.syscall(425, 8, 0))
"""
        assert ran(lane, python(source), isolation).stdout.split() == [b"-1", b"-1"]

    def test_the_root_of_the_instance_is_out_of_sight(
        self, lane: ProcessLane, isolation: Isolation, folder: Path
    ) -> None:
        result = ran(lane, process("cat", str(folder / "root" / "key")), isolation)

        assert result.stdout == b""
        assert result.measured.facts is not None and result.measured.facts["root"] == "hidden"

    def test_what_was_measured_backs_the_grade(self, lane: ProcessLane, isolation: Isolation) -> None:
        measured = ran(lane, process("true"), isolation).measured

        assert measured.isolation == isolation
        assert measured.facts is not None
        assert (measured.facts["CapEff"], measured.facts["NoNewPrivs"]) == ("0" * 16, 1)
        assert measured.facts["Seccomp"] == 2
        if isolation is Isolation.BUBBLEWRAP or landlock.landlock_version() >= 6:
            assert measured.facts["grade"] == "contained"

    def test_a_missing_interpreter_inside_is_told_as_never_executed(
        self, lane: ProcessLane, isolation: Isolation, folder: Path
    ) -> None:
        file = folder / f"script-{isolation}"
        file.write_text("#!/no/such/interpreter\n")
        file.chmod(0o755)
        result = ran(lane, process(str(file)), isolation)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.INTERPRETER_MISSING)


@pytest.mark.parametrize("isolation", CONFINING)
def test_a_change_writes_where_its_call_says_and_nowhere_else(
    lane: ProcessLane, isolation: Isolation, folder: Path
) -> None:
    (folder / f"in-{isolation}").mkdir()
    (folder / f"out-{isolation}").mkdir()
    inside, outside = str(folder / f"in-{isolation}"), str(folder / f"out-{isolation}")
    script = 'echo x > "$1/made"; (echo x > "$2/made"); true'
    call = process(
        *("/bin/sh", "-c", script, "sh", inside, outside), effect=Effect.CHANGE, writable=(inside,)
    )
    result = ran(lane, call, isolation)

    assert result.ended is Ended.OK
    assert (os.listdir(inside), os.listdir(outside)) == (["made"], [])


@pytest.mark.parametrize("isolation", CONFINING)
def test_agent_socket_and_secrets_file_are_as_invisible_as_the_root(
    isolation: Isolation, tmp_path: Path
) -> None:
    secrets, agent = tmp_path / "secrets.env", str(tmp_path / "agent")
    secrets.write_text("PASSWORD=correct horse")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(agent)
        hidden = (str(secrets), agent, str(tmp_path / "not-there"))
        lane = ProcessLane(isolation={}, secrets=NO_SECRETS, hidden=hidden)
        try:
            files = "import sys; print(open(sys.argv[1]).read(), open(sys.argv[2]))"
            result = ran(lane, python(files, *hidden), isolation)
            listening.listen()
            ask = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[2]); print(1)"
            asked = ran(lane, python(ask, *hidden), isolation)
        finally:
            lane.close()

    assert (result.stdout, asked.stdout) == (b"", b"")
    assert result.measured.facts is not None and result.measured.facts["root"] == "hidden"


def test_a_class_without_a_sandbox_says_that_the_root_is_visible(lane: ProcessLane) -> None:
    for isolation in (Isolation.NONE, Isolation.RLIMITS):
        facts = ran(lane, process("true"), isolation).measured.facts

        assert facts is not None and (facts["root"], facts["grade"]) == ("visible", "shape")


class TestAClassThatIsNotReached:
    def test_bubblewrap_that_is_missing_refuses_and_nothing_weaker_runs(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sandbox, "find_bubblewrap", lambda: None)
        call = process("touch", str(tmp_path / "mark"))
        result = ran(lane, call, Isolation.BUBBLEWRAP)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
        assert not (tmp_path / "mark").exists()

    def test_bubblewrap_that_makes_no_sandbox_refuses(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A wrapper that just runs the program, as one in a container that forbids name spaces might."""
        fake = tmp_path / "bwrap"
        fake.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done; shift; exec "$@"\n')
        fake.chmod(0o755)
        monkeypatch.setattr(sandbox, "find_bubblewrap", lambda: str(fake))
        result = ran(lane, process("true"), Isolation.BUBBLEWRAP)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)

    @needs("bwrap")
    def test_bubblewrap_that_shares_the_network_is_measured_and_refused(
        self, lane: ProcessLane, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        options = sandbox.bubblewrap_options

        def sharing(**given: object) -> list[str]:
            return ["--share-net" if o == "--unshare-all" else o for o in options(**given)]  # type: ignore[arg-type]

        def weaker(**given: object) -> list[str]:
            return ["--unshare-all", *sharing(**given)]

        monkeypatch.setattr(sandbox, "bubblewrap_options", weaker)
        result = ran(lane, process("touch", str(folder / "mark")), Isolation.BUBBLEWRAP)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)
        assert "net name space" in (result.message or "")

    @pytest.mark.parametrize(
        ("isolation", "facts"),
        [
            (Isolation.RLIMITS, {"cpu_seconds": "10", "NoNewPrivs": "0"}),
            (Isolation.RLIMITS, {"NoNewPrivs": "1"}),
            (Isolation.LANDLOCK_SECCOMP, {}),
            (Isolation.BUBBLEWRAP, {}),
        ],
    )
    def test_values_that_contradict_or_lack_are_named(
        self, isolation: Isolation, facts: Mapping[str, str]
    ) -> None:
        assert why_not_reached(isolation, facts, {}) is not None

    @pytest.mark.parametrize(
        "broken",
        [
            {"NoNewPrivs": "0"},
            {"Seccomp": "0"},
            {"CapEff": "0000000000000001"},
            {"write_outside": "allowed"},
            {"write_outside": "ENOENT"},
            {"socket": "allowed"},
        ],
        ids=repr,
    )
    def test_one_value_of_landlock_that_is_off_is_enough(self, broken: Mapping[str, str]) -> None:
        good = {
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "CapEff": "0" * 16,
            "write_outside": "EACCES",
            "socket": "EPERM",
        }

        assert why_not_reached(Isolation.LANDLOCK_SECCOMP, good, {}) is None
        assert why_not_reached(Isolation.LANDLOCK_SECCOMP, {**good, **broken}, {}) is not None

    @pytest.mark.parametrize(
        "broken",
        [
            {"CapBnd": "0000000000000001"},
            {"root_read_only": "false"},
            {"ns_net": "net:[1]"},
            {"ns_pid": "pid:[1]"},
            {"ns_mnt": "mnt:[1]"},
            {"Seccomp": "0"},
        ],
        ids=repr,
    )
    def test_one_value_of_bubblewrap_that_is_off_is_enough(self, broken: Mapping[str, str]) -> None:
        names = ("mnt", "pid", "net", "ipc", "uts")
        host = {name: f"{name}:[1]" for name in names}
        good = {
            "NoNewPrivs": "1",
            "Seccomp": "2",
            "CapEff": "0" * 16,
            "CapBnd": "0" * 16,
            "root_read_only": "true",
            **{f"ns_{name}": f"{name}:[2]" for name in names},
        }

        assert why_not_reached(Isolation.BUBBLEWRAP, good, host) is None
        assert why_not_reached(Isolation.BUBBLEWRAP, {**good, **broken}, host) is not None
        # What cannot be compared was not measured.
        assert why_not_reached(Isolation.BUBBLEWRAP, good, {}) is not None


class TestProbe:
    def test_every_class_is_answered_for_and_programs_always_run(self) -> None:
        probes = measure_isolation()

        assert tuple(probes) == CLASSES
        assert probes[Isolation.NONE].reached and probes[Isolation.RLIMITS].reached
        assert all(probe.reached or probe.reason for probe in probes.values())
        assert best(probes) in grades_of(probes)

    @needs("bwrap")
    def test_bubblewrap_contains_here(self) -> None:
        probe = measure_isolation()[Isolation.BUBBLEWRAP]

        assert (probe.reached, probe.grade) == (True, Grade.CONTAINED)
        assert probe.facts["canary_write"] != "allowed"

    @LANDLOCKED
    def test_landlock_confines_here_and_is_best_where_bubblewrap_is_absent(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sandbox, "find_bubblewrap", lambda: None)
        probes = measure_isolation()

        assert not probes[Isolation.BUBBLEWRAP].reached
        assert "not installed" in probes[Isolation.BUBBLEWRAP].reason
        assert best(probes) is Isolation.LANDLOCK_SECCOMP


@LANDLOCKED
def test_a_neighbour_of_a_hidden_folder_that_vanishes_is_no_reason_to_refuse(
    lane: ProcessLane, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = landlock.readable_around((str(folder / "root"),), 10_000)
    assert listed is not None
    monkeypatch.setattr(sandbox, "readable_around", lambda *_: [*listed, str(folder / "gone-by-now")])

    assert ran(lane, process("echo", "here"), Isolation.LANDLOCK_SECCOMP).stdout == b"here\n"
