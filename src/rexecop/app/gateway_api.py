"""HTTP APIs of others as tools: from a description of theirs by OpenAPI, or from routes that a file names.

A tool has the JSON Schema of all it takes, and the shape of the call by which the lane `http` makes it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, cast

from rexecop.execution.errors import YamlRefused
from rexecop.execution.strict_yaml import load_yaml
from rexecop.operations.environment import Backend, keys_of
from rexecop.operations.errors import GatewayRefused
from rexecop.operations.reading import Node, unknown
from rexecop.proof.canonical import INTEGER_MAX, Json, require_canonical
from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import parse_payload

METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
READS: Final = frozenset({"GET", "HEAD"})
OPERATIONS_MAX: Final = 256  # More tools than that no agent can choose from, and nobody reads before a yes.
DESCRIPTION_BYTES_MAX: Final = 1 << 20
# How long an answer may be is not said here: what is handed on is whole.
_OWN: Final = keys_of(Backend.HTTP) - {"max_response_bytes"}
API_KEYS: Final = " ".join(sorted({*_OWN, "retry", "timeout_seconds", "openapi", "routes"}))

_SCHEMAS: Final = "#/components/schemas/"
_REFERENCES_MAX: Final = 8  # From one reference to the next; longer ones lead round.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TOOL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}")
_PATH: Final = re.compile(r"(?:/[^/?#%\\{}\s]+)*/?")
_FILLED: Final = re.compile(r"\{([^{}/]+)\}")
_HUMP: Final = re.compile(r"([a-z0-9])([A-Z])")
_ODD: Final = re.compile(r"[^a-z0-9_]+")
# What a schema says to readers, by way of example, or of where it stands: nothing that a value is held to.
_BESIDE: Final = "example examples xml externalDocs discriminator nullable $id $schema $anchor $defs"
_NAMED: Final = frozenset({"properties", "patternProperties", "dependentSchemas"})
_LISTED: Final = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_WITHIN: Final = "items additionalProperties not if then else contains propertyNames unevaluatedProperties"

Value: TypeAlias = object  # Of a description: any JSON or YAML.
Tool: TypeAlias = dict[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One thing that an operation takes, in `place`: `path`, `query` or `body`."""

    name: str
    place: str
    schema: Value
    needed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation of an API."""

    name: str
    method: str
    path: str
    words: str
    inputs: tuple[Input, ...]

    @property
    def where(self) -> str:
        """Return what names it in errors."""
        return f"`{self.name}` ({self.method} {self.path:.100})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What a file says of an API: `routes`, or else `description`, the content of the file `source`."""

    routes: tuple[Route, ...] = ()
    source: str = ""
    description: bytes = b""


def read_routes(node: Node) -> tuple[Route, ...]:
    """Return the routes at `node`, keeping every problem."""
    found = []
    for name, part in node.entries(_TOOL):
        fields = part.fields("method path summary parameters query required body", "method path")
        method, path = fields.one_of("method", map(str.upper, METHODS), "GET"), fields.text("path")
        schemas, query = fields.mapping("parameters"), fields.mapping("query")
        needed, known = fields.texts("required", 64), dict.fromkeys(_FILLED.findall(path))
        for word in (*needed, *schemas):
            if word not in (query if word in needed else known):
                part.refuse(f"`{word:.60}` is in no `{'query' if word in needed else 'path'}`", found=word)
        inputs = [
            Input(name=word, place="path", schema=schemas.get(word, {"type": "string"}), needed=True)
            for word in known
        ]
        inputs += [
            Input(name=word, place="query", schema=schema, needed=word in needed)
            for word, schema in query.items()
        ]
        if fields.get("body") is not None and method in READS:
            part.refuse(f"`{method}` does not carry a body", found=method)
        elif fields.get("body") is not None:
            inputs.append(Input(name="body", place="body", schema=fields.mapping("body"), needed=True))
        words = fields.text("summary", most=500)
        found.append(Route(name=name, method=method, path=path, words=words, inputs=tuple(inputs)))
    return tuple(found)


def tools_of(api: Api, does: Callable[[str, str], str], hidden: str, named: Mapping[str, str]) -> list[Tool]:
    """Return the tools of `api`, those left out of which `does` (of name and method) says `hidden`.

    Raises:
        GatewayRefused: the description cannot be followed, or there is none of `named`.
    """
    description = _Description(api)
    found: dict[str, Tool] = {}
    known: set[str] = set()
    for name, route in description.routes(lambda name, method: does(name, method) != hidden):
        if name in known:
            raise GatewayRefused(f"two operations go by `{name}`", found=name)
        known.add(name)
        if route is not None:
            found[name] = _tool(route, description)
    for name in named:
        if name not in known:
            raise unknown(GatewayRefused, f"`tools` names `{name:.60}`, which is no operation", name, known)
    if len(found) > OPERATIONS_MAX:
        raise GatewayRefused(f"{len(found)} operations are not hidden, at most {OPERATIONS_MAX} can be")
    return list(found.values())


def _tool(route: Route, description: _Description) -> Tool:
    """Return a route as a tool: `inputSchema` is what it takes, `http` the shape of its call."""
    words: dict[str, Input] = {}
    for one in route.inputs:
        word = _ODD.sub("_", _HUMP.sub(r"\1_\2", one.name).lower()).strip("_")
        word = word if word[:1].isalpha() else f"_{word}"
        if word in words or word == "target":  # By that name a placeholder stands for the target.
            word = f"{word}_{one.place}"
        if word in words:
            raise _refused(route.where, f"two of its inputs would go by `{word:.60}`")
        words[word] = one
    of_path = {one.name: word for word, one in words.items() if one.place == "path"}
    in_path = _FILLED.findall(route.path)
    # What `$` stands before is no placeholder here.
    odd = "${" in route.path or not _PATH.fullmatch(_FILLED.sub("x", route.path))
    if set(in_path) != set(of_path) or odd:
        raise _refused(route.where, "its path is not like `/hosts/{id}` with all its parameters, unencoded")
    needed: set[str] = set()
    properties = {word: description.held(one.schema, route.where, needed) for word, one in words.items()}
    schema: dict[str, Json] = {
        "type": "object",
        "properties": cast("Json", properties),
        "required": [word for word, one in words.items() if one.needed],
        "additionalProperties": False,
    }
    if needed:
        schema["$defs"] = description.definitions(needed, route.where)
    try:
        require_canonical(schema)
    except NotCanonical as error:
        raise _refused(route.where, f"evidence cannot hold its schemas: {error.message}") from error
    path = _FILLED.sub(lambda found: f"{{{of_path[found[1]]}}}", route.path)
    http: dict[str, Json] = {"method": route.method, "path": path}
    http["query"] = {one.name: f"{{*{word}}}" for word, one in words.items() if one.place == "query"}
    bodies = [f"{{*{word}}}" for word, one in words.items() if one.place == "body"]
    http |= {"body": bodies[0]} if bodies else {}
    said = f"{route.method} {route.path} {route.words}".strip()
    return {"name": route.name, "description": said, "inputSchema": schema, "http": http}


class _Description:
    """The operations of an API, with the schemas that they refer to."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._root = {} if api.routes else _parsed(api)
        self._components = _mapping(self._root.get("components"), api.source)

    def routes(self, shown: Callable[[str, str], bool]) -> Iterator[tuple[str, Route | None]]:
        """Yield the name of each operation, and the whole of it where it is `shown`, by name and method."""
        for route in self._api.routes:
            yield route.name, route if shown(route.name, route.method) else None
        for path, item in _mapping(self._root.get("paths"), self._api.source).items():
            entry = self._found(item, f"`{path:.100}`")
            for method in METHODS:
                operation = _mapping(entry.get(method), f"`{method} {path:.100}`")
                if "operationId" in operation:
                    name = re.sub("[^A-Za-z0-9_-]", "_", str(operation["operationId"]))
                    if not _TOOL.fullmatch(name):
                        raise _refused(f"`{method} {path:.100}`", "its `operationId` is no name")
                    bare = Route(name=name, method=method.upper(), path=path, words="", inputs=())
                    shows = shown(name, bare.method)
                    yield name, self._whole(bare, entry, operation) if shows else None

    def _whole(self, bare: Route, entry: Mapping[str, Value], operation: Mapping[str, Value]) -> Route:
        found: dict[tuple[str, str], Input] = {}
        # What the operation says of a parameter goes before what its path says of it.
        for part in (entry, operation):
            for item in _list(part.get("parameters"), bare.where):
                one = self._input(self._found(item, bare.where), bare.where)
                if one is not None:
                    found[one.name, one.place] = one
        body = self._body(operation, bare)
        said = [operation.get(key) for key in ("summary", "description")]
        words = next((word for word in said if isinstance(word, str) and word), "")
        inputs = (*found.values(), *([] if body is None else [body]))
        return replace(bare, words=words, inputs=inputs)

    def _input(self, item: Mapping[str, Value], where: str) -> Input | None:
        name, place, needed = str(item.get("name", "")), item.get("in"), item.get("required") is True
        if place not in ("path", "query"):
            if needed:
                raise _refused(where, f"it needs `{name:.60}` in its {place!s:.20}, which cannot be given")
            return None
        schema, usual = item.get("schema"), "form" if place == "query" else "simple"
        listed = isinstance(schema, dict) and schema.get("type") == "array"
        joined = listed and (place == "path" or item.get("explode") is False)
        if not name or schema is None or item.get("style", usual) != usual or joined:
            words = f"its parameter `{name:.60}` is written in a way that is not known here"
            raise _refused(where, words)
        if isinstance(schema, dict) and isinstance(item.get("description"), str):
            schema = {"description": item["description"], **schema}
        return Input(name=name, place=place, schema=schema, needed=needed or place == "path")

    def _body(self, operation: Mapping[str, Value], bare: Route) -> Input | None:
        body = self._found(operation.get("requestBody"), bare.where)
        content, needed = _mapping(body.get("content"), bare.where), body.get("required") is True
        if "application/json" in content and bare.method not in READS:
            schema = _mapping(content["application/json"], bare.where).get("schema", True)
            return Input(name="body", place="body", schema=schema, needed=needed)
        if needed:
            raise _refused(bare.where, "it needs a body that is no JSON, or that its method does not carry")
        return None

    def _found(self, value: Value, where: str) -> Mapping[str, Value]:
        """Return the mapping `value`, or the one it refers to."""
        for _ in range(_REFERENCES_MAX):
            found = _mapping(value, where)
            reference = found.get("$ref")
            if reference is None:
                return found
            parts = str(reference).split("/")
            if parts[:2] != ["#", "components"] or len(parts) != 4:
                raise _refused(where, f"`{reference!s:.100}` is no reference into `#/components`")
            value = _mapping(self._components.get(parts[2]), where).get(parts[3])
            if value is None:
                raise _refused(where, f"`{reference!s:.100}` leads to nothing")
        raise _refused(where, "its references lead round")

    # --- schemas ---

    def definitions(self, needed: set[str], where: str) -> dict[str, Json]:
        """Return the schemas called as in `needed`, and those that they need in turn."""
        schemas, found = _mapping(self._components.get("schemas"), where), dict[str, Json]()
        while left := sorted(needed - found.keys()):
            name = left[0]
            if name not in schemas or not _NAME.fullmatch(name):
                raise _refused(where, f"`{_SCHEMAS}{name:.60}` leads to nothing")
            found[name] = self.held(schemas[name], where, needed)
        return found

    def held(self, schema: Value, where: str, needed: set[str]) -> Json:
        """Return `schema` as JSON Schema, less what evidence cannot hold; `needed` grows by what it names."""
        if isinstance(schema, bool):
            return schema
        found: dict[str, Json] = {}
        schema = _mapping(schema, where)
        for key, value in schema.items():
            if key in _BESIDE.split() or key.startswith("x-") or not _is_held(value):
                continue
            if key == "$ref" and isinstance(value, str) and value.startswith(_SCHEMAS):
                needed.add(value.removeprefix(_SCHEMAS))
                found[key] = value.replace(_SCHEMAS, "#/$defs/", 1)
            elif key in ("$ref", "$dynamicRef", "$recursiveRef"):
                raise _refused(where, f"`{value!s:.100}` is no reference into `{_SCHEMAS}`")
            elif key in _NAMED:
                named = _mapping(value, where)
                found[key] = {name: self.held(one, where, needed) for name, one in named.items()}
            elif key in _LISTED:
                found[key] = [self.held(one, where, needed) for one in _list(value, where)]
            else:
                found[key] = self.held(value, where, needed) if key in _WITHIN.split() else _json(value)
        for pattern in (found.get("pattern"), *_mapping(found.get("patternProperties"), where)):
            _check_pattern(pattern, where)
        return _of_three_zero(found, nullable=schema.get("nullable") is True)


def _of_three_zero(schema: dict[str, Json], *, nullable: bool) -> dict[str, Json]:
    """Return `schema` with what OpenAPI 3.0 says in ways of its own said as JSON Schema does."""
    for key, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(schema.get(key), bool):
            strict, limit = schema.pop(key), schema.get(bound)
            if strict and limit is not None:
                schema[key] = limit
                del schema[bound]
    if nullable and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
        if isinstance(schema.get("enum"), list):
            schema["enum"] = [*cast("list[Json]", schema["enum"]), None]
    return schema


def _check_pattern(pattern: Json, where: str) -> None:
    try:
        re.compile(pattern if isinstance(pattern, str) else "")
    except (re.error, RecursionError, OverflowError) as error:
        raise _refused(where, f"`{pattern!s:.60}` is no pattern: {error}") from error


def _parsed(api: Api) -> Mapping[str, Value]:
    try:
        if api.description.lstrip()[:1] == b"{":
            value: Value = parse_payload(api.description, bytes_max=DESCRIPTION_BYTES_MAX)
        else:
            value = load_yaml(api.description, source=api.source).value
    except NotCanonical as error:
        raise GatewayRefused(f"{api.source}: {error.message}", file=api.source) from error
    except YamlRefused as error:
        raise GatewayRefused(error.message, file=api.source) from error
    if not isinstance(value, dict) or not str(value.get("openapi", "")).startswith("3."):
        raise GatewayRefused(f"{api.source}: it is no description by OpenAPI 3", file=api.source)
    return value


def _mapping(value: Value, where: str) -> Mapping[str, Value]:
    if not isinstance(value, Mapping | None):
        raise _refused(where, "a mapping belongs where there is something else")
    return value or {}


def _list(value: Value, where: str) -> list[Value]:
    if not isinstance(value, list | None):
        raise _refused(where, "a list belongs where there is something else")
    return value or []


def _is_held(value: Value) -> bool:
    """Return whether evidence can hold `value`: no fraction, and no number above its bounds."""
    small = not isinstance(value, int) or -INTEGER_MAX <= value <= INTEGER_MAX
    return small and isinstance(value, int | str | list | Mapping | None)


def _json(value: Value) -> Json:
    if isinstance(value, Mapping):
        return {key: _json(item) for key, item in value.items() if _is_held(item)}
    return (
        [_json(item) for item in value if _is_held(item)] if isinstance(value, list) else cast("Json", value)
    )


def _refused(where: str, words: str) -> GatewayRefused:
    return GatewayRefused(f"{where}: {words}; or say that it is `hidden`", field=where[:60])
