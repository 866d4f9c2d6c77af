"""The same tools over HTTP: real sockets, the official client, and callers whom a door lets in."""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
import uvicorn
from starlette.applications import Starlette

from rexecop.app.agents import agent_caller
from rexecop.app.build import open_instance
from rexecop.app.door import Caller, ServiceRole, ServiceScope
from rexecop.app.identity import Identity
from rexecop.app.settings import Settings
from rexecop.proof.principal import Principal
from rexecop.proof.vocabulary import Established
from rexecop.service.mcp.desk import Run
from rexecop.service.mcp.http import routes
from rexecop.service.server import LOCAL_NAMES, listen, shown_address
from rexecop.service.sites import Sites
from tests.service.agents import agent, over_http
from tests.service.doors import FixedDoor
from tests.service.running import Running, running
from tests.service.yard import AGENT, settings_of, yard

T = TypeVar("T")

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
HEADERS = {"Content_Type": "application/json", "Accept": "application/json, text/event-stream"}


def somebody(person: str, role: ServiceRole, **scope: tuple[str, ...]) -> Caller:
    principal = Principal(person=person, established=Established.TOKEN, credential=f"token:{person}")
    return Caller(
        identity=Identity(principal=principal), roles=frozenset({role}), scope=ServiceScope(**scope)
    )


def elsewhere() -> Run:
    """Return what does work in a loop of its own, as a service does that has much to answer meanwhile."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()

    async def run(work: Callable[[], Coroutine[object, object, T]]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))

    return run


def main(root: str) -> int:
    """Serve `/mcp` over the yard's root: to an agent, one who may a little, a viewer and an approver."""
    listening = listen("127.0.0.1", 0)
    with open_instance(settings_of(Path(root).parent)) as instance:
        door = FixedDoor(
            {
                "agent": agent_caller(instance, AGENT),
                "near": somebody("carol", ServiceRole.OPERATOR, targets=("near",), intents=("yard/l*",)),
                "wide": somebody("carol", ServiceRole.OPERATOR),
                "viewer": somebody("dave", ServiceRole.VIEWER),
                "approver": somebody("bob", ServiceRole.APPROVER),
            }
        )
        sites = Sites(set(LOCAL_NAMES))
        app = Starlette(routes=[*routes(instance, door, sites, run=elsewhere(), wait_seconds=2)])
        sys.stderr.write(f"serving on http://{shown_address(listening)} now\n")
        sys.stderr.flush()
        config = uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False)
        with suppress(KeyboardInterrupt):
            asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))
    return 0


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return yard(tmp_path_factory.mktemp("mcp-http"))


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    with running(settings.root, main) as found:
        yield found


def url(service: Running) -> str:
    return f"http://127.0.0.1:{service.port}/mcp"


def test_an_agent_calls_over_http_what_it_may(service: Running) -> None:
    with agent(over_http(url(service), "agent")) as bot:
        tools = bot.tools()
        read = bot.told("look", target="near")
        change = bot.told("put", rexecop_target="near", text="x")
        denied = bot.call("wipe", target="near")

    assert {"look", "put"} <= set(tools) and "wipe" not in tools
    assert (read["status"], read["facts"]["look"]["content"]) == ("completed", "a thing\n")  # type: ignore[index]
    assert change["status"] == "pending_approval" and denied.is_error is True


def test_what_was_started_goes_on_when_nobody_waits_for_it_any_more(
    service: Running, settings: Settings
) -> None:
    with agent(over_http(url(service), "agent")) as bot:
        begun = bot.told("linger", target="near")
    (settings.root.parent / "things" / "go").write_text("gone")
    with agent(over_http(url(service), "agent")) as bot:
        done = bot.told("operation_wait", operation_id=begun["operation_id"], seconds=60)

    assert (begun["status"], done["status"]) == ("running", "completed")


def test_what_is_out_of_somebodys_scope_reads_as_if_it_did_not_exist(service: Running) -> None:
    with agent(over_http(url(service), "agent")) as bot:
        theirs = str(bot.told("look", target="far")["operation_id"])
    with agent(over_http(url(service), "near")) as carol:
        tools = carol.tools()
        hidden = carol.told("operation_status", operation_id=theirs)
        nothing = carol.told("operation_status", operation_id="op_nothing")
        elsewhere = carol.told("look", target="far")

    assert "put" not in tools
    assert {**hidden, "reason": ""} == {**nothing, "reason": ""} and hidden["code"] == "tool-refused"
    assert hidden["reason"] == f"there is no operation `{theirs}`"
    assert elsewhere["code"] == "tool-refused"


@pytest.mark.parametrize("token", ["viewer", "approver"])
def test_who_may_only_look_gets_no_tool_that_does_anything(service: Running, token: str) -> None:
    with agent(over_http(url(service), token)) as somebody:
        tools = somebody.tools()
        assert set(tools) == {
            "operation_status",
            "operation_wait",
            "operation_cancel",
            "why",
            "list_operations",
        }
        with pytest.raises(Exception, match="there is no tool `put`"):
            somebody.call("put", rexecop_target="near", text="x")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer agent", "Origin": "https://evil.example"}, 403),
        ({"Authorization": "Bearer agent", "Host": "evil.example"}, 421),
        ({"Authorization": "Bearer agent", "Host": "evil.example:80"}, 421),
        ({"Authorization": "Bearer agent"}, 200),
    ],
)
def test_only_who_is_let_in_from_here_is_answered(
    service: Running, headers: dict[str, str], status: int
) -> None:
    reply = service.call("POST", "/mcp", json.dumps(INITIALIZE).encode(), **HEADERS, **headers)

    assert reply.status == status
    assert status == 200 or reply.json["code"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 50_000,
        b'{"jsonrpc": "2.0", "id": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 1}}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "look", "arguments": '
        b'{"a": NaN}}}',
        b"x" * (2 << 20),
    ],
)
def test_what_is_no_message_is_refused_and_never_an_error_of_ours(service: Running, body: bytes) -> None:
    reply = service.call("POST", "/mcp", body, **HEADERS, Authorization="Bearer agent")

    assert reply.status in (200, 400, 413)
    assert reply.status != 200 or "error" in reply.json or "isError" in str(reply.json)


def test_there_is_no_stream_without_a_request_and_no_session_to_end(service: Running) -> None:
    replies = [service.call(method, "/mcp", Authorization="Bearer agent") for method in ("GET", "DELETE")]

    assert [reply.status for reply in replies] == [405, 405]


def test_clients_of_before_are_answered_too(service: Running) -> None:
    call = {"name": "look", "arguments": {"target": "near"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call}).encode()
    reply = service.call("POST", "/mcp", body, **HEADERS, Authorization="Bearer agent")

    result = reply.json["result"]
    assert reply.status == 200 and isinstance(result, dict)
    assert result["structuredContent"]["status"] == "completed"
