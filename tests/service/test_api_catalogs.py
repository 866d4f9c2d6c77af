"""Catalogs over HTTP: listed, planned through by name, and by no path."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from rexecop.app.build import init_root, open_instance
from rexecop.app.settings import load_settings
from rexecop.operations.catalogs import binding_of
from tests.app.support import scratch
from tests.service.api import Api, api

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
READ: Final = {"intent": "host_facts", "mode": "read_only", "catalog": "site"}


@pytest.fixture(scope="module")
def v1() -> Iterator[Api]:
    with scratch() as folder:
        settings = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(settings, others=("alice", "elsa"), approver="bob"))
        (settings.root / "site.catalog.yaml").write_text(SITE)
        (settings.root / "no.catalog.yaml").write_text("target_catalog: nothing")
        with api(settings.root) as found:
            yield found


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
