"""How much one caller may ask, what following keeps, and how it ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final

import pytest
import uvicorn

from rexecop.app.build import init_root, open_instance
from rexecop.app.door import Caller, ServiceRole
from rexecop.app.errors import CallerUnknown
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.service.application import create_app
from rexecop.service.errors import RateExceeded
from rexecop.service.v1 import application as v1
from rexecop.service.v1 import following
from rexecop.service.v1.limits import Limits
from tests.service.api import person
from tests.service.doors import FixedDoor

WAIT: Final = 60.0
PLAN: Final = b'{"intent":"host_facts","target":"localhost","environment":"here"}'


def test_a_caller_may_ask_again_when_time_went_by() -> None:
    now = [100.0]
    limits = Limits(2.0, 3.0, clock=lambda: now[0])
    for _ in range(3):
        limits.take("alice")

    with pytest.raises(RateExceeded) as refused:
        limits.take("alice")
    limits.take("bob")
    now[0] += 0.5
    limits.take("alice")
    with pytest.raises(RateExceeded):
        limits.take("alice")

    assert refused.value.facts["seconds"] == 1
    now[0] += 1_000
    for _ in range(3):
        limits.take("alice")
    with pytest.raises(RateExceeded):
        limits.take("alice")


def test_of_callers_who_were_not_heard_of_for_long_nothing_is_kept() -> None:
    limits = Limits(1.0, 1.0, clock=lambda: 0.0, callers_max=2)
    for name in ("alice", "bob", "carol"):
        limits.take(name)

    limits.take("alice")  # Forgotten, and so new.
    with pytest.raises(RateExceeded):
        limits.take("carol")


def test_what_is_kept_for_followers_is_bounded_and_who_is_behind_reads_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "FRAMES_BYTES_MAX", 300)
    feed = following._Feed(count=2)
    frames = [(n, b"x" * 100) for n in range(2, 9)]

    following._take(feed, following._Seen(frames=frames, count=9, over=None))

    assert [n for n, _ in feed.frames] == [6, 7, 8]
    assert feed.since(0) is None and feed.since(5) is None
    assert feed.since(6) == b"x" * 300 and feed.since(9) == b""


class Fading(FixedDoor):
    """A door whose tokens are taken back while it is open."""

    def caller(self, headers: object, peer: str | None) -> Caller:
        found = super().caller(headers, peer)  # type: ignore[arg-type]
        if self.gone:
            raise CallerUnknown("taken back")
        return found

    gone = False


@contextmanager
def served(folder: Path, door: FixedDoor, limits: Limits | None = None) -> Iterator[tuple[Serving, int]]:
    """Serve a fresh root in a thread of this process."""
    settings = load_settings({"root": str(folder / "root"), "profile": "hello"}, {}, folder, folder)
    asyncio.run(init_root(settings, others=("alice",), approver="bob"))
    with Serving(open_instance(settings), door=door) as serving:
        app = create_app(serving, None)
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            threading.Event().wait(0.01)
        try:
            yield serving, int(server.servers[0].sockets[0].getsockname()[1])
        finally:
            serving.leave()
            server.should_exit = True
            thread.join(WAIT)


def test_a_follower_whose_token_was_taken_back_hears_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "BEAT_SECONDS", 0.1)
    door = Fading({"token": person("alice", ServiceRole.OPERATOR)})
    with served(tmp_path, door) as (_, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
        connection.request("POST", "/v1/operations", PLAN, headers)
        planned = connection.getresponse()
        location = planned.headers["location"]
        assert planned.status == 201, planned.read()
        planned.read()
        connection.request("GET", f"{location}/events", headers=headers)
        stream = connection.getresponse()
        while b"still there" not in (line := stream.readline()):
            assert line

        door.gone = True

        assert b"event: end" not in stream.read()
        connection.close()


def test_who_asks_too_often_is_told_when_to_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "OF_ONE_CALLER", 0)
    monkeypatch.setattr(v1, "Limits", lambda: Limits(0.001, 2.0))
    with served(tmp_path, FixedDoor({"token": person("alice", ServiceRole.OPERATOR)})) as (_, port):
        connection = HTTPConnection("127.0.0.1", port, timeout=WAIT)
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}

        def asked(method: str, path: str, body: bytes | None = None) -> HTTPResponse:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            reply.read()
            return reply

        planned = asked("POST", "/v1/operations", PLAN)
        found = [planned, asked("GET", f"{planned.headers['location']}/events"), asked("GET", "/v1/queue")]
        connection.close()

    assert [reply.status for reply in found] == [201, 503, 429]
    assert found[1].headers["retry-after"] == "1" and int(found[2].headers["retry-after"]) > 100


def test_a_plan_or_a_read_that_takes_long_keeps_nobody_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, go = threading.Semaphore(0), threading.Event()

    def holding(work: Callable[..., object]) -> Callable[..., object]:
        def slow(*args: object) -> object:
            held.release()
            assert go.wait(WAIT)
            return work(*args)

        return slow

    with served(tmp_path, FixedDoor({"token": person("alice", ServiceRole.OPERATOR)})) as (serving, port):
        parts = serving.instance.parts
        monkeypatch.setattr(parts.planner, "prepare", holding(parts.planner.prepare))
        monkeypatch.setattr(parts.world.store, "under_way", holding(parts.world.store.under_way))
        headers = {"Authorization": "Bearer token", "Content-Type": "application/json"}
        asked = []
        for method, path, body in (("POST", "/v1/operations", PLAN), ("GET", "/v1/queue", None)):
            asked.append(HTTPConnection("127.0.0.1", port, timeout=WAIT))
            asked[-1].request(method, path, body, headers)
            assert held.acquire(timeout=WAIT)
        try:
            other = HTTPConnection("127.0.0.1", port, timeout=WAIT)
            for path in ("/health", "/v1/operations", "/v1/targets"):
                other.request("GET", path, headers=headers)
                reply = other.getresponse()
                reply.read()
                assert reply.status == 200
            other.close()
        finally:
            go.set()
        found = [one.getresponse() for one in asked]
        assert [reply.status for reply in found] == [201, 200]
        for one, reply in zip(asked, found, strict=True):
            reply.read()
            one.close()
