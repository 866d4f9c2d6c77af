"""Programs of the operator's own: fed once, bounded, and told no more than they need."""

from __future__ import annotations

import os
import sys

import pytest

from rexecop.app.witness import complaint
from rexecop.lanes.errors import ProgramFailed
from rexecop.lanes.program import Ran, run

PATH = {"PATH": os.environ["PATH"]}


def python(code: str, *, stdin: bytes = b"", seconds: float = 30, output_bytes: int = 1000) -> Ran:
    return run(
        [sys.executable, "-c", code], stdin=stdin, environ=PATH, seconds=seconds, output_bytes=output_bytes
    )


def test_a_program_gets_its_input_and_both_its_outputs_are_kept() -> None:
    ran = python(
        "import sys; print(len(sys.stdin.buffer.read())); sys.stderr.write('first\\nlast'); sys.exit(3)",
        stdin=b"x" * 200_000,
    )

    assert (ran.returncode, ran.stdout, complaint(3, ran.stderr)) == (3, b"200000\n", "last")
    assert complaint(4, b"") == "it ended with 4"


def test_a_program_inherits_what_it_needs_and_no_secret() -> None:
    environ = {**PATH, "HOME": "/h", "REXECOP_SECRET_DB": "canary", "PYTHONPATH": "/elsewhere"}
    ran = run(
        [sys.executable, "-c", "import os; print(sorted(os.environ))"],
        stdin=b"",
        environ=environ,
        seconds=30,
        output_bytes=1000,
    )

    assert b"'HOME', " in ran.stdout and b"'PATH'" in ran.stdout
    assert b"REXECOP" not in ran.stdout and b"PYTHONPATH" not in ran.stdout


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_program_that_floods_is_ended(stream: str) -> None:
    with pytest.raises(ProgramFailed, match="put out more than 1000 bytes"):
        python(f"import sys\nwhile True: sys.{stream}.write('x' * 4096)")


@pytest.mark.parametrize(
    "code",
    [
        "import time; time.sleep(600)",
        "import os, time; os.close(1); os.close(2); time.sleep(600)",
        "import os, time\nif os.fork() == 0: time.sleep(600)",
    ],
)
def test_a_program_that_does_not_end_in_time_is_ended_with_what_it_started(code: str) -> None:
    with pytest.raises(ProgramFailed, match=r"did not end in 0\.5 s"):
        python(code, seconds=0.5)


def test_a_program_that_is_not_there_is_one_line() -> None:
    with pytest.raises(ProgramFailed, match="does not start") as caught:
        run(["/nowhere/at-all"], stdin=b"", environ=PATH, seconds=1, output_bytes=10)
    assert caught.value.code == "program-failed" and "\n" not in caught.value.message
