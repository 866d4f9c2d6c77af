"""Operations over SSH on a real root, against a real server: planned, approved, made, recorded, verified."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.errors import RootUnsafe
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.outcome import Outcome
from rexecop.proof.vocabulary import Ended, Grade
from tests.app.support import bob, made, opened, records, verified
from tests.lanes.sshd import Sshd, fingerprint, make_key, public, sshd
from tests.needs import needs

pytestmark = needs("sshd", "ssh-keygen")

PROFILE: Final[Mapping[str, str]] = {
    "profile.yaml": "profile_contract: {name: hosts, version: '1'}",
    "intents/look.yaml": "intent: {id: look, workflow: workflows/look.yaml, risk: low}",
    "intents/configure.yaml": "intent: {id: configure, workflow: workflows/configure.yaml, risk: low}",
    "workflows/look.yaml": """
workflow:
  steps: [{id: read, type: connector, connector: host, action: count, normalize: count}]
""",
    "workflows/configure.yaml": """
workflow:
  steps:
    - {id: read, type: connector, connector: host, action: count, normalize: count}
    - id: write
      type: connector
      connector: host
      action: write
      slots: {lines: {step: read, fact: lines, type: integer}}
""",
    "validation_rules/look.yaml": """
validation_rule:
  intent: look
  steps: [{type: require_equals, path: read.lines, value: 2, rule: file.whole}]
""",
    "validation_rules/configure.yaml": """
validation_rule:
  intent: configure
  steps: [{type: require_equals, path: read.lines, value: 2, rule: file.whole}]
""",
    "normalizers/count.yaml": "normalizer: {facts: {lines: {regex: '(?P<value>[0-9]+)', type: integer}}}",
    "connectors/host.yaml": """
connector:
  name: host
  capabilities: [count, write]
  actions:
    count: {effect: read, command: wc, args: [-l, "{env.file}"]}
    write:
      transfer: {operation: put, path: "{env.file}", content: "now {slot.lines} lines\\n"}
""",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in PROFILE.items():
        path = tmp_path / "hosts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "remote").write_text("one\ntwo\n")
    (tmp_path / "known_hosts").write_text(server.known_hosts().read_text())
    (tmp_path / "environment.yaml").write_text(f"""
environment:
  id: here
  values: {{file: {tmp_path / "remote"}}}
  targets:
    db-1: {{type: host, connection: {{host: 127.0.0.1, port: {server.port}}}}}
  connectors:
    host:
      backend: ssh
      user: {server.user}
      identity_file_secret_ref: host_key
      known_hosts_file: {tmp_path / "known_hosts"}
""")
    monkeypatch.setenv("REXECOP_SECRET_HOST_KEY", server.key.read_text())
    return tmp_path


def ask(folder: Path, intent: str, mode: str) -> PlanInput:
    return PlanInput(
        profile=str(folder / "hosts"),
        env=str(folder / "environment.yaml"),
        intent=intent,
        target="db-1",
        mode=mode,
    )


def outcomes(instance: Instance, operation: str) -> list[Outcome]:
    return [sealed.record for sealed in records(instance, operation) if isinstance(sealed.record, Outcome)]


def test_a_read_over_ssh_is_planned_made_and_proven(folder: Path, server: Sshd) -> None:
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
            assert (attempt.lane, attempt.grade) == ("ssh", Grade.SHAPE)
            assert (outcome.ended, outcome.facts) == (Ended.OK, outcome.facts)
            assert (outcome.facts or {})["lines"] == 2
            assert outcome.measured is not None and outcome.measured.facts is not None
            assert outcome.measured.facts["host_key"] == fingerprint(server.folder / "host.pub")
            assert verified(instance, planned.operation_id).rungs
        key = server.key.read_text().splitlines()[3].encode()
        assert key not in b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())

    asyncio.run(go())


def test_a_change_over_ssh_waits_for_its_yes_and_is_made_once(folder: Path) -> None:
    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "configure", "apply"))
            assert planned.state == "waiting_for_approval"
            assert (folder / "remote").read_text() == "one\ntwo\n"
            await instance.approve(planned.operation_id, key=bob(folder))
            ran = await instance.start(planned.operation_id)
            assert ran.state == "completed", ran

            assert (folder / "remote").read_text() == "now 2 lines\n"
            written = outcomes(instance, planned.operation_id)[-1]
            assert (written.facts or {})["bytes"] == 12
            assert verified(instance, planned.operation_id).rungs

    asyncio.run(go())


def test_a_host_key_that_changed_after_the_plan_stops_the_operation(folder: Path, tmp_path: Path) -> None:
    """The key the plan commits to decides, whatever the file says by then."""
    known = folder / "known_hosts"
    true = known.read_text()
    known.write_text(" ".join((true.split()[0], public(make_key(tmp_path / "other")))))

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance:
            planned = await instance.plan(ask(folder, "look", "read_only"))
            known.write_text(true)
            await instance.start(planned.operation_id)

            (outcome,) = outcomes(instance, planned.operation_id)
            assert (outcome.ended, outcome.error_class) == (Ended.REFUSED, "host_key_mismatch")

    asyncio.run(go())


def test_a_file_that_others_could_write_says_whom_to_trust_to_nobody(folder: Path) -> None:
    (folder / "known_hosts").chmod(0o666)

    async def go() -> None:
        await made(folder)
        with opened(folder) as instance, pytest.raises(RootUnsafe, match="written by others"):
            await instance.plan(ask(folder, "look", "read_only"))

    asyncio.run(go())
