"""`rexecop terminal`: each line is one command, decided and recorded by itself."""

from __future__ import annotations

import io
import json
import os
import pty
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.app.command_line import SHELL_SIGNS, read_line
from rexecop.app.errors import LineRefused
from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from tests.cli.conftest import Ended

Say = Callable[..., Ended]


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        before = os.getcwd()
        os.chdir(folder)
        assert run(("init", "--approver", "bob", "--other", "me", "--quiet")) == 0
        assert run(("keys", "new", "me.key", "--person", "me", "--role", "requester", "-q")) == 0
        yield Path(folder)
        os.chdir(before)


@pytest.fixture
def say(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Say:
    os.chdir(root)

    def call(*lines: str, words: tuple[str, ...] = ()) -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        capsys.readouterr()
        code = run(("terminal", "localhost", "--identity", "me.key", *words))
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return call


def test_every_line_is_an_operation_and_what_follows_the_last_is_not_run(say: Say) -> None:
    ended = say("printf 'a b\\n'", "", "# a remark", "printf c", "quit", "printf d", words=("--json",))

    found = [json.loads(line) for line in ended.out.splitlines()]
    assert [entry["outputs"][0]["text"] for entry in found] == ["a b\n", "c"]
    assert len({entry["operation_id"] for entry in found}) == 2
    assert ended.code == Exit.DONE


def test_a_line_that_fails_or_is_refused_does_not_end_the_session(say: Say) -> None:
    ended = say("ls /nowhere", "cat /etc/hostname | wc", "sh -c id", "printf still-here")

    assert ended.out == "still-here"
    assert "the program ended with status 2" in ended.err
    assert "error[line-refused]" in ended.err and "error[command-guarded]" in ended.err


def test_a_change_waits_while_the_session_goes_on_and_is_started_once_it_is_approved(
    say: Say, root: Path
) -> None:
    made = root / "made"

    waiting = say(f"! touch {made}", "printf on")

    assert waiting.out == "on" and "waiting_for_approval" in waiting.err
    number = waiting.err.split("rexecop show ")[1].split()[0]
    assert not made.exists()
    assert run(("approve", number, "--key", ".rexecop/keys/approver", "--yes", "-q")) == 0
    say(f"start {number}")
    assert run(("status", number, "-q")) == 0
    assert waiting.code == Exit.DONE


def test_a_dry_session_previews_only(say: Say, root: Path) -> None:
    ended = say("printf hello", words=("--mode", "dry_run", "--json"))

    assert json.loads(ended.out)["outputs"] == []


def test_at_a_terminal_the_prompt_names_the_target(root: Path) -> None:
    os.chdir(root)
    pid, seat = pty.fork()
    if pid == 0:
        words = ("-m", "rexecop", "terminal", "localhost", "--identity", "me.key")
        os.execv(sys.executable, (sys.executable, *words))
    seen = b""
    while b"localhost> " not in seen:
        seen += os.read(seat, 4096)
    os.write(seat, b"printf from-here\n\x04")
    try:
        while part := os.read(seat, 4096):
            seen += part
    except OSError:
        pass  # So a terminal says that nobody is at its other end any more.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert seen.count(b"from-here") == 2  # As typed, and as put out.


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1))
def test_quoted_words_arrive_as_they_are(words: list[str]) -> None:
    line = read_line("x " + shlex.join(words))

    assert line is not None
    assert (line.intent, line.argv) == ("look", ("x", *words))


@pytest.mark.parametrize("sign", sorted(SHELL_SIGNS))
def test_what_only_a_shell_does_is_refused_unless_it_is_quoted(sign: str) -> None:
    with pytest.raises(LineRefused, match="no shell"):
        read_line(f"echo a {sign} b")
    for quoted in (f"'{sign}'", f'"{sign}"', f"\\{sign}"):
        line = read_line(f"echo {quoted}")
        assert line is not None and line.argv == ("echo", sign)


@pytest.mark.parametrize(
    ("text", "intent"), [("! touch x", "change"), ("!!rm x", "destroy"), ("touch x", "look")]
)
def test_a_mark_says_what_a_line_is(text: str, intent: str) -> None:
    line = read_line(text)

    assert line is not None and line.intent == intent


@pytest.mark.parametrize("text", ["'open", "x" * 20_000, 'a "b'])
def test_a_line_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(LineRefused):
        read_line(text)
