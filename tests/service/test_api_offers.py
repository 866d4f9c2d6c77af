"""What the API offers by name and by no path: catalogs to plan through, and actions of `/execute`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import pytest

from rexecop.app.build import init_root, open_instance
from rexecop.app.contract import contract_of
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.operations.catalogs import binding_of
from tests.app.support import scratch
from tests.service.api import Api, api
from tests.service.running import Reply

OPERATIONS: Final = "/v1/operations"
ENTRY: Final = """
    - id: {name}
      target_kind: host
      profile_ref: hello
      environment_ref: hello.environment.yaml
      environment_target: {target}
      capabilities: []
      connector_refs: [{connectors}]
"""
CATALOG: Final = 'target_catalog:\n  version: "0.1"\n  targets:\n'
SITE: Final = (
    CATALOG
    + ENTRY.format(name="front", target="localhost", connectors="local")
    + ENTRY.format(name="bare", target="localhost", connectors="")
    + ENTRY.format(name="broken", target="nowhere", connectors="local")
)
ACTIONS: Final = """
profiles:
  hello: {env: hello.environment.yaml, target: localhost}
  gone: {env: hello.environment.yaml, target: localhost}
actions:
  greet: {profile: hello, intent: set_greeting, env: hello.environment.yaml, target: localhost, mode: dry_run}
  lost: {profile: hello, intent: nothing, env: hello.environment.yaml, target: localhost}
"""
OPEN: Final = ACTIONS + "without_approval: true\n"
READ: Final = {"intent": "host_facts", "mode": "read_only", "catalog": "site"}


@pytest.fixture(scope="module")
def v1() -> Iterator[Api]:
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings, others=("alice", "elsa"), approver="bob"))
        (settings.root / "site.catalog.yaml").write_text(SITE)
        (settings.root / "no.catalog.yaml").write_text("target_catalog: nothing")
        actions(settings.root, OPEN)
        with api(settings.root) as found:
            yield found


def actions(root: Path, text: str) -> None:
    (root / "execute.yaml").write_text(text)
    (root / "execute.yaml").chmod(0o600)


def rows(reply: Reply, name: str) -> list[dict[str, object]]:
    return cast("list[dict[str, object]]", reply.json[name])


def refused(v1: Api, status: int, code: str, **asked: object) -> bytes:
    reply = v1.post(OPERATIONS, {**READ, **asked})
    assert (reply.status, reply.json["code"]) == (status, code), reply.body
    assert v1.post(f"{OPERATIONS}/why", {**READ, **asked}).status == status
    return reply.body


def test_an_operation_is_planned_through_a_catalog_that_is_named(v1: Api) -> None:
    planned = v1.post(OPERATIONS, {**READ, "target": "front"})
    assert planned.status == 201
    assert (planned.json["target"], planned.json["intent"]) == ("localhost", "host_facts")
    name = str(planned.json["operation_id"])

    done = v1.post(f"{OPERATIONS}/{name}/start", Prefer="wait=10")
    folder = v1.service.root
    settings = load_settings({"root": str(folder)}, {}, folder, folder)
    with open_instance(settings) as instance:
        binding = binding_of(instance.operation(name).the_plan)

    assert done.json["state"] == "completed"
    assert binding is not None and (binding.file, binding.target) == ("root/site.catalog.yaml", "front")
    assert v1.post(f"{OPERATIONS}/why", {**READ, "target": "front"}).status == 200


def test_catalogs_are_listed_with_what_can_be_planned_for_each_target(v1: Api) -> None:
    front = {
        "catalog": "site",
        "target": "front",
        "kind": "host",
        "profile": "hello",
        "environment": "here",
        "environment_target": "localhost",
        "intents": ["host_facts", "set_greeting", "show_greeting"],
    }
    found = v1.get("/v1/catalogs").json
    assert found == {"entries": [{**front, "target": "bare", "intents": []}, front], "next": None}
    first = v1.get("/v1/catalogs?limit=1").json
    assert first["next"] == "site/bare"
    assert v1.get("/v1/catalogs?limit=1&cursor=site/bare").json == {"entries": [front], "next": None}
    assert v1.by("elsewhere").get("/v1/catalogs").json == {"entries": [], "next": None}


def test_what_a_catalog_does_not_hold_or_is_not_for_is_refused(v1: Api) -> None:
    refused(v1, 422, "not-applicable", target="bare")
    refused(v1, 422, "catalog-refused", target="broken")
    refused(v1, 422, "catalog-refused", target="front", catalog="no")
    refused(v1, 422, "body-unfit", target="front", environment="here")
    refused(v1, 422, "body-unfit")
    refused(v1, 404, "path-unknown", target="nobody")
    refused(v1, 404, "path-unknown", target="front", intent="nothing")
    refused(v1, 404, "not-offered", target="front", profile="nothing")
    paths = (str(v1.service.root / "site.catalog.yaml"), "../root/site", "site.catalog.yaml", "*", "s?te")
    for name in (*paths, "site\0"):
        refused(v1, 404, "not-offered", target="front", catalog=name)


def test_an_entry_out_of_scope_reads_as_if_it_were_not_there(v1: Api) -> None:
    elsa = v1.by("elsewhere")
    said = {refused(elsa, 404, "path-unknown", target=name) for name in ("front", "bare", "broken", "nobody")}
    assert len(said) == 1


def test_actions_are_listed_with_the_schemas_that_their_payloads_are_held_to(v1: Api) -> None:
    found = {one["action"]: one for one in rows(v1.get("/v1/actions"), "actions")}
    whole = {f"hello/{name}" for name in ("host_facts", "set_greeting", "show_greeting")}
    assert found.keys() == {"echo", "add", "greet", *whole}
    assert found["add"]["payload"] == {
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    }
    (intent,) = (one for one in rows(v1.get("/v1/intents"), "intents") if one["intent"] == "set_greeting")
    assert found["greet"] == {
        "action": "greet",
        "title": "Set the greeting",
        "effect": "change",
        "payload": intent["parameters"],
        "intent": "hello/set_greeting",
        "target": "localhost",
        "environment": "here",
        "mode": "dry_run",
    }
    assert found["hello/set_greeting"]["mode"] == "apply"
    ours = rows(v1.by("elsewhere").get("/v1/actions"), "actions")
    assert [one["action"] for one in ours] == ["add", "echo"]
    assert v1.get("/v1/actions?limit=1&cursor=add").json["next"] == "echo"


def test_only_what_the_mode_and_the_allow_list_let_run_is_an_action() -> None:
    governed = {"OPENEXEC_MODE": "clawshield", "CLAWSHIELD_SECRET_KEY": "x" * 32, "CLAWSHIELD_TENANT_ID": "t"}
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings))
        actions(settings.root, ACTIONS)

        def named(**environ: str) -> list[str]:
            with Serving(open_instance(settings), contract_of(environ)) as serving:
                return [one.action for one in serving.actions()]

        assert named() == ["add", "echo"]  # Demo mode asks nobody, and the file does not say that it may.
        assert named(OPENEXEC_ALLOWED_ACTIONS="echo") == ["echo"]
        assert "greet" in named(**governed) and "lost" not in named(**governed)
        assert named(**governed, OPENEXEC_ALLOWED_ACTIONS="greet,add") == ["add", "greet"]
