"""Operations over HTTP on a real root, against a real server: planned, approved, made, recorded, verified."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.proof.call import ExchangeRequest
from rexecop.proof.canonical import Json
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.records.plan import CallStep, Plan
from rexecop.proof.vocabulary import Ended, Grade
from tests.app.support import bob, made, opened, records, verified
from tests.lanes.web import Asked, Web, authority, issue, json_reply, reply, server_context, serving

TOKEN: Final = "canary-token-of-this-test"

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: agents, version: '1'}",
    "intents/look.yaml": "intent: {id: look, workflow: workflows/look.yaml, risk: low}",
    "intents/restart.yaml": "intent: {id: restart, workflow: workflows/restart.yaml, risk: low}",
    "workflows/look.yaml": """
workflow:
  steps:
    - id: read
      type: connector
      connector: api
      action: read_agent
      normalize: agent
      retry: {max_attempts: 2, delay: 10ms, max_delay: 40ms}
""",
    "workflows/restart.yaml": """
workflow:
  steps:
    - {id: read, type: connector, connector: api, action: read_agent, normalize: agent}
    - id: restart
      type: connector
      connector: api
      action: restart_agent
      slots: {pid: {step: read, fact: pid, type: integer}}
      retry: {max_attempts: 2, allowed_on: [transient_connector_error], delay: 10ms}
""",
    "validation_rules/look.yaml": """
validation_rule:
  intent: look
  steps: [{type: require_equals, path: read.state, value: running, rule: agent.runs}]
""",
    "validation_rules/restart.yaml": """
validation_rule:
  intent: restart
  steps: [{type: require_equals, path: read.state, value: running, rule: agent.runs}]
""",
    "normalizers/agent.yaml": """
normalizer:
  facts:
    state: {pointer: /state, type: enum, values: [running, stopped]}
    pid: {pointer: /pid, type: integer}
    http: {exit_status: true, type: integer}
""",
    "connectors/api.yaml": """
connector:
  name: api
  capabilities: [read_agent, restart_agent]
  action_shapes:
    read_agent: {method: GET, path: "/hosts/{target}/agent", unwrap: /data}
    restart_agent:
      method: POST
      path: "/hosts/{target}/agent/restart"
      body: {pid: "{slot.pid}"}
      idempotency_header: Idempotency-Key
  actions:
    read_agent: {effect: read}
    restart_agent: {effect: change, idempotent: true}
""",
}

ENVIRONMENT: Final = """
environment:
  id: here
  targets: {web-1: {type: host}}
  connectors:
    api:
      backend: http
      base_url_secret_ref: api_place
      auth: {secret_ref: api_token}
      tls: {ca_file_secret_ref: api_ca}
      allow_private: true
"""


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    ca = authority()
    (folder / "ca.pem").write_text(ca.pem)
    with serving(server_context(folder, issue(ca, "127.0.0.1"))) as server:
        yield server, folder / "ca.pem"


@pytest.fixture
def folder(tmp_path: Path, web: tuple[Web, Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PROFILE.items():
        path = tmp_path / "agents" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "environment.yaml").write_text(ENVIRONMENT)
    monkeypatch.setenv("REXECOP_SECRET_API_PLACE", f"https://127.0.0.1:{web[0].port}")
    monkeypatch.setenv("REXECOP_SECRET_API_TOKEN", TOKEN)
    monkeypatch.setenv("REXECOP_SECRET_API_CA", str(web[1]))
    web[0].asked.clear()
    web[0].routes.clear()
    web[0].routes["/hosts/web-1/agent"] = json_reply('{"data": {"state": "running", "pid": 77}}')
    return tmp_path


def ask(folder: Path, intent: str, mode: str) -> PlanInput:
    return PlanInput(
        profile=str(folder / "agents"),
        env=str(folder / "environment.yaml"),
        intent=intent,
        target="web-1",
        mode=mode,
    )


def outcomes(instance: Instance, operation: str) -> list[Outcome]:
    return [sealed.record for sealed in records(instance, operation) if isinstance(sealed.record, Outcome)]


def facts(outcome: Outcome) -> Mapping[str, Json]:
    assert outcome.measured is not None and outcome.measured.facts is not None
    return outcome.measured.facts


def test_a_read_over_http_is_planned_made_and_proven(folder: Path, web: tuple[Web, Path]) -> None:
    server, ca = web

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "look", "read_only"))
            ran = await instance.start(planned.operation_id)
            assert ran.state == "completed", ran

            (outcome,) = outcomes(instance, planned.operation_id)
            (attempt,) = [
                sealed.record
                for sealed in records(instance, planned.operation_id)
                if isinstance(sealed.record, Attempt)
            ]
            assert (attempt.lane, attempt.grade) == ("http", Grade.METHOD)
            assert (outcome.ended, outcome.status) == (Ended.OK, 200)
            assert dict(outcome.facts or {}) | {"complete": True, "missing": []} == dict(outcome.facts or {})
            assert (outcome.facts or {})["pid"] == 77
            assert facts(outcome)["address"] == "127.0.0.1"
            assert str(facts(outcome)["certificate"]).startswith("sha256:")
            assert verified(instance, planned.operation_id).findings == ()
            plan = next(
                sealed.record
                for sealed in records(instance, planned.operation_id)
                if isinstance(sealed.record, Plan)
            )
            (step,) = plan.steps
            assert isinstance(step, CallStep) and isinstance(step.call.request, ExchangeRequest)
            assert step.call.request.peers == (f"127.0.0.1:{server.port}",)
            assert step.call.request.message["tls"] == {"ca": ca.read_text()}
        everything = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert TOKEN.encode() not in everything

    asyncio.run(go())

    assert server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_busy_server_is_asked_again_after_it_said_and_a_change_keeps_its_key(
    folder: Path, web: tuple[Web, Path]
) -> None:
    server, _ = web

    def restart(asked: Asked) -> bytes:
        tries = sum(item.method == "POST" for item in server.asked)
        return reply(b"", 503, Retry_After="1") if tries == 1 else reply(b"done", 202)

    server.routes["/hosts/web-1/agent/restart"] = restart

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "restart", "apply"))
            assert planned.state == "waiting_for_approval"
            await instance.approve(planned.operation_id, key=bob(folder))
            ran = await instance.start(planned.operation_id)
            assert ran.state == "completed", ran

            _, busy, done = outcomes(instance, planned.operation_id)
            assert (busy.ended, busy.error_class) == (Ended.FAILED, "transient_connector_error")
            assert facts(busy)["retry_after_ms"] == 1000
            assert (done.ended, done.status) == (Ended.OK, 202)
            assert facts(busy)["idempotency_key"] == facts(done)["idempotency_key"]
            assert (done.at - busy.at).total_seconds() >= 1
            assert verified(instance, planned.operation_id).findings == ()

    asyncio.run(go())

    first, second = (item for item in server.asked if item.method == "POST")
    assert first.body == second.body == b'{"pid":77}'
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.connection != second.connection


def test_a_change_whose_answer_is_lost_freezes_the_operation(folder: Path, web: tuple[Web, Path]) -> None:
    server, _ = web

    async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server.routes["/hosts/web-1/agent/restart"] = hang_up

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "restart", "apply"))
            await instance.approve(planned.operation_id, key=bob(folder))
            ran = await instance.start(planned.operation_id)

            assert ran.state == "indeterminate"
            assert outcomes(instance, planned.operation_id)[-1].ended is Ended.UNKNOWN

    asyncio.run(go())

    assert sum(item.method == "POST" for item in server.asked) == 1


def test_a_dry_run_sends_nothing_and_shows_where_it_would_go(folder: Path, web: tuple[Web, Path]) -> None:
    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "look", "dry_run"))
            await instance.start(planned.operation_id)

            (outcome,) = outcomes(instance, planned.operation_id)
            assert outcome.ended is Ended.PREVIEWED
            assert f"127.0.0.1:{web[0].port}" in (outcome.message or "")

    asyncio.run(go())

    assert web[0].asked == []


def test_an_address_by_reference_is_read_anew_for_each_plan(
    folder: Path, web: tuple[Web, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def peers(instance: Instance) -> tuple[str, ...]:
        planned = await instance.plan(ask(folder, "look", "dry_run"))
        plan = next(
            sealed.record
            for sealed in records(instance, planned.operation_id)
            if isinstance(sealed.record, Plan)
        )
        (step,) = plan.steps
        assert isinstance(step, CallStep) and isinstance(step.call.request, ExchangeRequest)
        return step.call.request.peers

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            first = await peers(instance)
            instance_environ(monkeypatch, "https://elsewhere.test")
            assert first != await peers(instance) == ("elsewhere.test:443",)

    asyncio.run(go())


def instance_environ(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setenv("REXECOP_SECRET_API_PLACE", place)
