"""Intents of profiles behind `/execute`: the contract's shape outside, the usual path inside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from rexecop.app.actions import Actions, root_actions
from rexecop.app.build import init_root, open_instance
from rexecop.app.errors import ActionsRefused, RootUnsafe
from rexecop.app.evidence import Asked
from rexecop.app.root import Root
from rexecop.app.settings import Settings, load_settings
from rexecop.app.verifying import verify_bundle
from rexecop.governance.artifacts import Artifact, action_hash, mint
from rexecop.proof.canonical import digest_of
from rexecop.proof.codec import to_json
from rexecop.proof.times import format_time
from tests.app.support import scratch
from tests.service.running import Reply, Running, at_once, running

SECRET: Final = "a-shared-secret-for-tests"
BY_SECRET: Final = {
    "OPENEXEC_MODE": "clawshield",
    "CLAWSHIELD_SECRET_KEY": SECRET,
    "CLAWSHIELD_TENANT_ID": "tenant-001",
}
ACTIONS: Final = """
service: gateway
profiles:
  hello: {env: hello.environment.yaml, target: localhost}
actions:
  look: {profile: hello, intent: host_facts, env: hello.environment.yaml, target: localhost}
  dry: {profile: hello, intent: set_greeting, env: hello.environment.yaml, target: localhost, mode: dry_run}
"""
RULES: Final = """
@id("gateway-may-change") permit (principal == Service::"gateway", action in Action::"change", resource);
@id("gateway-may-read") permit (principal == Service::"gateway", action in Action::"read", resource);
"""
LISTED: Final = "services: [gateway]\n"
_numbers: Iterator[int] = count()


def nonce() -> str:
    return f"intent-{next(_numbers)}"


def put(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def rooted(folder: Path, actions: str = ACTIONS) -> Settings:
    """Make a root that lets `gateway` ask for intents of the profile `hello`."""
    found = load_settings({"root": str(folder / ".rexecop")}, {}, folder, folder)
    asyncio.run(init_root(found))
    put(found.root / "execute.yaml", actions)
    for name, more in (("rules.cedar", RULES), ("entities.yaml", LISTED)):
        with open(found.root / "policy" / "starter" / name, "a") as file:
            file.write(more)
    return found


@pytest.fixture(scope="module")
def settings() -> Iterator[Settings]:
    with scratch() as folder:
        yield rooted(folder)


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    with running(settings.root, None, **BY_SECRET) as found:
        yield found


def approval(action: str, payload: object, tenant: str = "tenant-001") -> dict[str, object]:
    blank = Artifact(
        approval_id=f"0199bbbb-0000-7000-8000-{next(_numbers):012d}",
        action_hash=action_hash(action, payload),  # type: ignore[arg-type]
        signature="",
        issued_at=format_time(datetime.now(UTC)),
        tenant_id=tenant,
        issued_by="clawshield",
        expires_at=None,
    )
    made = mint(blank, SECRET.encode())
    return {name: value for name, value in to_json(made).items() if value is not None}


def ask(
    service: Running, action: str, payload: object, name: str | None = None, artifact: object = None
) -> Reply:
    brought = artifact if artifact is not None else approval(action, payload)
    return service.execute(action, payload, name or nonce(), approval_artifact=brought)


def faults(reply: Reply) -> list[object]:
    found = reply.json["detail"]
    assert isinstance(found, list) and "secret words" not in reply.body.decode()
    return [fault["loc"] for fault in found]


@pytest.mark.parametrize("action", ["look", "hello/host_facts"])
def test_an_intent_that_policy_allows_runs_and_is_answered_in_the_contracts_shape(
    service: Running, settings: Settings, tmp_path: Path, action: str
) -> None:
    name, artifact = nonce(), approval(action, {})
    first, again = (ask(service, action, {}, name, artifact) for _ in range(2))

    found = first.json
    assert first.status == 200 and (found["action"], found["approved"]) == (action, True)
    result = found["result"]
    assert isinstance(result, dict) and result["state"] == "completed" and result["facts"]
    assert again.json == found
    text = json.dumps(result, sort_keys=True)
    assert found["receipt"] == digest_of(f"{found['id']}:{text}".encode()).removeprefix("sha256:")
    asked = {"exec_id": found["id"], "result": text, "receipt": found["receipt"]}
    body = json.dumps(asked).encode()
    held = service.call("POST", "/receipts/verify", body, Content_Type="application/json")
    assert held.json == {"valid": True}
    with open_instance(settings) as instance:
        view = instance.status(str(found["operation_id"]))
        assert (view.requester, view.mode, view.profile) == ("gateway", "read_only", "hello")
        instance.export(view.operation_id, Asked(form="bundle", path=tmp_path / "x.rxb"))
    report = verify_bundle(tmp_path / "x.rxb", trust_dir=None, checkpoint=None, root=settings.root)
    assert report.findings == ()


def test_a_change_that_needs_people_is_a_403_with_its_operation_and_runs_when_they_said_yes(
    service: Running, settings: Settings
) -> None:
    action, payload, name = "hello/set_greeting", {"greeting": "by the gateway"}, nonce()
    artifact, greeting = approval(action, payload), settings.root.parent / "rexecop-hello" / "greeting.txt"
    waits = [ask(service, action, payload, name, artifact) for _ in range(2)]
    operation = str(waits[0].json["operation_id"])

    assert [reply.status for reply in waits] == [403, 403] and greeting.read_text() == "hello\n"
    assert "approval is needed" in str(waits[1].json["detail"])
    assert waits[1].json["operation_id"] == operation
    with open_instance(settings) as instance:
        asyncio.run(instance.approve(operation, key=settings.root / "keys" / "approver"))
    answers = at_once(4, lambda _: ask(service, action, payload, name, artifact))
    assert {reply.status for reply in answers} == {200} and greeting.read_text() == "by the gateway\n"
    assert {str(reply.json["id"]) for reply in answers} == {str(answers[0].json["id"])}
    with open_instance(settings) as instance:
        attempts = [one for one in instance.history(operation) if one.kind == "attempt/1"]
    assert len(attempts) == 3  # Two reads and the change of its plan, each once.


def test_an_approval_is_for_one_request_and_a_nonce_too(service: Running) -> None:
    artifact, name = approval("look", {}), nonce()
    assert ask(service, "look", {}, name, artifact).status == 200

    spent = ask(service, "look", {}, nonce(), artifact)
    assert (spent.status, spent.json["detail"]) == (403, "Approval artifact was used already")
    assert ask(service, "look", {}, name).status == 409  # Another approval is another request.
    assert ask(service, "dry", {"greeting": "x"}, name).status == 409
    assert ask(service, "echo", {}, name).status == 409


def test_one_approval_that_many_bring_at_once_lets_one_request_run(service: Running) -> None:
    artifact = approval("look", {})
    replies = at_once(6, lambda n: ask(service, "look", {}, f"race-{n}", artifact))

    assert sorted(reply.status for reply in replies) == [200, 403, 403, 403, 403, 403]


def test_without_an_approval_that_counts_nothing_runs_and_no_nonce_is_used(
    service: Running, settings: Settings
) -> None:
    name = nonce()
    for artifact in (approval("look", {}, "another"), approval("dry", {}), {"approval_id": "x"}):
        reply = ask(service, "look", {}, name, artifact)
        assert reply.status == 403 and "signed_receipt" in reply.json
        with open_instance(settings) as instance:
            assert instance.status(str(reply.json["operation_id"])).state == "blocked"
    assert ask(service, "look", {}, name).status == 200


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        ({"greeting": 7}, ["greeting"]),
        ({"greeting": "secret words\x07"}, ["greeting"]),
        ({}, ["greeting"]),
        ({"greeting": "x", "more": "secret words"}, ["more"]),
        ({"greeting": 1.5}, ["greeting"]),
        ({"greeting": {"a": [1, 2.5]}}, ["greeting", "a", "1"]),
    ],
)
def test_a_payload_of_another_type_is_a_422_with_its_field_and_uses_nothing_up(
    service: Running, payload: object, place: list[str]
) -> None:
    name = nonce()
    reply = ask(service, "dry", payload, name)

    assert reply.status == 422 and faults(reply) == [["body", "payload", *place]]
    assert ask(service, "dry", {"greeting": "fine"}, name).status == 200
    # Who brings no approval that counts is not told what would fit.
    assert ask(service, "dry", payload, nonce(), approval("dry", {"greeting": "x"})).status == 403


def test_what_is_no_intent_is_unknown_as_before(service: Running) -> None:
    for action in ("hello/nothing", "other/host_facts", "nothing"):
        reply = ask(service, action, {})
        assert (reply.status, reply.json["detail"]) == (400, f"Unknown action: {action}")


def test_demo_mode_runs_intents_only_where_the_root_says_so(settings: Settings) -> None:
    with running(settings.root) as service:
        refused = service.execute("look", {}, nonce())
        assert refused.status == 403 and "without_approval" in str(refused.json["detail"])
        put(settings.root / "execute.yaml", ACTIONS + "without_approval: true\n")
        try:
            assert service.execute("look", {}, nonce()).status == 200
            put(settings.root / "execute.yaml", "actions: [")
            ready = service.get("/ready")
            assert ready.status == 503 and "actions:" in str(ready.json["detail"])
            assert service.execute("look", {}, nonce()).status == 503
            assert service.execute("echo", {}, nonce()).status == 200
        finally:
            put(settings.root / "execute.yaml", ACTIONS)


def test_the_file_is_read_strictly_and_from_nobody_else(tmp_path: Path) -> None:
    root = Root(tmp_path)
    assert root_actions(root) == Actions(service="execute", without_approval=False, profiles={}, actions={})
    for text in (
        "actions: {echo: {profile: hello, intent: x, env: e, target: t}}",
        "actions: {a: {profile: hello, intent: x, env: e}}",
        "profiles: {hello: {env: e, target: t, mode: fast}}",
        "without_approval: perhaps",
        "more: 1",
    ):
        put(root.execute, text)
        with pytest.raises(ActionsRefused):
            root_actions(root)
    root.execute.chmod(0o666)
    with pytest.raises(RootUnsafe):
        root_actions(root)
