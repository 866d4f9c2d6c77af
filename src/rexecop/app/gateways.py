"""Gateways: an MCP server or an HTTP API of others behind policy, approvals and receipts, not changed for it.

A small file says how it is reached and what each of its tools does. Accepting it lists the tools and writes a
profile and an environment into the root. A server is asked for them, by an operation like any other, and each
is pinned: one that is described otherwise later is not called. Those of an API are read from its description,
or are routes of the file itself, and hold until somebody accepts others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from shutil import rmtree
from typing import Final, cast

from rexecop.app.files import read_file, write_folder
from rexecop.app.gateway_api import (
    API_KEYS,
    DESCRIPTION_BYTES_MAX,
    READS,
    Api,
    Tool,
    read_routes,
    tools_of,
)
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings
from rexecop.lanes.messages.jsonrpc import pin_of
from rexecop.operations.environment import load_environment
from rexecop.operations.errors import GatewayRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Fields, Problems
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.vocabulary import Mode, State

LIST: Final = "list_tools"  # The intent of the profile by which a server is asked what it offers.
STEP: Final = "call"
HIDDEN: Final = "hidden"
BY_METHOD: Final = "method"
ACCEPTED: Final = "accepted"
_WORDS: Final = ("read", "change", "destroy", HIDDEN)
_ISOLATION: Final = "rlimits"  # Of a program: servers usually need a network, and files of their user.
_TIMEOUT: Final = "120s"
_OUTPUT_BYTES: Final = 1 << 20
_RULES: Final = {"type": "require_equals", "path": f"{STEP}.complete", "value": True, "rule": "answered"}

Files = dict[str, bytes]


class Relays(StrEnum):
    """As what the answers of others are handed on: a `result` of MCP, or `text`."""

    RESULT = "result"
    TEXT = "text"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What a file says: `server` is how it is reached, `effects` what tools do, `others` those not named.

    `api` has the operations of an HTTP API; for an MCP server there is none. `digest` is of the file, and of
    the description that it names.
    """

    name: str
    digest: Digest
    server: Mapping[str, Json]
    effects: Mapping[str, str]
    others: str
    api: Api | None

    def effect(self, tool: str, method: str = "") -> str:
        """Return what `tool` does, or `hidden`; `method` is that of an operation over HTTP."""
        said = self.effects.get(tool, self.others)
        return said if said != BY_METHOD else "read" if method in READS else "change"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """A tool that a server offers: `news` is `new`, `changed`, `gone`, or empty where it is as accepted."""

    name: str
    effect: str
    pin: str
    description: str
    news: str


def read_gateway(path: Path) -> Gateway:
    """Return what the file at `path` says.

    Raises:
        FileMissing, FileRefused: it cannot be read. GatewayRefused: it breaks the format.
    """
    data, problems = read_file(path), Problems(GatewayRefused.code)
    root = problems.parse(data, path.name)
    fields = None if root is None else root.section("gateway").fields("name server api tools others", "name")
    if fields is None:
        problems.raise_first(GatewayRefused)
        raise GatewayRefused(f"`{path.name}` says nothing")
    if (fields.get("server") is None) == (fields.get("api") is None):
        fields.node.refuse("either `server` or `api` says what is reached", allowed="server, api")
    api, server = _api(fields, path)
    usual = BY_METHOD if api is not None and api.routes else HIDDEN
    found = Gateway(
        name=fields.token("name"),
        digest=digest_of(data if api is None else data + digest_of(api.description).encode()),
        server=server,
        effects={name: node.one_of(_WORDS) for name, node in fields.entries("tools")},
        others=fields.one_of("others", _WORDS if api is None else (*_WORDS, BY_METHOD), usual),
        api=api,
    )
    problems.raise_first(GatewayRefused)
    return found


def _api(fields: Fields, path: Path) -> tuple[Api | None, dict[str, Json]]:
    """Return the operations of the API at `api`, if there is one, and how the server or API is reached."""
    node = fields.get("api")
    if node is None:
        return None, fields.mapping("server")
    own = node.fields(API_KEYS)
    if (own.get("openapi") is None) == (own.get("routes") is None):
        node.refuse("either `openapi` or `routes` says what there is", allowed="openapi, routes")
    server = {key: value for key, value in node.mapping().items() if key not in ("openapi", "routes")}
    source, routes = own.text("openapi"), own.maybe("routes", read_routes) or ()
    content = read_file(path.parent / source, bytes_max=DESCRIPTION_BYTES_MAX) if source else b""
    return Api(routes=routes, source=Path(source).name, description=content), server


def served(settings: Settings, path: Path) -> tuple[Settings, Relays]:
    """Return `settings` with the profile and environment of the gateway at `path`, as it was accepted.

    What it hands on, and as what, comes second.

    Raises:
        GatewayRefused: it never was, or says something else now.
    """
    gateway, folder = read_gateway(path), settings.root / "gateways"
    folder /= gateway.name
    known = folder / ACCEPTED
    if not known.exists() or read_file(known).decode("ascii", "replace") != gateway.digest:
        words = "was not accepted as it is now" if known.exists() else "was never accepted"
        raise GatewayRefused(
            f"gateway `{gateway.name}` {words}", next_steps=(f"rexecop gateway accept {path}",)
        )
    found = replace(settings, profile=str(folder / "profile"), env=str(folder / "environment.yaml"))
    return found, Relays.RESULT if gateway.api is None else Relays.TEXT


def accepted(root: Path) -> Iterator[tuple[str, str, Path]]:
    """Yield profile's name, profile and environment of each gateway that was accepted at `root`."""
    for file in sorted((root / "gateways").glob(f"[!.]*/{ACCEPTED}")):
        folder = file.parent
        yield f"gateway-{folder.name}", str(folder / "profile"), folder / "environment.yaml"


async def look(instance: Instance, gateway: Gateway) -> tuple[tuple[Offered, ...], Files]:
    """Return what is offered now, and the files that accepting it writes; asking a server is an operation.

    Raises:
        GatewayRefused: it could not be asked, or what is said of a tool cannot be held to.
        OperationsError: the API cannot be reached as the file says.
    """
    folder = instance.settings.root / "gateways" / f".{gateway.name}"
    _write(folder, _files(gateway, []))
    try:
        tools = await _tools(instance, gateway, folder)
    finally:
        rmtree(folder)
    if not tools:
        raise GatewayRefused(f"gateway `{gateway.name}`: there is no tool that is not hidden")
    files = _files(gateway, tools)
    load_profile(
        {name.removeprefix("profile/"): files[name] for name in files if name.startswith("profile/")}
    )
    load_environment({"environment.yaml": files["environment.yaml"]})
    return tuple(_offered(instance.settings.root / "gateways" / gateway.name, gateway, tools)), files


async def _tools(instance: Instance, gateway: Gateway, folder: Path) -> list[Tool]:
    """Return the tools that are not hidden. Raises as `look`."""
    asked = PlanInput(
        profile=str(folder / "profile"),
        env=str(folder / "environment.yaml"),
        intent=LIST,
        target=gateway.name,
        mode=Mode.READ_ONLY,
    )
    if gateway.api is not None:
        instance.parts.planner.prepare(asked)  # Nothing is asked: whether a call can be written down is.
        return tools_of(gateway.api, gateway.effect, HIDDEN, gateway.effects)
    view = await instance.plan(asked)
    if view.state == State.APPROVED:
        view = await instance.start(view.operation_id)
    said = [one.text for one in instance.outputs(view.operation_id, STEP) if one.stream == "stdout"]
    if view.state != State.COMPLETED or not said or said[0] is None:
        words = f"operation #{view.number}, which asks for its tools, is `{view.state}`"
        steps = (f"rexecop why {view.number}", f"rexecop logs {view.number}")
        raise GatewayRefused(f"gateway `{gateway.name}`: {words}", next_steps=steps)
    answer = cast("Mapping[str, list[Tool]]", parse_payload(said[0], bytes_max=_OUTPUT_BYTES))
    return [one for one in answer["tools"] if gateway.effect(str(one.get("name"))) != HIDDEN]


def accept(settings: Settings, gateway: Gateway, files: Files) -> None:
    """Hold the gateway's tools to what they are in `files` from now on."""
    _write(settings.root / "gateways" / gateway.name, {**files, ACCEPTED: gateway.digest.encode()})


def _offered(folder: Path, gateway: Gateway, tools: list[Tool]) -> Iterator[Offered]:
    pins = folder / "pins"
    known = parse_payload(read_file(pins), bytes_max=_OUTPUT_BYTES) if pins.exists() else {}
    assert isinstance(known, dict)
    for tool in tools:
        name, pin = str(tool["name"]), pin_of(tool)
        before = known.pop(name, None)
        news = "new" if before is None else "" if before == pin else "changed"
        words = str(tool.get("description", ""))
        yield Offered(name=name, effect=_effect(gateway, tool), pin=pin, description=words, news=news)
    for name, was in known.items():
        yield Offered(name=name, effect=HIDDEN, pin=str(was), description="", news="gone")


def _effect(gateway: Gateway, tool: Tool) -> str:
    return gateway.effect(str(tool["name"]), "" if gateway.api is None else str(_shape(tool)["method"]))


def _shape(tool: Tool) -> dict[str, Json]:
    """Return the shape of the call of an operation of an API; what a server says there is its own affair."""
    return cast("dict[str, Json]", tool["http"])


def _files(gateway: Gateway, tools: list[Tool]) -> Files:
    """Return profile and environment in which each of `tools` is an intent of its own name.

    Without tools there is one intent: by it a server is asked for them, an API for what stands at its top.
    """
    name, server = f"gateway-{gateway.name}", dict(gateway.server)
    backend = "jsonrpc" if gateway.api is None else "http"
    if "program" in server:
        server.setdefault("isolation", _ISOLATION)
    if gateway.api is not None:
        server["max_response_bytes"] = _OUTPUT_BYTES
    answered: Value = (
        {"exit_status": True, "type": "integer"} if gateway.api else {"count": "lines", "minimum": 1}
    )
    actions: dict[str, Value] = {}
    shapes: dict[str, Value] = {}
    written: dict[str, Value] = {
        "profile/profile.yaml": {"profile_contract": {"name": name, "version": "1", "description": name}},
        "profile/normalizers/answer.yaml": {
            "normalizer": {"facts": {"http_status" if gateway.api else "answered": answered}}
        },
        "environment.yaml": {
            "environment": {
                "id": gateway.name,
                "profile": name,
                "targets": {gateway.name: {"type": "server"}},
                "connectors": {"server": cast("Value", {"backend": backend, **server})},
            }
        },
        "pins": {str(tool["name"]): pin_of(tool) for tool in tools},
    }
    for tool in tools or [{"name": LIST, "http": {"method": "GET", "path": "/"}}]:
        called = str(tool["name"])
        does = _effect(gateway, tool) if tools else "read"
        action: dict[str, Value] = {"effect": does, "timeout": _TIMEOUT, "output_bytes": _OUTPUT_BYTES}
        if gateway.api is None:
            talk = {"tool": called, "arguments": "{*}", "pin": pin_of(tool)} if tools else {}
            action["mcp"] = cast("Value", talk)
        else:
            shapes[called] = cast("Value", {**_shape(tool), "mutating": does != "read"})
        actions[called] = action
        written |= {f"profile/{path}/{called}.yaml": said for path, said in _intent(tool, called).items()}
    connector: dict[str, Value] = {"name": "server", "capabilities": list(actions), "actions": actions}
    if gateway.api is not None:
        connector["action_shapes"] = shapes
    written["profile/connectors/server.yaml"] = {"connector": connector}
    return {path: payload_text(value).encode() for path, value in written.items()}


def _intent(tool: Mapping[str, Json], name: str) -> dict[str, Value]:
    """Return the files, by folder, that make `tool` an intent."""
    summary = " ".join(str(tool.get("description", "")).split())[:500]
    step = {"id": STEP, "type": "connector", "connector": "server", "action": name, "normalize": "answer"}
    schema = cast("Value", tool.get("inputSchema"))
    said: dict[str, Value] = {"workflow": f"workflows/{name}.yaml", "risk": "low", "summary": summary}
    return {
        "intents": {"intent": said if schema is None else {**said, "parameters": schema}},
        "workflows": {"workflow": {"intent": name, "risk": "low", "steps": [cast("Value", step)]}},
        "validation_rules": {"validation_rule": {"intent": name, "steps": [cast("Value", _RULES)]}},
    }


def _write(folder: Path, files: Files) -> None:
    """Put `files` in the place of what `folder` holds; where that ends in between, nothing is accepted."""
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    rmtree(folder, ignore_errors=True)
    write_folder(folder, files)
