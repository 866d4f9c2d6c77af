"""Gateways: an MCP server of others behind policy, approvals and receipts, and not changed for it.

A small file says how the server is reached and what each of its tools does. Accepting it lists the tools, by
an operation like any other, and writes a profile and an environment into the root in which each tool is
pinned: one that is described otherwise later is not called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import rmtree
from typing import Final, cast

from rexecop.app.files import read_file, write_folder
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.settings import Settings
from rexecop.lanes.messages.jsonrpc import pin_of
from rexecop.operations.environment import load_environment
from rexecop.operations.errors import GatewayRefused
from rexecop.operations.profile import load_profile
from rexecop.operations.reading import Problems
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.vocabulary import Mode, State

LIST: Final = "list_tools"  # The intent of the profile by which a server is asked what it offers.
STEP: Final = "call"
HIDDEN: Final = "hidden"
_WORDS: Final = ("read", "change", "destroy", HIDDEN)
_ISOLATION: Final = "rlimits"  # Of a program: servers usually need a network, and files of their user.
_TIMEOUT: Final = "120s"
_OUTPUT_BYTES: Final = 1 << 20
_RULES: Final = {"type": "require_equals", "path": f"{STEP}.complete", "value": True, "rule": "answered"}

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """What a file says: `server` is how it is reached, `effects` what tools do, `others` those not named."""

    name: str
    digest: Digest
    server: Mapping[str, Json]
    effects: Mapping[str, str]
    others: str

    def effect(self, tool: str) -> str:
        """Return what `tool` does, or `hidden`."""
        return self.effects.get(tool, self.others)


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
    fields = (
        None if root is None else root.section("gateway").fields("name server tools others", "name server")
    )
    if fields is None:
        problems.raise_first(GatewayRefused)
        raise GatewayRefused(f"`{path.name}` says nothing")
    found = Gateway(
        name=fields.token("name"),
        digest=digest_of(data),
        server=fields.mapping("server"),
        effects={name: node.one_of(_WORDS) for name, node in fields.entries("tools")},
        others=fields.one_of("others", _WORDS, HIDDEN),
    )
    problems.raise_first(GatewayRefused)
    return found


def served(settings: Settings, path: Path) -> Settings:
    """Return `settings` with the profile and environment of the gateway at `path`, as it was accepted.

    Raises:
        GatewayRefused: it never was, or says something else now.
    """
    gateway, folder = read_gateway(path), settings.root / "gateways"
    folder /= gateway.name
    accepted = folder / "accepted"
    if not accepted.exists() or read_file(accepted).decode("ascii", "replace") != gateway.digest:
        words = "was not accepted as it is now" if accepted.exists() else "was never accepted"
        raise GatewayRefused(
            f"gateway `{gateway.name}` {words}", next_steps=(f"rexecop gateway accept {path}",)
        )
    return replace(settings, profile=str(folder / "profile"), env=str(folder / "environment.yaml"))


async def look(instance: Instance, gateway: Gateway) -> tuple[tuple[Offered, ...], Files]:
    """Return what the server offers now, and the files that accepting it writes; asking is an operation.

    Raises:
        GatewayRefused: it could not be asked, or what it says of a tool cannot be held to.
    """
    folder = instance.settings.root / "gateways" / f".{gateway.name}"
    _write(folder, _files(gateway, []))
    asked = PlanInput(
        profile=str(folder / "profile"),
        env=str(folder / "environment.yaml"),
        intent=LIST,
        target=gateway.name,
        mode=Mode.READ_ONLY,
    )
    view = await instance.plan(asked)
    if view.state == State.APPROVED:
        view = await instance.start(view.operation_id)
    rmtree(folder)
    said = [one.text for one in instance.outputs(view.operation_id, STEP) if one.stream == "stdout"]
    if view.state != State.COMPLETED or not said or said[0] is None:
        words = f"operation #{view.number}, which asks for its tools, is `{view.state}`"
        steps = (f"rexecop why {view.number}", f"rexecop logs {view.number}")
        raise GatewayRefused(f"gateway `{gateway.name}`: {words}", next_steps=steps)
    answer = cast("Mapping[str, list[dict[str, Json]]]", parse_payload(said[0], bytes_max=_OUTPUT_BYTES))
    tools = [one for one in answer["tools"] if gateway.effect(str(one.get("name"))) != HIDDEN]
    if not tools:
        raise GatewayRefused(f"gateway `{gateway.name}`: its server offers no tool that is not hidden")
    files = _files(gateway, tools)
    load_profile(
        {name.removeprefix("profile/"): files[name] for name in files if name.startswith("profile/")}
    )
    load_environment({"environment.yaml": files["environment.yaml"]})
    return tuple(_offered(instance.settings.root / "gateways" / gateway.name, gateway, tools)), files


def accept(settings: Settings, gateway: Gateway, files: Files) -> None:
    """Hold the gateway's tools to what they are in `files` from now on."""
    _write(settings.root / "gateways" / gateway.name, {**files, "accepted": gateway.digest.encode()})


def _offered(folder: Path, gateway: Gateway, tools: list[dict[str, Json]]) -> Iterator[Offered]:
    pins = folder / "pins"
    known = parse_payload(read_file(pins), bytes_max=_OUTPUT_BYTES) if pins.exists() else {}
    assert isinstance(known, dict)
    for tool in tools:
        name, pin = str(tool["name"]), pin_of(tool)
        before = known.pop(name, None)
        news = "new" if before is None else "" if before == pin else "changed"
        words = str(tool.get("description", ""))
        yield Offered(name=name, effect=gateway.effect(name), pin=pin, description=words, news=news)
    for name, was in known.items():
        yield Offered(name=name, effect=HIDDEN, pin=str(was), description="", news="gone")


def _files(gateway: Gateway, tools: list[dict[str, Json]]) -> Files:
    """Return profile and environment in which each of `tools` is an intent of its own name.

    Without tools there is one intent, by which the server is asked for them.
    """
    name, server = f"gateway-{gateway.name}", dict(gateway.server)
    if "program" in server:
        server.setdefault("isolation", _ISOLATION)
    actions: dict[str, Value] = {}
    written: dict[str, Value] = {
        "profile/profile.yaml": {"profile_contract": {"name": name, "version": "1", "description": name}},
        "profile/normalizers/answer.yaml": {
            "normalizer": {"facts": {"answered": {"count": "lines", "minimum": 1}}}
        },
        "environment.yaml": {
            "environment": {
                "id": gateway.name,
                "profile": name,
                "targets": {gateway.name: {"type": "server"}},
                "connectors": {"server": cast("Value", {"backend": "jsonrpc", **server})},
            }
        },
        "pins": {str(tool["name"]): pin_of(tool) for tool in tools},
    }
    for tool in tools or [{"name": LIST}]:
        called = str(tool["name"])
        talk = {"tool": called, "arguments": "{*}", "pin": pin_of(tool)} if tools else {}
        does = gateway.effect(called) if tools else "read"
        actions[called] = {"effect": does, "mcp": cast("Value", talk)}
        written |= {f"profile/{path}/{called}.yaml": said for path, said in _intent(tool, called).items()}
    for action in actions.values():
        assert isinstance(action, dict)
        action |= {"timeout": _TIMEOUT, "output_bytes": _OUTPUT_BYTES}
    written["profile/connectors/server.yaml"] = {
        "connector": {"name": "server", "capabilities": list(actions), "actions": actions}
    }
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
