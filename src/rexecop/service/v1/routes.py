"""The table of routes: each is one entry, from which its handler, its limits and its OpenAPI are made."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rexecop.app.door import Act
from rexecop.proof.errors import RexecopError
from rexecop.service.errors import SiteForeign
from rexecop.service.problems import defect, problem
from rexecop.service.sites import Sites
from rexecop.service.v1.asking import Asking, Desk, Nothing, read_fields, read_json, read_query
from rexecop.service.v1.limits import Limits

Q = TypeVar("Q", bound=msgspec.Struct)
B = TypeVar("B", bound=msgspec.Struct)
Run: TypeAlias = Callable[[Asking], Awaitable[Response]]

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
STREAM: Final = "text/event-stream"
BINARY: Final = "application/octet-stream"
NO_HEADERS: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """How an answer is written: a value of `kind` as JSON, else text or bytes of the type `media`."""

    kind: type | None = None
    media: str = JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One route: its first words are those of who answers it. `headers` are those it reads of its own."""

    method: str
    path: str
    act: Act
    name: str
    words: str
    query: type[msgspec.Struct]
    body: type[msgspec.Struct] | None
    says: Mapping[int, Says]
    headers: Mapping[str, str]
    run: Run


def get(
    path: str,
    act: Act,
    handler: Callable[[Asking, Q], Awaitable[Response]],
    query: type[Q],
    says: Mapping[int, Says],
    headers: Mapping[str, str] = NO_HEADERS,
) -> Call:
    """Return the route at which `handler` answers a GET."""

    async def run(asking: Asking) -> Response:
        return await handler(asking, read_query(query, asking.request))

    return Call(
        method="GET",
        path=path,
        act=act,
        name=handler.__name__,
        words=_first(handler),
        query=query,
        body=None,
        says=says,
        headers=headers,
        run=run,
    )


def post(
    path: str,
    act: Act,
    handler: Callable[[Asking, B], Awaitable[Response]],
    body: type[B],
    says: Mapping[int, Says],
    headers: Mapping[str, str] = NO_HEADERS,
) -> Call:
    """Return the route at which `handler` answers a POST; no body is one without fields."""

    async def run(asking: Asking) -> Response:
        read_query(Nothing, asking.request)
        data = await read_json(asking.request)
        return await handler(replace(asking, data=data), read_fields(body, data))

    return Call(
        method="POST",
        path=path,
        act=act,
        name=handler.__name__,
        words=_first(handler),
        query=Nothing,
        body=body,
        says=says,
        headers=headers,
        run=run,
    )


def _first(handler: object) -> str:
    return " ".join((handler.__doc__ or "").split("\n\n")[0].split())


def mounted(desk: Desk, sites: Sites, limits: Limits, table: Sequence[Call]) -> list[Route]:
    """Return the routes of `table`, for callers whom the door of `desk` lets in."""
    return [
        Route(one.path, _endpoint(desk, sites, limits, one), methods=[one.method], name=one.name)
        for one in table
    ]


def _endpoint(
    desk: Desk, sites: Sites, limits: Limits, one: Call
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            foreign = sites.foreign(request)
            if foreign is not None:
                refused = SiteForeign(foreign[1])
                refused.status = foreign[0]
                raise refused
            peer = None if request.client is None else request.client.host
            caller = desk.door.caller(request.headers, peer)
            limits.take(caller.name)
            desk.door.require(caller, one.act)
            return await one.run(Asking(desk=desk, request=request, caller=caller, act=one.act))
        except RexecopError as error:
            return problem(error)
        except Exception as error:  # noqa: BLE001 - one request must not end the connection of others
            sys.stderr.write(f"rexecop: error[internal-error]: {one.path}: {type(error).__name__}\n")
            return defect()

    answer.__doc__ = one.words
    return answer
