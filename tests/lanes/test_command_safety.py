"""Commands that try: each is refused, or carried to the program exactly as it was written."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure, retryable
from rexecop.lanes.port import LaneResult
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.structure import check_structure
from rexecop.operations.errors import CommandGuarded
from rexecop.operations.guards import PRIVILEGED, SHELLS, WRAPPERS, check_command
from rexecop.proof.call import Call, ProcessRequest, ResourceLimits, SecretRef, Terminal
from rexecop.proof.codec import encode
from rexecop.proof.errors import ProofError
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import (
    LIMITS,
    TellingLane,
    call_lane,
    dispatch_of,
    gate_of,
    process,
    result_of,
    secrets_of,
    through,
)
from tests.lanes.test_surroundings import EVERY_CLASS, with_surroundings
from tests.needs import needs

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
HUGE = "x" * 140_000  # Past what Linux takes for one argument or variable (131,072 bytes).


@pytest.fixture(scope="module", name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(
        isolation=dict.fromkeys(Isolation, Grade.SHAPE),
        secrets=secrets_of(large=HUGE[:50_000].encode()),
        hidden=(),
    )
    yield lane
    lane.close()


def ran(lane: ProcessLane, call: Call, isolation: Isolation = Isolation.NONE) -> LaneResult:
    return result_of(call_lane(lane, call, limits=LIMITS, isolation=isolation))


@settings(max_examples=25, deadline=None)
@given(arguments=st.lists(TEXT, min_size=1, max_size=6))
def test_every_argument_arrives_byte_for_byte(lane: ProcessLane, arguments: list[str]) -> None:
    result = ran(lane, process("printf", "%s\\0", *arguments))

    assert result.stdout == b"".join(argument.encode() + b"\0" for argument in arguments)


@settings(max_examples=10, deadline=None)
@given(arguments=st.lists(TEXT, min_size=1, max_size=4))
@needs("bwrap")
def test_every_argument_arrives_in_a_sandbox_too(lane: ProcessLane, arguments: list[str]) -> None:
    result = ran(lane, process("printf", "%s\\0", *arguments), Isolation.BUBBLEWRAP)

    assert result.stdout == b"".join(argument.encode() + b"\0" for argument in arguments)


@settings(max_examples=15, deadline=None)
@given(value=TEXT)
def test_every_variable_arrives_byte_for_byte(lane: ProcessLane, value: str) -> None:
    result = ran(lane, process("printenv", "-0", "VALUE", env={"VALUE": value}))

    assert result.stdout == value.encode() + b"\0"


@pytest.mark.parametrize("isolation", EVERY_CLASS)
def test_what_looks_like_an_option_of_the_sandbox_is_an_argument(
    lane: ProcessLane, isolation: Isolation
) -> None:
    arguments = ("--bind", "/", "/", "--", "--share-net", "--cap-add", "ALL")

    assert ran(lane, process("printf", "%s\\n", *arguments), isolation).stdout.decode().split() == [
        *arguments
    ]


@pytest.mark.parametrize("isolation", EVERY_CLASS)
def test_a_command_too_large_for_the_system_is_refused_and_was_never_executed(
    lane: ProcessLane, isolation: Isolation
) -> None:
    call = process("true", env={"LARGE": (SecretRef(secret="large"),) * 3}, effect=Effect.CHANGE)
    result = ran(lane, call, isolation)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


@pytest.mark.parametrize("field", ["argv", "env", "stdin", "cwd"])
def test_text_that_is_no_unicode_cannot_be_written_down(field: str) -> None:
    broken: dict[str, object] = {
        "argv": ("true", "\ud800"),
        "env": {"A": "\ud800"},
        "stdin": "\ud800",
        "cwd": "/\ud800",
    }
    with pytest.raises((ProofError, UnicodeEncodeError)):
        encode(with_surroundings(process("true"), **{field: broken[field]}))


@pytest.mark.parametrize(
    "changes",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("true", "a\0b")},
        {"argv": ("/bin/../bin/true",)},
        {"argv": ("/bin//true",)},
        {"argv": ("./true",)},
        {"argv": ("bin/true",)},
        {"argv": ("true", *["x"] * 1_024)},
        {"argv": ("true", (SecretRef(secret="s"),))},
        {"env": {"A=B": "c"}},
        {"env": {"A": "b\0c"}},
        {"env": {"": "b"}},
        {"cwd": "relative"},
        {"cwd": "/tmp/../etc"},
        {"writable": ("/",)},
        {"writable": ("/srv/./x",)},
        {"umask": "22"},
        {"umask": "0888"},
        {"user": "root;id"},
        {"user": "-u0"},
        {"user": ""},
        {"tty": Terminal(rows=0)},
        {"tty": Terminal(columns=100_000)},
        {"rlimits": ResourceLimits(open_files=0)},
        {"rlimits": ResourceLimits(cpu_seconds=-1)},
        {"egress": ("db.example",)},
        {"egress": ("*:443",)},
        {"egress": tuple(f"h{n}:1" for n in range(33))},
    ],
    ids=repr,
)
def test_a_request_that_cannot_be_carried_exactly_does_not_reach_the_lane(changes: dict[str, object]) -> None:
    lane = TellingLane()
    call = replace(with_surroundings(process("true"), **changes), effect=Effect.CHANGE)
    result = through(gate_of(lane), dispatch_of(call))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
    assert lane.opened == 0


@given(
    argv=st.lists(st.text(max_size=8), max_size=4),
    env=st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=2),
    cwd=st.none() | st.text(max_size=8),
    user=st.none() | st.text(max_size=5),
    umask=st.none() | st.text("01789", max_size=5),
    egress=st.none() | st.lists(st.text(max_size=9), max_size=2).map(tuple),
)
def test_any_request_is_whole_or_refused_in_one_line(
    argv: list[str],
    env: dict[str, str],
    cwd: str | None,
    user: str | None,
    umask: str | None,
    egress: tuple[str, ...] | None,
) -> None:
    request = ProcessRequest(argv=tuple(argv), env=env, cwd=cwd, user=user, umask=umask, egress=egress)
    call = Call(target="t", connector="c", action="a", effect=Effect.READ, request=request)
    try:
        check_structure(call, 100, LIMITS)
    except RequestRefused as refused:
        assert refused.failure is Failure.REQUEST_INVALID
        return
    assert argv and argv[0] and "\0" not in "".join(argv) and (cwd is None or cwd.startswith("/"))


@given(
    tool=st.sampled_from(sorted(PRIVILEGED)),
    path=st.sampled_from(["", "/usr/bin/", "/USR/bin/", "./"]),
    upper=st.lists(st.booleans(), min_size=8, max_size=8),
    wrapper=st.sampled_from(["", *sorted(WRAPPERS)]),
)
def test_no_spelling_of_a_guarded_tool_passes_as_a_read(
    tool: str, path: str, upper: list[bool], wrapper: str
) -> None:
    spelled = path + "".join(c.upper() if up else c for c, up in zip(tool, upper * 2, strict=False))
    argv = (wrapper, "-x", spelled, "id") if wrapper else (spelled, "id")

    with pytest.raises(CommandGuarded):
        check_command(argv, Effect.READ, "connector.action")


@given(
    shell=st.sampled_from(sorted(SHELLS)),
    upper=st.booleans(),
    options=st.lists(st.sampled_from(["-e", "-x", "--norc"]), max_size=2),
    flag=st.sampled_from(["-c", "-ec", "-lc", "-cx"]),
    effect=st.sampled_from(Effect),
)
def test_text_for_a_shell_passes_as_nothing_at_all(
    shell: str, upper: bool, options: list[str], flag: str, effect: Effect
) -> None:
    with pytest.raises(CommandGuarded):
        check_command((shell.upper() if upper else shell, *options, flag, "id"), effect, "connector.action")


class TestWhyAProgramDidNotStart:
    """Each reason is a class of its own, and none of them may be tried again by itself."""

    def file(self, folder: Path, content: bytes, mode: int) -> str:
        path = folder / "program"
        path.write_bytes(content)
        path.chmod(mode)
        return str(path)

    @pytest.mark.parametrize("isolation", EVERY_CLASS)
    @pytest.mark.parametrize(
        ("content", "mode", "failure"),
        [
            (b"data", 0o644, Failure.PERMISSION_DENIED),
            (b"data", 0o755, Failure.NOT_EXECUTABLE),
            (b"", 0o755, Failure.NOT_EXECUTABLE),
            (b"\x7fELF" + b"\0" * 60, 0o755, Failure.NOT_EXECUTABLE),
            (b"#!/no/such/interpreter\n", 0o755, Failure.INTERPRETER_MISSING),
            (b"#!/etc\n", 0o755, Failure.PERMISSION_DENIED),
        ],
        ids=["no right", "no program", "empty", "broken", "no interpreter", "folder"],
    )
    def test_its_file(
        self,
        lane: ProcessLane,
        tmp_path: Path,
        isolation: Isolation,
        content: bytes,
        mode: int,
        failure: Failure,
    ) -> None:
        call = process(self.file(tmp_path, content, mode), effect=Effect.CHANGE)
        result = ran(lane, call, isolation)

        assert (result.ended, result.failure) == (Ended.FAILED, failure), result
        assert result.measured.protection == "not-executed"
        assert not retryable(failure)

    def test_a_folder_or_nothing_in_its_place(self, lane: ProcessLane) -> None:
        for program in ("/etc", "/etc/passwd/x", "/no/such", "no-such"):
            assert ran(lane, process(program)).failure is Failure.NOT_FOUND

    @needs("root")
    def test_a_user_who_may_not_run_it(self, lane: ProcessLane, tmp_path: Path) -> None:
        file = self.file(tmp_path, Path("/bin/true").read_bytes(), 0o700)
        os.chmod(tmp_path, 0o755)
        result = ran(lane, with_surroundings(process(file), user="nobody"))

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.PERMISSION_DENIED)
