"""A real service in a process of its own, and a plain HTTP client for it."""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

from tests.forked import Forked, rexecop

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 60.0
JSON: Final = {"Content-Type": "application/json"}

Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def json(self) -> dict[str, object]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(slots=True)
class Running:
    """A service that answers on `port`."""

    process: Forked
    port: int
    root: Path

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=STOP_SECONDS)
        try:
            connection.request(
                method, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
            )
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
        finally:
            connection.close()

    def get(self, path: str) -> Reply:
        return self.call("GET", path)

    def post(self, body: bytes) -> Reply:
        return self.call("POST", "/execute", body, Content_Type="application/json")

    def execute(self, action: str, payload: object, nonce: str, **more: object) -> Reply:
        return self.post(json.dumps({"action": action, "payload": payload, "nonce": nonce, **more}).encode())

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and return how the process ended."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running(
    root: Path, main: Callable[..., int | None] | None = None, *words: str, **variables: str
) -> Iterator[Running]:
    """Start a service over `root`; `main` with the root and `words` instead of `rexecop serve`."""
    serve = ("--root", str(root), "serve", "--port", "0")
    process = Forked(main, str(root), *words) if main else Forked(rexecop, serve, **variables)
    try:
        line = process.stderr.readline()
        assert " on http" in line, line + process.stderr.read()
        yield Running(process, int(line.split("://")[1].split()[0].rpartition(":")[2]), root)
    finally:
        process.close()


def at_once(count: int, call: object) -> list[Reply]:
    """Return the answers of `count` calls made together; `call` takes the number of the call."""
    assert callable(call)
    replies: list[Reply] = []
    gate = threading.Barrier(count)

    def one(number: int) -> None:
        gate.wait()
        replies.append(call(number))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies
