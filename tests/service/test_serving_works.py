"""A service that works: what is ordered is carried out by it alone, by the queue's rules, until it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.build import open_instance
from rexecop.app.identity import os_user
from rexecop.app.planner import PlanInput
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.vocabulary import State
from tests.app.support import records
from tests.forked import Forked, rexecop
from tests.service.consoles import signed_in
from tests.service.running import Reply, Running
from tests.service.yard import settings_of, yard

WAIT_SECONDS: Final = 60.0
BRIEF_SECONDS: Final = 8  # After it nobody waits any more for what a dead process may have begun.
# A second call behind the one that waits, so that there is something to park before.
LINGERS: Final = """\
workflow:
  intent: linger
  risk: low
  steps:
    - {id: linger, type: connector, connector: here, action: linger, normalize: thing}
    - {id: look, type: connector, connector: here, action: look, normalize: thing, needs: [linger]}
"""


@dataclass
class Place:
    """A root that a service is over, and somebody's token there."""

    folder: Path
    token: str
    below: str = ""

    def ask(self, at: Running, method: str, path: str, body: bytes | None = None) -> Reply:
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        return at.call(method, f"{self.below}{path}", body, **headers)

    def plan(self, at: Running, intent: str, mode: str = "read_only", **parameters: str) -> str:
        asked = {"intent": intent, "mode": mode, "target": "near", "parameters": parameters}
        reply = self.ask(at, "POST", "/v1/operations", json.dumps(asked).encode())
        assert reply.status in (200, 201), reply.body
        return str(reply.json["operation_id"])

    def order(self, at: Running, name: str) -> None:
        reply = self.ask(at, "POST", f"/v1/operations/{name}/start", b'{"detach": true}')
        assert reply.status in (200, 202), reply.body

    def state(self, at: Running, name: str) -> object:
        return self.ask(at, "GET", f"/v1/operations/{name}").json["state"]

    def end_of(self, at: Running, name: str) -> str:
        """Follow an operation to its end, and return what that is."""
        connection = HTTPConnection("127.0.0.1", at.port, timeout=WAIT_SECONDS)
        path, headers = f"{self.below}/v1/operations/{name}/events", {"Authorization": f"Bearer {self.token}"}
        try:
            connection.request("GET", path, headers=headers)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def attempts(self, name: str) -> int:
        with open_instance(settings_of(self.folder)) as instance:
            return sum(isinstance(one.record, Attempt) for one in records(instance, name))


def place(folder: Path, below: str = "") -> Place:
    folder.mkdir()
    settings = yard(folder)
    (folder / "yard" / "workflows" / "linger.yaml").write_text(LINGERS)
    for kind in ("intents", "workflows", "validation_rules"):
        text = (folder / "yard" / kind / "linger.yaml").read_text()
        brief = text.replace("action: linger,", f"action: linger, timeout: {BRIEF_SECONDS}s,")
        named = brief.replace("intent: linger", "intent: brief").replace(
            "workflows/linger", "workflows/brief"
        )
        (folder / "yard" / kind / "brief.yaml").write_text(named)

    async def made() -> str:
        with open_instance(settings) as instance:
            asked = TokenAsked(name=os_user().person, roles=("operator", "admin"))
            return str((await Tokens(instance).new(asked)).token)

    return Place(folder, asyncio.run(made()), below)


@contextmanager
def service(at: Place, *words: str, **variables: str) -> Iterator[Running]:
    named = {"REXECOP_PROFILE": str(at.folder / "yard"), "REXECOP_ENV": str(at.folder / "yard.yaml")}
    serve = ("--root", str(at.folder / ".rexecop"), "serve", "--port", "0", *words)
    process = Forked(rexecop, serve, **named, **variables)
    try:
        line = process.stderr.readline()
        assert " on http" in line, line + process.stderr.read()
        yield Running(process, int(line.split("://")[1].split()[0].rpartition(":")[2]), at.folder)
    finally:
        process.close()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("works") / "own")


@pytest.fixture(scope="module")
def red(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return place(tmp_path_factory.mktemp("works") / "red", "/t/red")


async def approved(at: Place) -> str:
    """Plan a change as the agent whose key the settings name, and let bob approve it."""
    with open_instance(settings_of(at.folder)) as instance:
        asked = PlanInput(
            profile=str(at.folder / "yard"),
            env=str(at.folder / "yard.yaml"),
            intent="put",
            target="near",
            mode="apply",
            parameters={"text": "another thing"},
        )
        name = (await instance.plan(asked)).operation_id
        await instance.approve(name, key=at.folder / ".rexecop" / "keys" / "approver")
        return name


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.02)


def go(at: Place) -> None:
    """Wait until the call that waits is under way, and let it end."""
    with (at.folder / "things" / "go").open("w") as pipe:
        pipe.write("go\n")


def is_closed(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS).close()
    except OSError:
        return True
    return False


def test_what_is_ordered_is_carried_out_without_another_process_for_each_tenant(
    own: Place, red: Place
) -> None:
    with service(own, "--work", "--tenant", f"red={red.folder / '.rexecop'}") as at:
        for one in (own, red):
            name = one.plan(at, "look")
            one.order(at, name)
            assert '"state":"completed"' in one.end_of(at, name).replace(" ", "")

        change = asyncio.run(approved(own))
        visitor, page = signed_in(at, own.token), f"/console/operations/{change}"
        assert visitor.submit(page, f"{page}/start").status == 303
        told = own.end_of(at, change)
        assert "completed" in told, told
        assert (own.folder / "things" / "thing").read_text() == "another thing"

        assert "Nobody works" not in visitor.read(page).text
        assert "No worker" not in visitor.read("/console/health").text
        for one in (own, red):
            assert b"rexecop_workers 1" in one.ask(at, "GET", "/metrics").body
        assert at.stop() == 0
    with open_instance(settings_of(own.folder)) as instance:
        assert instance.parts.world.store.posted("worker") == []


def test_a_drain_holds_what_has_not_begun(own: Place) -> None:
    with service(own, "--work") as at:
        assert own.ask(at, "POST", "/v1/queue/drain").status == 200
        held, looked = own.plan(at, "look"), own.plan(at, "look", "emergency_readonly")
        own.order(at, held)
        own.order(at, looked)
        assert "completed" in own.end_of(at, looked)  # So it looked at the queue meanwhile.
        assert own.state(at, held) == State.APPROVED
        assert own.ask(at, "POST", "/v1/queue/resume").status == 200
        assert "completed" in own.end_of(at, held)


def test_told_to_stop_it_parks_between_calls_and_the_next_goes_on(own: Place) -> None:
    with service(own, "--work") as at:
        name = own.plan(at, "linger")
        own.order(at, name)
        until(lambda: own.state(at, name) == State.RUNNING)
        at.process.send_signal(signal.SIGTERM)
        until(lambda: is_closed(at.port))  # By then it has told what it drives to park.
        go(own)
        assert at.process.wait() == 0
    assert own.attempts(name) == 1

    with service(own, "--work") as at:
        assert "completed" in own.end_of(at, name)
    assert own.attempts(name) == 2


def test_what_a_killed_service_had_in_hand_is_taken_over_by_the_next(own: Place) -> None:
    soon = {"REXECOP_PERMIT_SECONDS": "1", "REXECOP_RECONCILE_MARGIN_MS": "0"}
    with service(own, "--work", **soon) as at:
        name = own.plan(at, "brief")
        own.order(at, name)
        until(lambda: own.state(at, name) == State.RUNNING)
        at.process.kill()
        at.process.wait()

    with service(own, "--work", **soon) as at:
        assert own.state(at, name) == State.INDETERMINATE
        until(lambda: own.state(at, name) == State.RUNNING)  # The read is made again.
        go(own)
        assert "completed" in own.end_of(at, name)
    assert own.attempts(name) == 3


def test_without_it_what_is_ordered_waits_and_the_page_says_so(own: Place) -> None:
    with service(own) as at:
        name = own.plan(at, "look")
        own.order(at, name)
        page = signed_in(at, own.token).read(f"/console/operations/{name}").text
        assert "Nobody works" in page and "rexecop serve --work" in page
        assert b"rexecop_workers 0" in own.ask(at, "GET", "/metrics").body
