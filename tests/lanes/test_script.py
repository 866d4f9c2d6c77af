"""Pinned scripts: exactly the text and the interpreter that were planned, with nothing around them."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rexecop.lanes import private
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.lanes.private import ARTIFACTS_MAX
from rexecop.lanes.process import ProcessLane
from rexecop.lanes.script import file_digest
from rexecop.lanes.secrets import NO_SECRETS
from rexecop.lanes.structure import SCRIPT_BYTES_MAX
from rexecop.proof.call import Call, Limits, ProcessRequest, Script
from rexecop.proof.canonical import digest_of
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.support import (
    LIMITS,
    TellingLane,
    call_lane,
    dispatch_of,
    gate_of,
    process,
    result_of,
    through,
)
from tests.lanes.test_surroundings import EVERY_CLASS

SHELL = "/bin/sh"
SMALL = replace(LIMITS, raw_output_bytes=100_000)


@pytest.fixture(scope="module", name="lane")
def _lane() -> Iterator[ProcessLane]:
    lane = ProcessLane(isolation=dict.fromkeys(Isolation, Grade.SHAPE), secrets=NO_SECRETS, hidden=())
    yield lane
    lane.close()


def script(source: str, *arguments: str, interpreter: str = SHELL, **changes: object) -> Call:
    pinned = Script(interpreter=file_digest(interpreter), digest=digest_of(source.encode()), text=source)
    call = process(interpreter, *arguments)
    assert isinstance(call.request, ProcessRequest)
    pinned = replace(pinned, **changes)  # type: ignore[arg-type]
    return replace(call, request=replace(call.request, script=pinned))


def changing(source: str) -> Call:
    return replace(script(source), effect=Effect.CHANGE)


@pytest.fixture
def seen_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a script leaves is looked at once it ended: one that is slow would be ended for it, or not."""
    monkeypatch.setattr(private, "LOOK_SECONDS", 3_600)


def ran(
    lane: ProcessLane, call: Call, isolation: Isolation = Isolation.NONE, limits: Limits = LIMITS
) -> LaneResult:
    return result_of(call_lane(lane, call, limits=limits, isolation=isolation))


@pytest.mark.parametrize("isolation", EVERY_CLASS)
class TestInEveryClass:
    def test_it_gets_its_arguments_and_then_its_files(self, lane: ProcessLane, isolation: Isolation) -> None:
        text = 'echo "$1"; cat "$2" "$3"'
        result = ran(lane, script(text, "first", files={"b": "second file", "a": "first file, "}), isolation)

        assert result.stdout == b"first\nfirst file, second file", result

    def test_its_environment_is_empty(self, lane: ProcessLane, isolation: Isolation) -> None:
        names = ran(lane, script("exec /usr/bin/env"), isolation).stdout.split(b"\n")
        own = {name.partition(b"=")[0] for name in names if name}

        # The shell itself sets the first three, bubblewrap the folder it starts in.
        assert own <= {b"PWD", b"OLDPWD", b"_"}

    def test_nobody_can_change_it_while_it_runs(self, lane: ProcessLane, isolation: Isolation) -> None:
        text = 'echo evil > "$0"; echo evil > "$1"; echo; cat "$1"'
        result = ran(lane, script(text, files={"a": "as it was"}), isolation)

        assert result.stdout == b"\nas it was"


class TestBeforeItStarts:
    def test_another_text_than_its_digest_says_is_refused(self, lane: ProcessLane, tmp_path: Path) -> None:
        mark = tmp_path / "mark"
        result = ran(lane, script(f"touch {mark}", digest=digest_of(b"another")))

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
        assert not mark.exists()

    def test_another_interpreter_than_planned_is_refused_and_both_are_named(
        self, lane: ProcessLane, tmp_path: Path
    ) -> None:
        interpreter, mark = tmp_path / "sh", tmp_path / "mark"
        shutil.copy(SHELL, interpreter)
        call = script(f"/usr/bin/touch {mark}", interpreter=str(interpreter))
        assert ran(lane, call).ended is Ended.OK and mark.exists()
        mark.unlink()
        with interpreter.open("ab") as file:
            file.write(b"\n")
        result = ran(lane, call)

        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.DRIFTED)
        assert str(file_digest(str(interpreter))) in (result.message or "")
        assert not mark.exists()

    def test_an_interpreter_that_is_gone_was_never_executed(self, lane: ProcessLane, tmp_path: Path) -> None:
        interpreter = tmp_path / "sh"
        shutil.copy(SHELL, interpreter)
        call = script("true", interpreter=str(interpreter))
        interpreter.unlink()

        assert (ran(lane, call).failure, ran(lane, call).ended) == (Failure.NOT_FOUND, Ended.FAILED)

    def test_a_digest_is_that_of_the_content_also_after_a_change_that_hides_its_time(
        self, tmp_path: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_bytes(b"one")
        before = file.stat()
        assert file_digest(str(file)) == digest_of(b"one")
        file.write_bytes(b"two")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))

        assert file_digest(str(file)) == digest_of(b"two")

    @pytest.mark.parametrize(
        "changes",
        [
            {"text": "x" * (SCRIPT_BYTES_MAX + 1)},
            {"files": {str(n): "" for n in range(17)}},
            {"files": {"a": "x" * SCRIPT_BYTES_MAX}},
        ],
        ids=["text", "files", "content"],
    )
    def test_a_script_past_its_limits_does_not_pass_the_gate(self, changes: dict[str, object]) -> None:
        lane = TellingLane()
        call = script("true", **changes)  # type: ignore[arg-type]
        result = through(gate_of(lane), dispatch_of(call))

        assert (result.failure, lane.opened) == (Failure.REQUEST_INVALID, 0)

    def test_a_script_with_an_environment_or_a_bare_name_does_not_pass_the_gate(self) -> None:
        call = script("true")
        assert isinstance(call.request, ProcessRequest)
        for changed in (replace(call.request, env={"A": "b"}), replace(call.request, argv=("sh",))):
            result = through(gate_of(TellingLane()), dispatch_of(replace(call, request=changed)))

            assert result.failure is Failure.REQUEST_INVALID


def test_a_change_by_a_script_that_is_killed_is_unknown(lane: ProcessLane) -> None:
    result = ran(lane, replace(script("kill -9 $$"), effect=Effect.CHANGE))

    assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.KILLED)


@pytest.mark.parametrize("isolation", EVERY_CLASS)
class TestItsOwnFolder:
    def test_a_script_that_changes_something_writes_in_a_folder_that_goes_with_its_call(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        text = "mkdir -p a/b; printf 12345 > a/b/c; ls; pwd"
        result = ran(lane, changing(text), isolation)

        listed, path = result.stdout.decode().split()
        facts = result.measured.facts or {}
        assert (result.ended, listed) == (Ended.OK, "a"), result
        assert facts["artifacts"] == 3 and isinstance(facts["artifact_bytes"], int)
        assert not os.path.exists(path)

    @pytest.mark.usefixtures("seen_afterwards")
    def test_what_a_script_left_past_the_limit_fails_its_call(
        self, lane: ProcessLane, isolation: Isolation
    ) -> None:
        result = ran(lane, changing("head -c 200000 /dev/zero > big"), isolation, SMALL)

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
        assert (result.measured.facts or {})["artifact_bytes"] == 200_000


@pytest.mark.usefixtures("seen_afterwards")
def test_a_script_that_leaves_too_many_files_fails(lane: ProcessLane) -> None:
    text = f"i=0; while [ $i -le {ARTIFACTS_MAX} ]; do : > f$i; i=$((i+1)); done"

    result = ran(lane, changing(text))

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
    assert (result.measured.facts or {})["artifacts"] == ARTIFACTS_MAX + 1


def test_a_script_that_fills_its_folder_and_goes_on_is_ended(lane: ProcessLane) -> None:
    result = ran(lane, changing("head -c 200000 /dev/zero > big; exec sleep 30"), limits=SMALL)

    assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.OUTPUT_LIMIT)
    assert "in its folder" in (result.message or "")


def test_a_script_that_reads_and_one_with_a_folder_of_the_call_get_none_of_their_own(
    lane: ProcessLane, tmp_path: Path
) -> None:
    reading = ran(lane, script("pwd"))
    elsewhere = changing("pwd")
    assert isinstance(elsewhere.request, ProcessRequest)
    elsewhere = replace(elsewhere, request=replace(elsewhere.request, cwd=str(tmp_path)))

    assert reading.stdout == b"/\n"
    assert ran(lane, elsewhere).stdout == f"{tmp_path}\n".encode()
