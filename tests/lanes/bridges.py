"""Real ends of the bridge for tests: `rexecop guest` as a process, and calls that go there."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from rexecop.app.build import open_instance
from rexecop.app.clock import SystemClock, SystemIds
from rexecop.app.guests import GrantFile
from rexecop.keys import load_signer
from rexecop.lanes.messages.bridge import GUEST, NODE
from rexecop.lanes.node import NodeAccess, NodeLane
from rexecop.lanes.port import Capabilities, Clearance, LaneEvent
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Isolation
from tests.app.support import made, settings
from tests.lanes.support import permit_for, secrets_of

GRANT: Final = "guest-grant"  # The name of the secret that holds the token.


@contextmanager
def program(*arguments: str, ready: str, said: list[str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run `rexecop` with `arguments`; it is ready once it says a line that holds `ready`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rexecop", *arguments], stderr=subprocess.PIPE, text=True, env=_environment()
    )
    assert process.stderr is not None
    with process, process.stderr:
        try:
            line = process.stderr.readline()
            assert ready in line, line + process.stderr.read()
            if said is not None:
                said.append(line)
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _environment() -> dict[str, str]:
    return {**os.environ, "NO_COLOR": "1"}


def guest_message(place: Mapping[str, Json], *argv: Json, **program: Json) -> dict[str, Json]:
    return {"program": {"argv": list(argv), **program}, "grant": {"secret": GRANT}, **place}


def guest_call(
    place: Mapping[str, Json],
    *argv: Json,
    effect: Effect = Effect.READ,
    peers: tuple[str, ...] = (),
    **program: Json,
) -> Call:
    """A call that runs `argv` in the guest at `place`."""
    request = ExchangeRequest(protocol=GUEST, message=guest_message(place, *argv, **program), peers=peers)
    return Call(target="box-1", connector="box", action="look", effect=effect, request=request)


def token_of(grants: Path, name: str = "tests", hours: int = 1, *capabilities: str) -> str:
    token = GrantFile(grants).issue(name, hours, capabilities).token
    assert token is not None
    return token


def node_call(node: str, *argv: Json, effect: Effect = Effect.READ, **program: Json) -> Call:
    """A call that runs `argv` on the node with the key `node`."""
    message: dict[str, Json] = {"program": {"argv": list(argv), **program}, "node": node}
    request = ExchangeRequest(protocol=NODE, message=message)
    return Call(target="edge-1", connector="edge", action="look", effect=effect, request=request)


@dataclass
class Permitting:
    """A lane that is given a permit for every call, as the gate gives it."""

    lane: NodeLane
    changes: dict[str, object] = field(default_factory=dict)

    name = "node"

    @property
    def capabilities(self) -> Capabilities:
        return self.lane.capabilities

    def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        expires = SystemClock().now() + timedelta(seconds=30)
        permit = replace(permit_for(call), **{"expires": expires, **self.changes})  # type: ignore[arg-type]
        return self.lane.under(permit).open(call, limits, isolation, attempt, clearance)


@dataclass
class Served:
    """A root whose service runs, and a node of it that has a key and may be started."""

    folder: Path
    url: str
    node: str

    @property
    def root(self) -> Path:
        return self.folder / "root"

    def lane(self, **secrets: str) -> NodeLane:
        signer = load_signer(self.root / "keys" / "instance")
        access = NodeAccess(
            socket=str(self.root / "nodes.sock"), signing=lambda: signer, nonce=SystemIds().nonce
        )
        return NodeLane(secrets_of(**{name: value.encode() for name, value in secrets.items()}), access)

    @contextmanager
    def node_running(self, url: str = "") -> Iterator[subprocess.Popen[str]]:
        instance = str(self.root / "keys" / "instance.pub")
        keys = ("--key", str(self.folder / "edge-1"), "--instance", instance)
        arguments = ("node", "--connect", url or self.url, *keys, "--state", str(self.folder / "state"))
        with program(*arguments, ready="connected") as process:
            yield process


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A root below `folder` with a service on it and an enrolled key for the node `edge-1`."""

    async def prepare() -> str:
        await made(folder)
        with open_instance(settings(folder)) as instance:
            return (await instance.key_new("edge-1", "node", folder / "edge-1")).fingerprint

    node = asyncio.run(prepare())
    with serving(folder / "root") as (_, url):
        yield Served(folder, url, node)


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The service of `root`, and its address."""
    said: list[str] = []
    arguments = ("serve", "--port", str(port), "--root", str(root))
    with program(*arguments, ready="serving", said=said) as process:
        yield process, said[0].split(" on ")[1].split()[0]
