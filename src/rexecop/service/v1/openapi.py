"""The description of the whole service (OpenAPI 3.1), made from its routes: what is served is described."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

import msgspec
from starlette.routing import BaseRoute, Route

from rexecop.app.schemas import components
from rexecop.proof.canonical import Json
from rexecop.service.problems import MEDIA, Problem
from rexecop.service.v1.routes import JSON, Call, Says

PLACE: Final = "#/components/schemas/"
REF: Final = PLACE + "{name}"
WORDS: Final[Mapping[int, str]] = {
    200: "Done",
    201: "Recorded; `Location` says where it is looked at",
    202: "It goes on; `Location` says where to look",
    204: "Nothing more comes",
    304: "What the caller has still holds",
}
_PARAMETER: Final = re.compile(r"{(\w+)(?::\w+)?}")


def document(routes: Iterable[BaseRoute], table: Sequence[Call], version: str) -> bytes:
    """Return the description of `routes` as JSON; those in `table` with all they take and answer."""
    known = {(one.method, one.path): one for one in table}
    paths: dict[str, dict[str, object]] = {}
    for route in routes:
        if isinstance(route, Route) and route.include_in_schema:
            path = _PARAMETER.sub(r"{\1}", route.path)
            for method in sorted((route.methods or set()) - {"HEAD"}):
                one = known.get((method, route.path))
                said = _bare(route, method) if one is None else _described(one)
                paths.setdefault(path, {})[method.lower()] = said
    found = {
        "openapi": "3.1.0",
        "info": {
            "title": "RExecOp",
            "version": version,
            "description": "Operations under governance; refusals are problem details (RFC 9457) with codes.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": _schemas(table),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }
    return msgspec.json.encode(found)


def _anything(kind: type) -> dict[str, object]:
    """Return the schema of values that are read elsewhere."""
    return {"description": "Any JSON."}


def _schemas(table: Sequence[Call]) -> dict[str, object]:
    sent = [one.body for one in table if one.body is not None and one.body.__struct_fields__]
    _, bodies = msgspec.json.schema_components(sent, ref_template=REF, schema_hook=_anything)
    said = {says.kind for one in table for says in one.says.values() if says.kind is not None}
    views = components(sorted((*said, Problem), key=lambda kind: kind.__name__), PLACE)
    return dict(sorted({**views, **bodies}.items()))


def _bare(route: Route, method: str) -> dict[str, object]:
    """Return what is known of a route that is not in the table: its page says more."""
    words = " ".join((route.endpoint.__doc__ or "").split("\n\n")[0].split())
    return {
        "summary": words or route.name,
        "operationId": f"{method.lower()}{route.path.replace('/', '_')}",
        "parameters": _of_path(route.path),
        "responses": {"default": {"description": "As docs/service.md says"}},
    }


def _described(one: Call) -> dict[str, object]:
    parameters = [*_of_path(one.path), *_of_query(one.query)]
    parameters += [
        {"name": name, "in": "header", "description": words, "schema": {"type": "string"}}
        for name, words in one.headers.items()
    ]
    found: dict[str, object] = {
        "summary": one.words,
        "description": f"For callers who may `{one.act}`.",
        "operationId": f"{one.method.lower()}_{one.name}",
        "security": [{"token": []}],
        "parameters": parameters,
        "responses": {
            **{str(status): _response(status, says) for status, says in one.says.items()},
            "default": {
                "description": "Why not",
                "content": {MEDIA: {"schema": {"$ref": PLACE + Problem.__name__}}},
            },
        },
    }
    if one.body is not None and one.body.__struct_fields__:
        needed = any(field.required for field in msgspec.structs.fields(one.body))
        content = {JSON: {"schema": {"$ref": PLACE + one.body.__name__}}}
        found["requestBody"] = {"required": needed, "content": content}
    return found


def _response(status: int, says: Says) -> dict[str, object]:
    found: dict[str, object] = {"description": WORDS[status]}
    if says.kind is not None:
        found["content"] = {says.media: {"schema": {"$ref": PLACE + says.kind.__name__}}}
    elif says.media:
        found["content"] = {says.media: {"schema": {"type": "object" if says.media == JSON else "string"}}}
    return found


def _of_path(path: str) -> list[dict[str, object]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(path)
    ]


def _of_query(query: type[msgspec.Struct]) -> list[dict[str, object]]:
    _, found = msgspec.json.schema_components([query], ref_template=REF, schema_hook=_anything)
    schema = cast("Mapping[str, Mapping[str, Json]]", found[query.__name__])
    needed = cast("Sequence[str]", schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in needed, "schema": _inlined(said, found)}
        for name, said in schema["properties"].items()
    ]


def _inlined(said: Json, found: Mapping[str, object]) -> object:
    """Return the schema of a parameter without references: words stand where they are asked for."""
    if not isinstance(said, Mapping):
        return said
    if isinstance(ref := said.get("$ref"), str):
        return found[ref.removeprefix(PLACE)]
    members = said.get("anyOf")
    if isinstance(members, Sequence) and not isinstance(members, str):
        return {**said, "anyOf": [_inlined(one, found) for one in members if one != {"type": "null"}]}
    return said
