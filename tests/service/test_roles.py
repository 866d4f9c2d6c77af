"""Every route of the service as everybody: each states its act, and lets in whom the roles let do it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import pytest
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute

from rexecop.app.build import open_instance
from rexecop.app.door import Act, ServiceRole
from rexecop.app.identity import os_user
from rexecop.app.serving import Serving
from rexecop.app.settings import Settings
from rexecop.app.tokens import TokenAsked, Tokens
from rexecop.service.application import create_app
from tests.service.api import ACTS
from tests.service.roles import TABLE
from tests.service.running import Reply, Running, running


class Own(StrEnum):
    """Why a route asks the door for nothing."""

    OPEN = "nobody is asked who they are"
    SIGNED = "what comes proves itself"


# A route that is not here fails the test: say what it does. Pages ask who is signed in: `test_console.py`.
STATED: Final[Mapping[str, Act | Own]] = {
    "GET /": Own.OPEN,
    "GET /health": Own.OPEN,
    "GET /ready": Own.OPEN,
    "GET /version": Own.OPEN,
    "POST /execute": Own.OPEN,
    "POST /receipts/verify": Own.OPEN,
    "POST /access/v1/evaluation": Act.DECIDE,
    "POST /access/v1/evaluations": Act.DECIDE,
    "POST /webhooks/{name}": Own.SIGNED,
    "POST /v1/events": Act.TELL,
    "GET /v1/events": Act.TELL,
    "GET /v1/events/{id}": Act.TELL,
    "WEBSOCKET /v1/nodes": Own.SIGNED,
    "GET /healthz": Own.OPEN,
    "GET /readyz": Own.OPEN,
    "GET /metrics": Act.METRICS,
    "POST /mcp": Act.VIEW,
    **ACTS,
}


def routes_of(found: list[BaseRoute], before: str = "") -> Iterator[str]:
    """Every route as `METHOD /path`; what cannot be looked into is named as it is, and so is not stated."""
    for route in found:
        if isinstance(route, Mount) and route.routes:
            yield from routes_of(route.routes, before + route.path)
        elif isinstance(route, Route):
            methods = (route.methods or {"ANY"}) - {"HEAD"}
            yield from (f"{method} {before}{route.path_format}" for method in methods)
        elif isinstance(route, WebSocketRoute):
            yield f"WEBSOCKET {before}{route.path}"
        else:
            yield f"{type(route).__name__} {before}{getattr(route, 'path', '')}"


@dataclass(frozen=True)
class House:
    """A running service with a token for every role, and tokens that let nobody in."""

    service: Running
    tokens: Mapping[ServiceRole, str]
    nobody: Mapping[str, str]

    def ask(self, route: str, authorization: str | None) -> Reply:
        method, path = route.split(" ", 1)
        path = path.replace("{name}", "x").replace("{id}", "x")
        headers = {} if authorization is None else {"Authorization": authorization}
        body = None if method == "GET" else b"{}"
        return self.service.call(method, path, body, Content_Type="application/json", **headers)


@pytest.fixture(scope="module")
def routes(settings: Settings) -> frozenset[str]:
    with Serving(open_instance(settings)) as serving:
        return frozenset(routes_of(create_app(serving, None).routes))


@pytest.fixture(scope="module")
def house(settings: Settings) -> Iterator[House]:
    async def made() -> tuple[dict[ServiceRole, str], str]:
        with open_instance(settings) as instance:
            tokens, found = Tokens(instance), {}
            for role in ServiceRole:
                sponsor = os_user().person if role is ServiceRole.AGENT else None
                asked = TokenAsked(name=f"some-{role}", roles=(role,), sponsor=sponsor)
                found[role] = (await tokens.new(asked)).token or ""
            gone = await tokens.new(TokenAsked(name="gone", roles=("admin",)))
            await tokens.revoke("gone")
            return found, gone.token or ""

    tokens, gone = asyncio.run(made())
    nobody = {"revoked": f"Bearer {gone}", "unknown": "Bearer rxo_" + "0" * 64, "not sent": ""}
    nobody["by another scheme"] = f"Basic {tokens[ServiceRole.ADMIN]}"
    nobody["cut"] = f"Bearer {tokens[ServiceRole.ADMIN][:-1]}"
    with running(settings.root) as service:
        yield House(service, tokens, nobody)


def is_turned_away(reply: Reply) -> bool:
    return reply.status == 401 or (reply.status in (403, 404) and reply.json.get("code") == "forbidden")


def test_every_route_states_what_it_does(routes: frozenset[str]) -> None:
    pages = {route for route in routes if route.split(" ")[1].startswith("/console")}

    assert pages and routes == STATED.keys() | pages


@pytest.mark.parametrize("route", [route for route, act in STATED.items() if isinstance(act, Act)])
def test_a_route_lets_in_whom_the_table_lets_do_its_act_and_nobody_else(house: House, route: str) -> None:
    act = STATED[route]
    for role, token in house.tokens.items():
        reply = house.ask(route, f"Bearer {token}")
        assert is_turned_away(reply) is (act not in TABLE[role]), (role, reply.status, reply.body)
        assert reply.status < 500


@pytest.mark.parametrize("route", [route for route, act in STATED.items() if isinstance(act, Act)])
def test_who_proves_nothing_learns_nothing_whatever_the_route(house: House, route: str) -> None:
    answers = set()
    for authorization in (None, *house.nobody.values()):
        reply = house.ask(route, authorization)
        assert (reply.status, reply.json["code"]) in ((401, "caller-unknown"), (429, "caller-throttled"))
        answers.add((reply.status, reply.json["detail"], reply.json["code"], str(reply.json["next"])))
    # Whether a token is unknown, over or taken back is not for who sent it.
    assert len(answers) <= 2


def test_routes_that_ask_nobody_answer_the_same_to_everybody(house: House) -> None:
    for route in ("GET /", "GET /health", "GET /ready"):
        said = {house.ask(route, f"Bearer {token}").body for token in (*house.tokens.values(), "x")}
        assert said == {house.ask(route, None).body}
