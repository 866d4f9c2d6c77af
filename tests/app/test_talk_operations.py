"""Operations that listen and talk, on a real root against real peers: from plan to verified bundle."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.vocabulary import Ended, Grade
from tests.app.support import bob, made, opened, records, scratch, verified
from tests.lanes.peers import Peers
from tests.needs import needs

TOKEN: Final = "canary-token-of-this-test"

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: talk, version: '1'}",
    "intents/watch.yaml": "intent: {id: watch, workflow: workflows/watch.yaml, risk: low}",
    "intents/restart.yaml": "intent: {id: restart, workflow: workflows/restart.yaml, risk: low}",
    "intents/measure.yaml": "intent: {id: measure, workflow: workflows/measure.yaml, risk: low}",
    "workflows/watch.yaml": """
workflow:
  steps:
    - {id: watch, type: connector, connector: feed, action: wait_until_ready, normalize: end}
""",
    "workflows/restart.yaml": """
workflow:
  steps:
    - {id: measure, type: connector, connector: tools, action: measure, normalize: load}
    - id: restart
      type: connector
      connector: control
      action: restart
      slots: {load: {step: measure, fact: load, type: integer}}
""",
    "workflows/measure.yaml": """
workflow:
  steps:
    - {id: measure, type: connector, connector: tools, action: measure, normalize: load}
""",
    **{
        f"validation_rules/{intent}.yaml": f"""
validation_rule:
  intent: {intent}
  steps: [{{type: require_equals, path: {path}, value: {value}, rule: it.happened}}]
"""
        for intent, path, value in (
            ("watch", "watch.stopped_by", "match"),
            ("restart", "measure.load", "7"),
            ("measure", "measure.load", "7"),
        )
    },
    "normalizers/end.yaml": """
normalizer:
  facts:
    stopped_by: {stream: data, pointer: /stopped_by, type: string}
    events: {stream: data, pointer: /events, type: integer}
""",
    "normalizers/load.yaml": "normalizer: {facts: {load: {pointer: /load, type: integer}}}",
    "connectors/feed.yaml": """
connector:
  name: feed
  capabilities: [wait_until_ready]
  actions:
    wait_until_ready:
      effect: read
      sse: {path: "/hosts/{target}/events", stop: {event: state, pointer: /ready, equals: true}}
""",
    "connectors/control.yaml": """
connector:
  name: control
  capabilities: [restart]
  actions:
    restart:
      effect: change
      websocket:
        path: /control
        frames: [{json: {do: restart, host: "{target}", at: "{slot.load}", key: "{secret.api}"}}]
        stop: {pointer: /done, equals: true}
""",
    "connectors/tools.yaml": """
connector:
  name: tools
  capabilities: [measure]
  actions:
    measure: {effect: read, rpc: {method: load, params: {of: "{target}"}}}
""",
}

PEER: Final = """
import json, sys
asked = json.loads(sys.stdin.readline())
result = {"load": 7, "of": asked["params"]["of"]}
print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""

got: list[str] = []


async def feed(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for ready in (False, True):
        said = json.dumps({"ready": ready, "of": request.match_info["host"]})
        await response.write(f"event: state\ndata: {said}\n\n".encode())
    await asyncio.sleep(30)
    return response


async def control(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        got.append(message.data)
        await socket.send_json({"done": True, "key": json.loads(message.data)["key"]})
    return socket


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    servers = Peers()
    yield servers.http({"GET /hosts/{host}/events": feed, "GET /control": control})
    servers.close()


@pytest.fixture
def folder(port: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with scratch() as path:
        for name, text in PROFILE.items():
            file = path / "talk" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        (path / "peer.py").write_text(PEER)
        (path / "environment.yaml").write_text(f"""
environment:
  id: here
  targets: {{web-1: {{type: host}}}}
  connectors:
    feed: {{backend: sse, base_url: "http://127.0.0.1:{port}", allow_private: true}}
    control:
      backend: websocket
      base_url: ws://127.0.0.1:{port}
      allow_private: true
      allow_plaintext: true
      secrets: {{api: control_key}}
    tools: {{backend: jsonrpc, program: [{sys.executable}, "-I", "-S", "{path / "peer.py"}"]}}
""")
        monkeypatch.setenv("REXECOP_SECRET_CONTROL_KEY", TOKEN)
        yield path


def ask(folder: Path, intent: str, mode: str) -> PlanInput:
    return PlanInput(
        profile=str(folder / "talk"),
        env=str(folder / "environment.yaml"),
        intent=intent,
        target="web-1",
        mode=mode,
    )


def ends(instance: Instance, operation: str) -> list[tuple[Attempt, Outcome]]:
    found = [sealed.record for sealed in records(instance, operation)]
    return list(
        zip(
            [record for record in found if isinstance(record, Attempt)],
            [record for record in found if isinstance(record, Outcome) and record.attempt is not None],
            strict=True,
        )
    )


def test_a_stream_is_followed_to_its_condition_and_the_outcome_commits_to_what_came(folder: Path) -> None:
    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "watch", "read_only"))
            ran = await instance.start(planned.operation_id)
            assert ran.state == "completed", records(instance, planned.operation_id)

            ((attempt, outcome),) = ends(instance, planned.operation_id)
            assert (attempt.lane, attempt.grade) == ("sse", Grade.SHAPE)
            facts = outcome.facts or {}
            assert (facts["stopped_by"], facts["events"]) == ("match", 2)
            assert outcome.measured is not None
            stream = (outcome.measured.facts or {})["stream"]
            assert isinstance(stream, dict) and stream["chunks"] == 2
            assert verified(instance, planned.operation_id).rungs

    asyncio.run(go())


@needs("bwrap")
def test_a_read_of_a_program_is_contained_and_a_change_by_websocket_is_approved_and_recorded(
    folder: Path,
) -> None:
    got.clear()

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "restart", "apply"))
            assert planned.state == "waiting_for_approval"
            await instance.approve(planned.operation_id, key=bob(folder))
            ran = await instance.start(planned.operation_id)
            assert ran.state == "completed", ran

            (measured, read), (attempt, outcome) = ends(instance, planned.operation_id)
            assert (measured.lane, measured.isolation, measured.grade) == (
                "jsonrpc",
                "bubblewrap",
                Grade.CONTAINED,
            )
            assert (read.facts or {})["load"] == 7
            assert (attempt.lane, outcome.ended) == ("websocket", Ended.OK)
            assert verified(instance, planned.operation_id).rungs
        everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert TOKEN.encode() not in everything

    asyncio.run(go())

    assert [json.loads(text) for text in got] == [{"at": 7, "do": "restart", "host": "web-1", "key": TOKEN}]


def test_a_plan_shows_what_would_be_said_and_a_dry_run_says_nothing(folder: Path) -> None:
    got.clear()

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "restart", "dry_run"))
            await instance.start(planned.operation_id)
            assert {outcome.ended for _, outcome in ends(instance, planned.operation_id)} == {Ended.PREVIEWED}

    asyncio.run(go())

    assert got == []
