"""A recorded session: approved as a whole, kept as it was shown, looked on at, and played again."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from rexecop.app.build import open_instance
from rexecop.app.settings import load_settings
from rexecop.cli.exits import Exit
from rexecop.cli.main import run
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.records import Stretch
from rexecop.proof.records.plan import CallStep
from tests.lanes.sshd import sshd

SILENT_SECONDS = 60  # Only a session that hangs says nothing for so long.
WORDS = (sys.executable, "-m", "rexecop")
PLAN = (
    *("plan", "--profile", "adhoc", "--intent", "session", "--target", "localhost", "--mode", "apply"),
    *("--param", 'argv:=["sh"]', "--identity", "me.key", "-q"),
)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A root with two approvers: what may destroy needs both."""
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        before = os.getcwd()
        os.chdir(folder)
        assert run(("init", "--approver", "bob", "--other", "me", "--quiet")) == 0
        for person, role in (("me", "requester"), ("eve", "approver")):
            assert run(("keys", "new", f"{person}.key", "--person", person, "--role", role, "-q")) == 0
        people = Path(".rexecop/policy/starter/entities.yaml")
        people.write_text(people.read_text() + "  'eve': {groups: [approvers]}\n")
        yield Path(folder)
        os.chdir(before)


@pytest.fixture(scope="module")
def host(root: Path) -> Iterator[tuple[str, ...]]:
    """Words that plan a session on another host, which is there."""
    with sshd(root / "sshd") as server:
        Path("lab.yaml").write_text(f"""
environment:
  id: lab
  profile: adhoc
  targets:
    db-1: {{type: host, connection: {{host: 127.0.0.1, port: {server.port}}}}}
  connectors:
    command:
      backend: ssh
      user: {server.user}
      identity_file_secret_ref: sitting
      host_keys: ["{server.host_key}"]
""")
        os.environ["REXECOP_SECRET_SITTING"] = str(server.key)
        yield tuple({"localhost": "db-1"}.get(word, word) for word in (*PLAN, "--env", "lab.yaml"))
        del os.environ["REXECOP_SECRET_SITTING"]


def planned(root: Path, *, approved: bool, words: tuple[str, ...] = PLAN) -> str:
    os.chdir(root)
    assert run(words) == 0
    keys = (".rexecop/keys/approver", "eve.key") if approved else ()
    for key in keys:
        assert run(("approve", "@", "--key", key, "--yes", "-q")) == 0
    with open_instance(load_settings({}, {}, root, root), {}) as instance:
        return str(instance.status("@").number)


class Sitting:
    """Somebody at a terminal of their own, at which a command of ours runs."""

    def __init__(self, *words: str) -> None:
        self.seen = b""
        self._place = 0
        self._pid, self._seat = pty.fork()
        if self._pid == 0:
            os.execv(WORDS[0], (*WORDS, *words))

    def sees(self, text: bytes) -> None:
        """Return once `text` is there, after what was waited for before."""
        while (found := self.seen.find(text, self._place)) < 0:
            self.seen += self._more()
        self._place = found + len(text)

    def _more(self) -> bytes:
        ready, _, _ = select.select([self._seat], [], [], SILENT_SECONDS)
        assert ready, f"nothing more came after {self.seen[-500:]!r}"
        return os.read(self._seat, 4096)

    def interrupts(self) -> None:
        """Run a program and interrupt it.

        What is typed before the shell asks again is lost with the interrupt, at times.
        """
        self.types(b"sh -c 'echo as''leep; exec sleep 600'\n")
        self.sees(b"\nasleep")
        self.types(b"\x03")
        self.sees(b"^C")
        self.sees(b"# ")

    def widens(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._seat, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def types(self, keys: bytes) -> None:
        os.write(self._seat, keys)

    def ended(self) -> int:
        try:
            while part := self._more():
                self.seen += part
        except OSError:
            pass  # So a terminal says that nobody is at its other end any more.
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def test_a_session_is_shown_kept_looked_on_at_and_played(root: Path) -> None:
    number = planned(root, approved=True)
    sitting = Sitting("terminal", "--operation", number, "--identity", "me.key")
    sitting.sees(b"# ")
    sitting.types(b"stty size; echo before\n")
    sitting.sees(b"\nbefore")
    onlooker = subprocess.Popen(
        (*WORDS, "terminal", "--join", number), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert onlooker.stdout is not None and onlooker.stderr is not None
    assert b"looking on" in onlooker.stderr.readline()
    sitting.types(b"echo 'seen by' both\n")
    sitting.sees(b"\r\nseen by both")
    while not select.select([onlooker.stdout], [], [], 0.2)[0]:
        sitting.types(b"echo both again\n")  # The door may have let the onlooker in just after.
    shown = os.read(onlooker.stdout.fileno(), 4096)
    sitting.interrupts()
    sitting.types(b"exit 0\n")

    assert sitting.ended() == Exit.DONE, sitting.seen
    assert b"both" in shown
    assert onlooker.wait(SILENT_SECONDS) == Exit.DONE
    onlooker.stdout.close()
    onlooker.stderr.close()
    with open_instance(load_settings({}, {}, root, root), {}) as instance:
        view = instance.status(number)
        (output,) = instance.outputs(number)
        stretches = instance.records_of_kind(number, Stretch)
    assert view.state == "completed"
    assert output.text is not None and "seen by both" in output.text
    assert sum(stretch.length for stretch in stretches) == output.ref.kept_bytes
    assert not list((root / ".rexecop/run").iterdir())


def test_the_film_of_a_session_is_what_was_shown(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = planned(root, approved=True)
    sitting = Sitting("terminal", "--operation", number, "--identity", "me.key")
    sitting.sees(b"# ")
    sitting.types(b"echo filmed; exit\n")
    assert sitting.ended() == Exit.DONE, sitting.seen
    capsys.readouterr()

    assert run(("logs", number, "--cast")) == 0

    head, *events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert head["version"] == 2
    assert "filmed" in "".join(text for _, kind, text in events if kind == "o")
    assert run(("export", number, "--with-outputs", "--output", f"{number}.rxb")) == 0
    assert run(("verify", f"{number}.rxb", "--require", "consistent")) == 0


def test_a_session_on_another_host_is_shown_kept_looked_on_at_and_takes_every_key(
    root: Path, host: tuple[str, ...]
) -> None:
    number = planned(root, approved=True, words=host)
    sitting = Sitting("terminal", "--operation", number, "--identity", "me.key", "--env", "lab.yaml")
    sitting.sees(b"# ")
    sitting.widens(33, 111)
    sitting.types(b"until stty size | grep '33 111'; do :; done\n")
    sitting.sees(b"\n33 111")
    onlooker = subprocess.Popen(
        (*WORDS, "terminal", "--join", number), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert onlooker.stdout is not None and onlooker.stderr is not None
    assert b"looking on" in onlooker.stderr.readline()
    while not select.select([onlooker.stdout], [], [], 0.2)[0]:
        sitting.types(b"echo both\n")  # The door may have let the onlooker in just after.
    sitting.interrupts()
    sitting.types(b"trap 'echo the last word' EXIT\n\x04")

    assert sitting.ended() == Exit.DONE, sitting.seen
    assert b"\nthe last word\r\n" in sitting.seen
    assert b"\nboth" in onlooker.communicate(timeout=SILENT_SECONDS)[0]
    with open_instance(load_settings({}, {}, root, root), {}) as instance:
        (output,) = instance.outputs(number)
        stretches = instance.records_of_kind(number, Stretch)
    assert output.text is not None and "the last word" in output.text
    assert stretches  # One a second at most: a quick machine needs no more.
    assert sum(stretch.length for stretch in stretches) == output.ref.kept_bytes
    assert not list((root / ".rexecop/run").iterdir())


def test_every_line_of_a_governed_session_is_a_call_on_the_other_host(
    root: Path, host: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(root)
    lines = f"printf '%s' '$HOME'\n! touch {root}/made\ncat a | wc\nprintf ' on'\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))

    assert run(("terminal", "db-1", "--env", "lab.yaml", "--identity", "me.key")) == Exit.DONE

    said = capsys.readouterr()
    assert said.out == "$HOME on"
    assert "waiting_for_approval" in said.err and "error[line-refused]" in said.err
    assert not (root / "made").exists()
    with open_instance(load_settings({}, {}, root, root), {}) as instance:
        (step,) = instance.operation(instance.resolve("@")).the_plan.steps
    assert isinstance(step, CallStep) and isinstance(step.call.request, ExchangeRequest)
    assert step.call.request.message["command"] == {"argv": ["printf", " on"]}


def test_what_is_not_approved_gives_nobody_a_terminal(root: Path) -> None:
    number = planned(root, approved=False)

    sitting = Sitting("terminal", "--operation", number, "--identity", "me.key")

    assert sitting.ended() == Exit.NEEDS_APPROVAL
    assert b"# " not in sitting.seen.replace(b"##", b"")


def test_a_session_that_nobody_sits_at_is_refused_and_does_nothing(root: Path) -> None:
    number = planned(root, approved=True)

    assert run(("start", number, "--identity", "me.key")) == Exit.FAILED
    with open_instance(load_settings({}, {}, root, root), {}) as instance:
        assert "nobody sits at the terminal" in (instance.status(number).steps[0].message or "")


@pytest.mark.parametrize("words", [("terminal", "--join", "@"), ("logs", "@", "--cast")])
def test_a_session_that_is_none_is_said_to_be_none(
    root: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    os.chdir(root)
    assert run(("run", "host_facts", "--mode", "read_only", "--yes", "-q")) == 0
    capsys.readouterr()

    assert run(words) == Exit.USAGE
    assert "session-unknown" in capsys.readouterr().err
