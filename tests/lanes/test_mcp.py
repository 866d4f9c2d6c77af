"""MCP servers as targets: a real one over standard streams and over HTTP, and ones that do not behave."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from rexecop.lanes.failures import Failure
from rexecop.lanes.jsonrpc import JsonRpcLane
from rexecop.lanes.messages.jsonrpc import JsonRpcMessage, Mcp, Program, pin_of
from rexecop.lanes.port import LaneResult
from rexecop.proof.call import Call
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.peers import Peers, endpoint, exchange, free_port
from tests.lanes.support import LIMITS, call_lane, result_of, secrets_of
from tests.needs import needs

SERVER = str(Path(__file__).with_name("mcp_server.py"))
LONG = replace(LIMITS, timeout_ms=30_000, grace_ms=5_000)  # A server takes a second or more to start.
START_SECONDS = 60.0

asked: list[tuple[str, web.Request]] = []
ports: dict[str, int] = {}


@pytest.fixture(scope="module")
def lane() -> Iterator[JsonRpcLane]:
    grades = {Isolation.NONE: Grade.SHAPE, Isolation.BUBBLEWRAP: Grade.CONTAINED}
    lane = JsonRpcLane(secrets=secrets_of(), isolation=grades, hidden=())
    yield lane
    lane.close()


@pytest.fixture(scope="module")
def over_http() -> Iterator[int]:
    port = free_port()
    with subprocess.Popen([sys.executable, SERVER, str(port)], stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
        server.terminate()


def call(message: JsonRpcMessage, effect: Effect = Effect.READ) -> Call:
    return exchange("jsonrpc/1", message, effect=effect)


def started(
    tool: str = "",
    arguments: dict[str, Json] | None = None,
    *,
    writable: tuple[str, ...] = (),
    effect: Effect = Effect.READ,
) -> Call:
    program = Program(argv=(sys.executable, SERVER), writable=writable)
    return call(JsonRpcMessage(program=program, mcp=Mcp(tool=tool, arguments=arguments)), effect)


def posted(
    port: int,
    tool: str = "",
    arguments: dict[str, Json] | None = None,
    *,
    version: str = "2025-11-25",
    effect: Effect = Effect.READ,
) -> Call:
    mcp = Mcp(tool=tool, arguments=arguments, version=version)
    return call(JsonRpcMessage(http=endpoint(port, "mcp", method="POST"), mcp=mcp), effect)


def ended(lane: JsonRpcLane, made: Call, isolation: Isolation = Isolation.NOT_APPLICABLE) -> LaneResult:
    return result_of(call_lane(lane, made, limits=LONG, isolation=isolation))


def test_tools_are_listed_and_called_over_http(lane: JsonRpcLane, over_http: int) -> None:
    tools = ended(lane, posted(over_http))
    added = ended(lane, posted(over_http, "add", {"a": 2, "b": 3}, version="2025-06-18"))

    assert tools.ended is Ended.OK, tools.message
    assert [tool["name"] for tool in json.loads(tools.stdout)["tools"]] == ["add", "write", "fail"]
    assert (added.ended, json.loads(added.stdout)["content"][0]["text"]) == (Ended.OK, "5")
    assert (added.measured.facts or {})["mcp"] == "2025-06-18"
    assert (added.measured.facts or {})["server"] == "workshop"


def test_a_pinned_tool_is_called_only_while_it_is_described_as_it_was(
    lane: JsonRpcLane, over_http: int
) -> None:
    tools = json.loads(ended(lane, posted(over_http)).stdout)["tools"]
    described = next(tool for tool in tools if tool["name"] == "add")
    http = endpoint(over_http, "mcp", method="POST")
    results = [
        ended(
            lane,
            call(
                JsonRpcMessage(http=http, mcp=Mcp(tool="add", arguments={"a": 2, "b": 3}, pin=pin_of(tool))),
                Effect.CHANGE,
            ),
        )
        for tool in (described, {**described, "description": "Add two numbers. Trust me."})
    ]

    assert (results[0].ended, json.loads(results[0].stdout)["content"][0]["text"]) == (Ended.OK, "5")
    # Nothing was called, so nothing can have happened.
    assert (results[1].ended, results[1].failure) == (Ended.FAILED, Failure.DRIFTED)
    assert results[1].stdout == b""


def test_a_tool_that_reports_an_error_failed(lane: JsonRpcLane, over_http: int) -> None:
    failed = ended(lane, posted(over_http, "fail", {"reason": "no paper"}, effect=Effect.CHANGE))
    unknown = ended(lane, posted(over_http, "nothing", {}))

    assert (failed.ended, failed.failure) == (Ended.FAILED, Failure.REMOTE_ERROR)
    assert json.loads(failed.stdout)["isError"] is True
    assert unknown.ended is Ended.FAILED


@needs("bwrap")
def test_a_server_over_standard_streams_runs_in_the_class_of_the_call(lane: JsonRpcLane) -> None:
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        path = Path(folder) / "note"
        arguments: dict[str, Json] = {"path": str(path), "text": "x"}
        kept = ended(lane, started("write", arguments), Isolation.BUBBLEWRAP)
        before = path.exists()
        change = started("write", arguments, writable=(folder,), effect=Effect.CHANGE)
        written = ended(lane, change, Isolation.BUBBLEWRAP)

        assert (kept.ended, kept.failure, before) == (Ended.FAILED, Failure.REMOTE_ERROR, False)
        assert (written.ended, path.read_text()) == (Ended.OK, "x")
        assert (written.measured.network, written.measured.protection) == ("none", "spawner-kills-tree")


async def odd(request: web.Request) -> web.StreamResponse:
    """An MCP server that does what the path says."""
    told = await request.json() if request.method == "POST" else {"method": "(ended)"}
    way, method = request.match_info["way"], told.get("method", "(answer)")
    asked.append((method, request))
    answer: dict[str, object] = {"jsonrpc": "2.0", "id": told.get("id"), "result": {}}
    if "id" not in told or method == "(answer)":
        return web.Response(status=202)
    if method == "initialize":
        version = "1999-01-01" if way == "old" else "2025-06-18"
        answer["result"] = (
            [] if way == "listed" else {"protocolVersion": version, "serverInfo": {"name": "odd"}}
        )
        return web.json_response(answer, headers={"Mcp-Session-Id": "s-1"})
    if way == "circle":
        answer["result"] = {"tools": [], "nextCursor": "again"}
    elif way == "streamed":
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for said in (
            {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progress": 1}},
            {"jsonrpc": "2.0", "id": "p", "method": "ping"},
            {**answer, "result": {"content": [{"type": "text", "text": "done"}]}},
        ):
            await response.write(f"event: message\ndata: {json.dumps(said)}\n\n".encode())
        return response
    elif way == "cut":
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b": nothing yet\n\n")
        return response
    elif way == "wordless":
        answer["result"] = {"content": "text"}
    return web.json_response(answer)


@pytest.fixture(scope="module", autouse=True)
def peers() -> Iterator[None]:
    servers = Peers()
    ports["odd"] = servers.http({"POST /{way}/mcp": odd, "DELETE /{way}/mcp": odd})
    yield
    servers.close()


def at(way: str, tool: str = "", effect: Effect = Effect.READ) -> Call:
    return call(
        JsonRpcMessage(http=endpoint(ports["odd"], f"{way}/mcp", method="POST"), mcp=Mcp(tool=tool)), effect
    )


def test_a_session_is_named_in_every_request_and_ended(lane: JsonRpcLane) -> None:
    asked.clear()
    result = ended(lane, at("streamed", "work"))

    assert result.ended is Ended.OK, result.message
    assert [method for method, _ in asked] == [
        "initialize",
        "notifications/initialized",
        "tools/call",
        "(answer)",
        "(ended)",
    ]
    for method, request in asked:
        assert ("Mcp-Session-Id" in request.headers) is (method != "initialize")
        if request.method == "POST":
            assert request.headers["Accept"] == "application/json, text/event-stream"
    assert asked[2][1].headers["MCP-Protocol-Version"] == "2025-06-18"


@pytest.mark.parametrize(
    ("way", "tool", "failure", "of_change"),
    [
        ("old", "work", Failure.UNSUPPORTED, Ended.FAILED),
        ("listed", "work", Failure.PROTOCOL_ERROR, Ended.FAILED),
        ("circle", "", Failure.PROTOCOL_ERROR, Ended.UNKNOWN),
        ("cut", "work", Failure.STREAM_ENDED, Ended.UNKNOWN),
        ("wordless", "work", Failure.PROTOCOL_ERROR, Ended.UNKNOWN),
    ],
)
def test_a_server_that_does_not_behave_is_a_result_and_a_tool_not_called_did_not_happen(
    lane: JsonRpcLane, way: str, tool: str, failure: Failure, of_change: Ended
) -> None:
    read, change = ended(lane, at(way, tool)), ended(lane, at(way, tool, Effect.CHANGE))

    assert (read.ended, read.failure) == (Ended.FAILED, failure)
    assert (change.ended, change.failure) == (of_change, failure)
