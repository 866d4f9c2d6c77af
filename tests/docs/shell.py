"""Running what a page shows, in a folder of its own, as a newcomer would: empty home, no variables."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.docs.pages import SERVE, Command, Page

COMMAND_SECONDS: Final = 60  # Nothing a page shows takes long; a command that waits for input never ends.
SERVE_TRIES: Final = 1200
PORT: Final = "5000"
# What differs from run to run, and from machine to machine.
VARYING: Final = (
    (re.compile(r"sha256:[0-9a-f]{6,64}"), "sha256:D"),
    (re.compile(r"^#\d+"), "#N"),
    (re.compile(r"\b(op|in)_[0-9a-f]{6,}"), r"\1_I"),
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f-]{27}\b"), "I"),
    (re.compile(r"SHA256:[A-Za-z0-9+/]{43}"), "SHA256:F"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?Z?"), "T"),
    (re.compile(r"\b\d+ (ms|bytes)\b"), r"N \1"),
    (re.compile(r"\bafter \d+ s\b"), "after N s"),
    (re.compile(r"\b(bubblewrap|landlock-seccomp|rlimits)\b"), "CLASS"),
)


class Reader:
    """Somebody who types what `page` shows, in the folder `here`, with the programs in `commands` first."""

    def __init__(self, page: Page, here: Path, commands: Path) -> None:
        self._page = page
        self._here = here / "here"
        self._here.mkdir()
        (here / "home").mkdir()
        self._port = PORT
        self._served: subprocess.Popen[bytes] | None = None
        self._environment = {
            "HOME": str(here / "home"),
            "PATH": f"{commands}:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            "COLUMNS": "110",
            "LANG": "C.UTF-8",
        }

    def type_everything(self) -> list[str]:
        """Run every block of the page in order; return what the page says and is not so."""
        wrong: list[str] = []
        with self._serving():
            for block in self._page.blocks():
                if block.reason is None:
                    for hidden in block.before:
                        wrong += self._type(Command(text=hidden, code=0, shown=()))
                    for command in block.commands():
                        wrong += self._type(command)
        return wrong

    @contextmanager
    def _serving(self) -> Iterator[None]:
        try:
            yield
        finally:
            if self._served is not None:
                os.killpg(self._served.pid, signal.SIGTERM)
                self._served.wait(COMMAND_SECONDS)

    def _type(self, command: Command) -> list[str]:
        if SERVE.match(command.text):
            self._serve(command.text)
            return []
        ended = subprocess.run(
            ["bash", "-ec", self._here_text(command.text)],
            cwd=self._here,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        said = (ended.stdout + ended.stderr).decode()
        if ended.returncode != command.code:
            return [f"{command.text.strip()}: ended with {ended.returncode}, not {command.code}: {said}"]
        missing = missing_lines(command.shown, said.replace(self._port, PORT))
        return [f"{command.text.strip()}: does not say {line!r}, but {said}" for line in missing]

    def _here_text(self, text: str) -> str:
        return text if self._served is None else re.sub(rf"\b{PORT}\b", self._port, text)

    def _serve(self, text: str) -> None:
        """Start the service on a free port and return when it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = str(free.getsockname()[1])
        plain = re.sub(rf"--port {PORT}|^rexecop ", "", text)
        words = f"exec {Path(sys.executable).parent}/rexecop {plain} --port {self._port}"
        self._served = subprocess.Popen(
            ["bash", "-ec", words],
            cwd=self._here,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(SERVE_TRIES):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"{text}: never answered")


def missing_lines(shown: tuple[str, ...], said: str) -> list[str]:
    """The lines of `shown` that `said` does not hold in that order; `...` leaves some out.

    A shown line may stop early, where the words of a machine follow. Without `...` lines follow each other.
    """
    lines = [_steady(line) for line in said.split("\n") if line.strip()]
    place, gap = 0, False
    for line in shown:
        if line == "...":
            gap = True
            continue
        ahead = range(place, len(lines) if gap else min(place + 1, len(lines)))
        found = next((index for index in ahead if lines[index].startswith(_steady(line))), None)
        if found is None:
            return [line]
        place, gap = found + 1, False
    return [] if gap or not shown or place == len(lines) else [f"(end, and not) {lines[place]}"]


def _steady(line: str) -> str:
    for pattern, word in VARYING:
        line = pattern.sub(word, line)
    return re.sub(r"\s+", " ", line).rstrip()
