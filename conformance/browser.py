"""Ask the verifier in `browser-verifier.html` from the command line, as PROTOCOL.md says.

    python conformance/run.py --entrypoint "python conformance/browser.py" --batch

Standard library only, and Chromium. The page is opened as a person would open it, from its file, and is told
nothing but what `verifyBundle` takes. Chromium is driven over a pipe, so nothing listens anywhere.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias

HERE: Final = Path(__file__).resolve().parent
PAGE: Final = HERE / "browser-verifier.html"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # It runs as root in a container, and opens this one file of ours.
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-pipe",
)
PIPE_FDS_FROM: Final = 10  # Above 3 and 4, which are the ends that Chromium wants.
READ_BYTES: Final = 1 << 16
SECONDS_MAX: Final = 120  # For one answer, as PROTOCOL.md gives a verifier.

Object: TypeAlias = dict[str, object]


class BrowserError(Exception):
    """Chromium ended, or the page did something that it must not do."""


class Page:
    """The verifier in one running Chromium; `with Page() as page:` ends it."""

    def __init__(self) -> None:
        """Start Chromium and open the page.

        Raises:
            BrowserError: there is no Chromium, or it does not open the page.
        """
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise BrowserError("chromium is not installed")
        self._folder = tempfile.TemporaryDirectory(prefix="browser-verifier-", ignore_cleanup_errors=True)
        self._process, self._to, self._from = _start(program, Path(self._folder.name))
        self._said = b""
        self._asked = 0
        self._session = ""
        self.requests: list[str] = []
        self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def evaluate(self, expression: str) -> object:
        """Return what the (awaited) expression is in the page, as JSON.

        Raises:
            BrowserError: it throws, or Chromium ended.
        """
        asked: Object = {"expression": expression, "awaitPromise": True, "returnByValue": True}
        answer = self._call("Runtime.evaluate", asked)
        result = answer.get("result")
        if "exceptionDetails" in answer or not isinstance(result, dict):
            raise BrowserError(f"the page threw: {json.dumps(answer)[:2000]}")
        return result.get("value")

    def verify(self, given: Object) -> Object:
        """Return the report of `verifyBundle`; bytes are given in base64, below the same names.

        Raises:
            BrowserError: the page threw.
        """
        report = self.evaluate(f"({_ASK})({json.dumps(given)})")
        if not isinstance(report, dict):
            raise BrowserError(f"no report: {report!r}")
        return report

    def _open(self) -> None:
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        attached = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._session = str(attached["sessionId"])
        self._call("Network.enable", {})
        self._call("Page.enable", {})
        self._call("Page.navigate", {"url": PAGE.as_uri()})
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def _call(self, method: str, parameters: Object) -> Object:
        self._asked += 1
        message: Object = {"id": self._asked, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        _write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._asked:
                break
        result = answer.get("result")
        if not isinstance(result, dict):
            raise BrowserError(f"{method}: {json.dumps(answer)[:2000]}")
        return result

    def _next(self) -> Object:
        """Return the next answer or event; a request that the page makes is noted."""
        while b"\0" not in self._said:
            ready, _, _ = select.select([self._from], [], [], SECONDS_MAX)
            data = os.read(self._from, READ_BYTES) if ready else b""
            if not data:
                raise BrowserError("chromium ended" if ready else f"no answer within {SECONDS_MAX} seconds")
            self._said += data
        line, _, self._said = self._said.partition(b"\0")
        message: Object = json.loads(line)
        parameters = message.get("params")
        if message.get("method") == "Network.requestWillBeSent" and isinstance(parameters, dict):
            self.requests.append(str(parameters["request"]["url"]))
        return message


_ASK: Final = """given => {
  const decoded = text => Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const bytes = text => text === undefined ? text : decoded(text);
  const trust = Object.fromEntries(Object.entries(given.trust).map(([name, text]) => [name, bytes(text)]));
  const [bundle, checkpoint, growth] = [given.bundle, given.checkpoint, given.growth].map(bytes);
  return verifyBundle({...given, trust, bundle, checkpoint, growth});
}"""


_WITH_PIPES: Final = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def _start(program: str, folder: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    """Return Chromium, where to write to it, and where to read from it."""
    (its_input, ours_out), (ours_in, its_output) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, PIPE_FDS_FROM) for fd in (its_input, its_output)]
    os.close(its_input)
    os.close(its_output)
    flags = (*FLAGS, f"--user-data-dir={folder}", "about:blank")
    command = [sys.executable, "-I", "-S", "-c", _WITH_PIPES, str(high[0]), str(high[1]), program, *flags]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=high
    )
    for fd in high:
        os.close(fd)
    return process, ours_out, ours_in


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def given_by(arguments: Sequence[str]) -> Object:
    """Return what the page is asked, from the arguments of PROTOCOL.md.

    Raises:
        OSError: a file cannot be read.
        SystemExit: the arguments make no sense.
    """
    words = _parser().parse_args(arguments)
    trust: Path | None = words.trust
    files = [] if trust is None else sorted(path for path in trust.rglob("*") if path.is_file())
    given: Object = {"bundle": _base64(words.bundle), "require": words.require, "now": words.now}
    given["trust"] = {path.relative_to(trust or path).as_posix(): _base64(path) for path in files}
    for name in ("checkpoint", "growth"):
        path: Path | None = getattr(words, name)
        if path is not None:
            given[name] = _base64(path)
    return given


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def answer_to(page: Page, arguments: Sequence[str]) -> Object:
    """Return the report with the exit code in it; 2 where the arguments are of no use."""
    try:
        report = page.verify(given_by(arguments))
    except (OSError, SystemExit) as error:
        return {"error": str(error), "exit": 2}
    if "error" in report:
        return {**report, "exit": 2}
    return {**report, "exit": 0 if report["verdict"] == "verified" else 7}


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="browser.py", allow_abbrev=False, exit_on_error=False)
    made.add_argument("bundle", type=Path)
    made.add_argument("--trust", type=Path)
    made.add_argument("--checkpoint", type=Path)
    made.add_argument("--growth", type=Path)
    made.add_argument("--require", default="logged")
    made.add_argument("--now")
    made.add_argument("--json", action="store_true")
    return made


def main(argv: Sequence[str]) -> int:
    """Answer one bundle, or with `--batch` every line of standard input."""
    with Page() as page:
        if list(argv) != ["--batch"]:
            answer = answer_to(page, argv)
            print(json.dumps(answer))
            code = answer["exit"]
            return code if isinstance(code, int) else 2
        for line in sys.stdin:
            print(json.dumps(_answer_line(page, line)), flush=True)
    return 0


def _answer_line(page: Page, line: str) -> Object:
    try:
        arguments = json.loads(line)
    except ValueError as error:
        return {"error": str(error), "exit": 2}
    if not isinstance(arguments, list) or not all(isinstance(word, str) for word in arguments):
        return {"error": "not an array of strings", "exit": 2}
    return answer_to(page, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
