"""The description of the service: everything that is served is in it, and it is what happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from jsonschema import Draft202012Validator
from schemathesis import Case, GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.routing import Route

from rexecop.app.build import init_root, open_instance
from rexecop.app.serving import Serving
from rexecop.app.settings import load_settings
from rexecop.service.application import create_app
from tests.app.support import scratch
from tests.house.source import ROOT
from tests.service.api import ACTS, Api, api

CHECKS: Final = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
BOUNDS: Final = settings(
    max_examples=4,  # Of each route; with some thirty routes a few seconds.
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def v1() -> Iterator[Api]:
    with scratch() as folder:
        root = load_settings({"root": str(folder / "root")}, {}, folder, folder)
        asyncio.run(init_root(root, others=("alice", "ada"), approver="bob"))
        with api(root.root) as found:
            yield found.by("admin")


@pytest.fixture(scope="module")
def described(v1: Api) -> Mapping[str, object]:
    found = v1.get("/openapi.json")
    assert found.status == 200
    return found.json


def test_every_route_of_the_service_is_described(described: Mapping[str, object], tmp_path: Path) -> None:
    root = load_settings({"root": str(tmp_path / "root")}, {}, tmp_path, tmp_path)
    asyncio.run(init_root(root))
    with Serving(open_instance(root)) as serving:
        served = {
            (method.lower(), route.path_format)
            for route in create_app(serving, None).routes
            if isinstance(route, Route) and route.include_in_schema
            for method in (route.methods or set()) - {"HEAD"}
        }
    paths = cast("Mapping[str, Mapping[str, object]]", described["paths"])

    assert served == {(method, path) for path, said in paths.items() for method in said}
    assert ("post", "/execute") in served and ("get", "/v1/operations/{id}/events") in served


def test_every_route_says_for_whom_it_is(described: Mapping[str, object]) -> None:
    paths = cast("Mapping[str, Mapping[str, Mapping[str, object]]]", described["paths"])
    said = {
        f"{method.upper()} {path}": one["description"]
        for path, methods in paths.items()
        for method, one in methods.items()
        if "security" in one
    }

    assert said == {route: f"For callers who may `{act}`." for route, act in ACTS.items()}


def test_every_route_below_v1_is_on_the_page_of_the_api(described: Mapping[str, object]) -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    paths = cast("Mapping[str, Mapping[str, object]]", described["paths"])
    served = {f"`{method.upper()} {path}`" for path, said in paths.items() for method in said}
    ours = {one for one in served if "/v1/" in one and "/v1/events" not in one and "/access/" not in one}

    assert {one for one in ours if one not in page} == set()


def test_every_schema_is_one_and_every_reference_leads_to_one(described: Mapping[str, object]) -> None:
    schemas = cast(
        "Mapping[str, Mapping[str, object]]", cast("dict[str, object]", described["components"])["schemas"]
    )
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    text = json.dumps(described)
    named = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}

    assert named and named <= set(schemas)
    assert "#/$defs/" not in text


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["fit", "unfit"])
def test_what_is_asked_is_answered_as_described_and_never_by_a_defect(v1: Api, mode: GenerationMode) -> None:
    name, asked = v1.plan(), set[str]()
    base, headers = f"http://127.0.0.1:{v1.service.port}", {"Authorization": "Bearer admin"}

    def hold(case: Case[Any]) -> None:
        # Half of the questions are about an operation that there is.
        if "id" in (case.path_parameters or {}) and len(str(case.path_parameters["id"])) % 2:
            case.path_parameters["id"] = name
        asked.add(f"{case.method} {case.path}")
        case.call_and_validate(base_url=base, headers=headers, checks=CHECKS, timeout=60)

    described = openapi.from_dict(v1.get("/openapi.json").json)
    # Following what goes on has no end; what it answers is tested with all its ends.
    ours = described.include(path_regex="^/v1/|^/openapi").exclude(path_regex="/events")
    for found in ours.get_all_operations():
        assert isinstance(found, Ok), found
        strategy = found.ok().as_strategy(generation_mode=mode)
        BOUNDS(given(case=strategy)(hold))()

    assert len(asked) >= (10 if mode is GenerationMode.NEGATIVE else 28), asked
    assert v1.get("/ready").status == 200
