"""`rexecop exec`: one command as its asker writes it, governed and recorded like everything else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from tests.cli.conftest import Ended, Rexecop


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        before = os.getcwd()
        os.chdir(folder)
        assert run(("init", "--quiet")) == 0
        yield Path(folder)
        os.chdir(before)


@pytest.fixture
def do(root: Path, capsys: pytest.CaptureFixture[str]) -> Rexecop:
    os.chdir(root)

    def call(*words: str) -> Ended:
        capsys.readouterr()
        code = run(words)
        said = capsys.readouterr()
        return Ended(code=code, out=said.out, err=said.err)

    return call


def test_a_look_puts_out_what_its_command_put_out_and_leaves_evidence_that_verifies(do: Rexecop) -> None:
    ended = do("exec", "localhost", "--yes", "--", "printf", "%s\\n", "hello")

    assert (ended.code, ended.out) == (Exit.DONE, "hello\n")
    assert do("export", "@", "--output", "look.rxb").code == Exit.DONE
    assert do("verify", "look.rxb", "--require", "consistent").code == Exit.DONE


def test_no_shell_and_no_placeholder_reads_the_words(do: Rexecop) -> None:
    words = ("$HOME", "a; b", "{target}", "{*argv}", "--yes", "*")

    ended = do("exec", "localhost", "--yes", "--", "printf", "%s|", *words)

    assert ended.out == "".join(f"{word}|" for word in words)


def test_a_command_that_fails_shows_its_complaint_and_ends_with_1(do: Rexecop) -> None:
    ended = do("exec", "localhost", "--yes", "--", "ls", "/nowhere")

    assert ended.code == Exit.FAILED
    assert "/nowhere" in ended.err
    assert "failed: the program ended with status 2" in ended.out


def test_a_look_cannot_write(do: Rexecop, root: Path) -> None:
    ended = do("exec", "localhost", "--yes", "--", "touch", str(root / "made"))

    assert ended.code == Exit.FAILED
    assert not (root / "made").exists()


def test_a_change_asks_for_what_policy_wants(do: Rexecop, root: Path) -> None:
    ended = do("exec", "localhost", "--yes", "--as-a", "change", "--", "touch", str(root / "made"))

    assert ended.code == Exit.NEEDS_APPROVAL
    assert "1 of approvers" in ended.out
    assert not (root / "made").exists()


@pytest.mark.parametrize("words", [("sh", "-c", "id"), ("systemctl", "restart", "db"), ("sudo", "id")])
def test_a_look_that_is_none_is_refused_before_anything_runs(do: Rexecop, words: tuple[str, ...]) -> None:
    ended = do("exec", "localhost", "--yes", "--json", "--", *words)

    assert ended.code == Exit.USAGE
    assert '"command-guarded"' in ended.err


def test_an_environment_without_the_connector_grants_no_command(do: Rexecop, root: Path) -> None:
    (root / "bare.yaml").write_text("environment: {id: bare, targets: {localhost: {type: host}}}\n")

    ended = do("exec", "localhost", "--yes", "--env", "bare.yaml", "--", "id")

    assert ended.code == Exit.USAGE
    assert "does not configure connector `command`" in ended.err
