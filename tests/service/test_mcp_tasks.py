"""Operations as tasks of the protocol: the official client over both transports, and bare messages."""

import asyncio
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

import anyio
import mcp_types as types
import pytest
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from rexecop.app.agents import agent_caller
from rexecop.app.build import open_instance
from rexecop.app.settings import Settings
from rexecop.app.working import Works
from rexecop.service.mcp import stdio
from rexecop.service.mcp.desk import Desk
from rexecop.service.mcp.http import McpEndpoint
from rexecop.service.mcp.stdio import AgentDoor
from rexecop.service.sites import Sites
from tests.service.agents import SECONDS, Agent, agent, over_http, over_http_before, over_stdio
from tests.service.doors import FixedDoor
from tests.service.running import Running, running
from tests.service.test_mcp import approve, lingers, things, until, words
from tests.service.test_mcp_http import HEADERS, main, url
from tests.service.yard import AGENT, CANARY, yard

T = TypeVar("T")
VERSION: Final = "2025-11-25"
ENDED: Final = ("completed", "failed", "cancelled")
CALL: Final = "tools/call"
RELATED: Final = "io.modelcontextprotocol/related-task"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return yard(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def service(settings: Settings) -> Iterator[Running]:
    with running(settings.root, main) as found:
        yield found


@pytest.fixture(scope="module")
def over_pipes(settings: Settings) -> Iterator[Agent]:
    said = words(settings, "--agent", AGENT, "--wait", "1")
    connect = over_stdio(*said, folder=settings.root.parent, REXECOP_SECRET_YARD_KEY=CANARY)
    with agent(connect) as found:
        yield found


@pytest.fixture(scope="module")
def over_sockets(service: Running) -> Iterator[Agent]:
    with agent(over_http_before(url(service), "agent")) as found:
        yield found


@pytest.fixture(params=["over_pipes", "over_sockets"])
def bot(request: pytest.FixtureRequest) -> Agent:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Agent)
    return found


def ended(bot: Agent, task: str) -> types.GetTaskResult:
    """Return how a task ended, asking as clients do."""
    seen: list[types.GetTaskResult] = []

    def over() -> bool:
        seen.append(bot.task(task))
        return seen[-1].status in ENDED

    until(over)
    return seen[-1]


def told(result: types.CallToolResult) -> dict[str, object]:
    assert isinstance(result.structured_content, dict)
    return result.structured_content


def test_tools_of_intents_may_be_tasks_and_those_that_look_may_not(bot: Agent) -> None:
    offered = bot.capabilities()
    support = {name: tool.execution for name, tool in bot.tools().items()}

    assert offered is not None and offered.tasks is not None
    assert offered.tasks.model_dump(exclude_none=True) == {
        "list": {},
        "cancel": {},
        "requests": {"tools": {"call": {}}},
    }
    can = {name for name, one in support.items() if one is not None and one.task_support == "optional"}
    assert can == {"look", "leak", "linger", "put"}
    assert all(one is None for name, one in support.items() if name not in can)


def test_a_task_is_an_operation_that_ends_in_the_very_result_of_a_call(bot: Agent) -> None:
    begun = bot.begin("look", target="near", idempotency_key="the-same")
    done = ended(bot, begun.task_id)
    result = bot.result(begun.task_id)
    call = bot.call("look", target="near", idempotency_key="the-same")
    again = bot.begin("look", target="near", idempotency_key="the-same")

    assert begun.status in ("working", "completed") and begun.ttl is None
    assert (done.status, done.created_at) == ("completed", begun.created_at)
    assert told(call)["operation_id"] == begun.task_id
    assert result.meta == {RELATED: {"taskId": begun.task_id}}
    assert result.model_copy(update={"meta": None}) == call.model_copy(update={"meta": None})
    assert (again.task_id, again.status, again.poll_interval) == (begun.task_id, "completed", None)


def test_a_task_waits_for_a_person_and_is_started_for_the_agent_that_asks_about_it(
    bot: Agent, settings: Settings
) -> None:
    (things(settings) / "thing").write_text("a thing\n")
    begun = bot.begin("put", rexecop_target="near", text="by a task")
    waits = [bot.task(begun.task_id) for _ in range(2)]
    before = (things(settings) / "thing").read_text()
    approve(settings, begun.task_id, settings.root / "keys" / "approver")
    done = ended(bot, begun.task_id)

    assert begun.status == "input_required" and begun.poll_interval
    assert {one.status for one in waits} == {"input_required"}
    assert "1 of approvers" in str(begun.status_message) and "rexecop approve" in str(begun.status_message)
    assert (before, done.status) == ("a thing\n", "completed")
    assert (things(settings) / "thing").read_text() == "by a task"
    assert told(bot.result(begun.task_id))["status"] == "completed"


def test_a_result_is_waited_for_longer_than_calls_wait(bot: Agent, settings: Settings) -> None:
    task = bot.begin("linger", target="near").task_id
    with ThreadPoolExecutor(1) as others:
        waits = others.submit(bot.result, task)
        # Two seconds here are more than a call waits.
        meanwhile = [bot.told("operation_wait", operation_id=task, seconds=1)["status"] for _ in range(3)]
        late = waits.done()
        until(lambda: lingers(things(settings)))
        (things(settings) / "go").write_text("gone")
        result = waits.result(SECONDS)

    assert (meanwhile, late) == (["running"] * 3, False)
    assert result.is_error is False and told(result)["status"] == "completed"


def test_what_is_denied_or_failed_is_a_failed_task_with_the_result_of_a_call(bot: Agent) -> None:
    begun = bot.begin("wipe", target="near")
    result = bot.result(begun.task_id)

    assert begun.status == bot.task(begun.task_id).status == "failed"
    assert "no rule allows" in str(begun.status_message)
    assert result.is_error is True and told(result)["status"] == "denied"


def test_a_task_is_cancelled_as_its_operation_and_only_before_it_has_ended(bot: Agent) -> None:
    task = bot.begin("put", rexecop_target="far", text="never").task_id
    gone = bot.cancel(task)
    result = bot.result(task)
    with pytest.raises(MCPError, match="has ended: it is cancelled") as refused:
        bot.cancel(task)

    assert (gone.status, bot.task(task).status) == ("cancelled", "cancelled")
    assert result.is_error is True and told(result)["state"] == "cancelled"
    assert refused.value.error.code == types.INVALID_PARAMS


def test_cancelling_waits_for_the_call_in_flight_and_cuts_nothing_off(
    over_sockets: Agent, settings: Settings
) -> None:
    task = over_sockets.begin("linger", target="far").task_id
    until(lambda: lingers(things(settings)))
    still = over_sockets.cancel(task)  # It waits as long as a call.
    (things(settings) / "go").write_text("gone")
    done = ended(over_sockets, task)

    assert (still.status, done.status) == ("working", "cancelled")
    assert told(over_sockets.result(task))["state"] == "cancelled"


def test_tasks_are_listed_page_by_page_as_far_as_the_caller_asked_for_them(
    over_pipes: Agent, service: Running
) -> None:
    with agent(over_http_before(url(service), "wide")) as carol:
        theirs = carol.begin("look", target="near").task_id
        seen = [one.task_id for one in carol.tasks().tasks]
    mine = [over_pipes.begin("wipe", target="near").task_id for _ in range(51)]
    pages = [over_pipes.tasks()]
    while pages[-1].next_cursor is not None:
        pages.append(over_pipes.tasks(pages[-1].next_cursor))
    listed = [one.task_id for page in pages for one in page.tasks]

    assert seen == [theirs]
    assert len(pages[0].tasks) == 50 and len(pages) > 1
    assert listed[:51] == mine[::-1] and len(set(listed)) == len(listed) and theirs not in listed


def test_a_task_of_somebody_else_and_one_out_of_scope_read_as_if_there_was_none(
    over_sockets: Agent, service: Running
) -> None:
    theirs = over_sockets.begin("put", rexecop_target="near", text="x").task_id
    with agent(over_http_before(url(service), "wide")) as carol:
        far = carol.begin("look", target="far").task_id
        assert carol.told("operation_status", operation_id=theirs)["status"] == "pending_approval"
        refused = [unknown(carol, theirs)]
    with agent(over_http_before(url(service), "near")) as carol:
        refused += [unknown(carol, far), unknown(carol, "op_nothing")]
        listed = {one.task_id for one in carol.tasks().tasks}

    assert refused == [["there is no task `ID`"] * 3] * 3
    assert far not in listed and theirs not in listed
    assert over_sockets.task(theirs).status == "input_required"


def unknown(caller: Agent, task: str) -> list[str]:
    found = []
    for ask in (caller.task, caller.result, caller.cancel):
        with pytest.raises(MCPError) as refused:
            ask(task)
        assert refused.value.error.code == types.INVALID_PARAMS
        assert refused.value.error.data == {"code": "tool-refused"}
        found.append(refused.value.error.message.replace(task, "ID"))
    return found


def test_what_is_halted_says_why_it_waits_and_goes_on_once_that_is_lifted(
    over_pipes: Agent, settings: Settings
) -> None:
    halt(settings)
    try:
        task = over_pipes.begin("look", target="near").task_id
        until(lambda: "it stinks" in str(over_pipes.task(task).status_message))
        stays = over_pipes.task(task).status
    finally:
        halt(settings, lift=True)

    done = ended(over_pipes, task)
    assert stays == "working", done.status_message


def test_what_cannot_be_started_says_why_and_may_be_once_it_can(
    over_pipes: Agent, settings: Settings
) -> None:
    environment = Path(str(settings.env))
    before = environment.read_text()
    task = over_pipes.begin("put", rexecop_target="near", text="x").task_id
    environment.write_text(before.replace("things", "other"))
    try:
        approve(settings, task, settings.root / "keys" / "approver")
        with pytest.raises(MCPError) as refused:
            over_pipes.result(task)
        until(lambda: "is another now" in str(over_pipes.task(task).status_message))
        stays = over_pipes.task(task).status
    finally:
        environment.write_text(before)

    assert (refused.value.error.code, stays) == (types.INTERNAL_ERROR, "working")
    assert refused.value.error.data == {"code": "plan-drifted"}
    assert ended(over_pipes, task).status == "completed"


def halt(settings: Settings, *, lift: bool = False) -> None:
    with open_instance(replace(settings, identity=None)) as instance:
        instance.halt("all", "it stinks", lift=lift)


def request(number: int, method: str, /, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def call(task: object, name: object = "look", **arguments: object) -> tuple[str, dict[str, object]]:
    return CALL, {"name": name, "arguments": {"target": "near", **arguments}, "task": task}


TASK_IDS: Final[tuple[object, ...]] = (None, 7, ["op_1"], "", "\0", "@", "1", "op_" + "9" * 100_000)
CURSORS: Final[tuple[object, ...]] = (7, [], "", "0", "-1", "next", "9" * 40, "\u0663")
ODD: Final[tuple[tuple[tuple[str, dict[str, object]], int], ...]] = (
    (call("x"), types.INVALID_PARAMS),
    (call([]), types.INVALID_PARAMS),
    *((call({"ttl": ttl}), types.INVALID_PARAMS) for ttl in (-1, "long", float("nan"), float("inf"), 1.5)),
    (call({}, name=7), types.INVALID_PARAMS),
    (call({}, name="nothing"), types.INVALID_PARAMS),
    (call({}, target="elsewhere"), types.INVALID_PARAMS),
    (call({}, surprise=1.5), types.INVALID_PARAMS),
    (call({}, surprise=float("nan")), types.INVALID_PARAMS),
    (call({}, name="why"), types.METHOD_NOT_FOUND),
    (call({}, name="operation_wait"), types.METHOD_NOT_FOUND),
    (("tools/call as a task", call({})[1]), types.METHOD_NOT_FOUND),
    (("tasks/approve", {"taskId": "op_1"}), types.METHOD_NOT_FOUND),
    *(
        ((method, params), types.INVALID_PARAMS)
        for method in ("tasks/get", "tasks/result", "tasks/cancel")
        for params in ({}, *({"taskId": task} for task in TASK_IDS))
    ),
    *((("tasks/list", {"cursor": cursor}), types.INVALID_PARAMS) for cursor in CURSORS),
)


def hello(version: str) -> dict[str, object]:
    client = {"name": "t", "version": "1"}
    return request(0, "initialize", protocolVersion=version, capabilities={}, clientInfo=client)


def over_a_pipe(settings: Settings, *messages: Mapping[str, object]) -> dict[object, dict[str, object]]:
    """Return what is answered to `messages` on standard output, by the numbers of the requests."""
    ran = subprocess.run(
        [sys.executable, "-m", "rexecop", *words(settings, "--agent", AGENT, "--wait", "1")],
        input=b"".join(json.dumps(message).encode() + b"\n" for message in messages),
        capture_output=True,
        timeout=120,
        check=False,
        env=dict(os.environ),
    )
    assert (ran.returncode, ran.stderr) == (0, b"")
    return {one["id"]: one for one in map(json.loads, ran.stdout.splitlines())}


def test_whatever_is_odd_about_a_task_is_an_error_of_the_protocol(
    over_pipes: Agent, settings: Settings
) -> None:
    assert over_pipes.begin("wipe", target="near").status == "failed"  # So `@` and `1` name an operation.
    early = request(501, "tasks/get", taskId="op_1")
    odd = [request(number, asked[0], **asked[1]) for number, (asked, _) in enumerate(ODD, 1)]
    huge = request(500, "tools/call", **call({"ttl": 10**30})[1])
    found = over_a_pipe(settings, early, hello(VERSION), *odd, huge)

    codes = {number: one["error"]["code"] for number, one in found.items() if "error" in one}  # type: ignore[index]
    assert codes.pop(501) == types.INVALID_PARAMS  # Nobody has said hello yet.
    assert codes == {number: code for number, (_, code) in enumerate(ODD, 1)}
    assert found[500]["result"]["task"]["ttl"] is None  # type: ignore[index]


def test_over_http_it_is_the_same_error(service: Running) -> None:
    more = {**HEADERS, "Authorization": "Bearer agent", "MCP_Protocol_Version": VERSION}
    for number, (asked, code) in enumerate(ODD, 1):
        body = json.dumps(request(number, asked[0], **asked[1])).encode()
        reply = service.call("POST", "/mcp", body, **more)
        error = reply.json["error"]
        assert isinstance(error, dict) and reply.status < 500
        assert (asked, error["code"]) == (asked, code)


def test_clients_of_before_are_offered_no_tasks_and_their_calls_are_calls(
    settings: Settings, service: Running
) -> None:
    asked = [request(1, "tools/list"), request(2, "tools/call", **call({})[1]), request(3, "tasks/list")]
    piped = over_a_pipe(settings, hello("2025-06-18"), *asked)
    more = {**HEADERS, "Authorization": "Bearer agent", "MCP_Protocol_Version": "2025-06-18"}
    bodies = [json.dumps(one).encode() for one in (hello("2025-06-18"), *asked)]
    posted = {
        reply["id"]: reply for reply in (service.call("POST", "/mcp", body, **more).json for body in bodies)
    }

    for found in (piped, posted):
        assert "tasks" not in found[0]["result"]["capabilities"]  # type: ignore[index]
        assert all("execution" not in tool for tool in found[1]["result"]["tools"])  # type: ignore[index]
        assert found[2]["result"]["structuredContent"]["status"] == "completed"  # type: ignore[index]
        assert found[3]["error"]["code"] == types.METHOD_NOT_FOUND  # type: ignore[index]


def test_the_newest_clients_are_offered_no_tasks(service: Running) -> None:
    with agent(over_http(url(service), "agent")) as bot:
        offered, tools = bot.capabilities(), bot.tools()

    assert offered is not None and offered.tasks is None
    assert all(tool.execution is None for tool in tools.values())


def test_giving_up_on_a_result_ends_the_waiting_and_not_the_task(settings: Settings) -> None:
    begin = request(1, *call({})[:1], **call({}, name="put")[1])
    begin["params"]["arguments"] = {"rexecop_target": "near", "text": "x"}  # type: ignore[index]
    command = [sys.executable, "-m", "rexecop", *words(settings, "--agent", AGENT, "--wait", "1")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None

        def say(message: Mapping[str, object]) -> None:
            assert process.stdin is not None
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()

        say(hello(VERSION))
        say(begin)
        task = [json.loads(process.stdout.readline()) for _ in range(2)][1]["result"]["task"]["taskId"]
        say(request(2, "tasks/result", taskId=task))
        gone = {"requestId": 2, "reason": "enough"}
        say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": gone})
        say(request(3, "tasks/get", taskId=task))
        answers = [json.loads(process.stdout.readline())]
        while answers[-1]["id"] != 3:
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        code = process.wait(SECONDS)

    assert answers[-1]["result"]["status"] == "input_required" and code == 0
    assert all("error" in one for one in answers[:-1])


def test_what_was_given_up_is_not_waited_for_when_the_input_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "GRACE_SECONDS", 10 * SECONDS)

    async def hear() -> list[object]:
        into, messages = anyio.create_memory_object_stream[SessionMessage | Exception](2)
        outgoing, faults = anyio.create_memory_object_stream[SessionMessage](0)
        reader = asyncio.StreamReader()
        for one in (request(2, "tasks/result"), {**request(0, stdio.CANCELLED, requestId=2), "id": None}):
            said = {name: value for name, value in one.items() if value is not None}
            reader.feed_data(json.dumps(said).encode() + b"\n")
        reader.feed_eof()
        with messages, faults:
            await asyncio.wait_for(stdio.Wire(reader, -1).read(into, outgoing), SECONDS)
            return [one async for one in messages]

    assert len(asyncio.run(hear())) == 2


def test_a_caller_that_goes_away_is_not_waited_for_any_more_nor_is_one_when_the_service_ends(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with open_instance(settings) as instance:
        caller, works = agent_caller(instance, AGENT), Works(instance)
        desk = Desk(instance, AgentDoor(), wait_seconds=300)
        waits, leaves = asyncio.Event(), asyncio.Event()

        async def run(work: Callable[[], Coroutine[object, object, T]]) -> T:
            waits.set()
            return await works.run(work)

        endpoint = McpEndpoint(desk, FixedDoor({"agent": caller}), Sites(None), run)

        async def ask(last: asyncio.Event) -> list[MutableMapping[str, object]]:
            """Return what a caller is told about a result who goes away at `last`."""
            asked = {"rexecop_target": "near", "text": "x"}
            begun = await works.run(lambda: desk.begin(caller, "put", asked))
            assert begun is not None
            body = json.dumps(request(1, "tasks/result", taskId=begun.operation_id)).encode()
            heard: list[MutableMapping[str, object]] = [{"type": "http.request", "body": body}]
            said: list[MutableMapping[str, object]] = []

            async def receive() -> MutableMapping[str, object]:
                if not heard:
                    await last.wait()
                return heard.pop() if heard else {"type": "http.disconnect"}

            async def send(message: MutableMapping[str, object]) -> None:
                said.append(message)

            await asyncio.wait_for(endpoint(scope(), receive, send), SECONDS)
            return said

        async def both() -> list[list[MutableMapping[str, object]]]:
            gone = asyncio.create_task(ask(leaves))
            await asyncio.wait_for(waits.wait(), SECONDS)
            leaves.set()
            said = [await gone]
            waits.clear()
            stays = asyncio.create_task(ask(asyncio.Event()))
            await asyncio.wait_for(waits.wait(), SECONDS)
            works.leave()
            said.append(await stays)
            await asyncio.to_thread(works.close)
            return said

        gone, stays = asyncio.run(both())
        gc.collect()

    assert gone == [] and stays[0]["status"] == 200
    error = json.loads(bytes(stays[1]["body"]))["error"]  # type: ignore[call-overload]
    assert (error["code"], error["data"]) == (types.INTERNAL_ERROR, {"code": "service-error"})
    assert caplog.text == ""  # What nobody waits for any more fails silently.


def scope() -> dict[str, object]:
    named = {
        "authorization": "Bearer agent",
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "host": "localhost",
    }
    return {
        "type": "http",
        "method": "POST",
        "path": "/mcp",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
    }
