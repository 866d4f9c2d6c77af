"""The lane for JSON-RPC, over HTTP, a Unix socket and a program, against peers that do and do not behave."""

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.jsonrpc import JsonRpcLane
from rexecop.lanes.messages.jsonrpc import Ask, JsonRpcMessage, Program, UnixSocket
from rexecop.lanes.port import Asks, Chunk, LaneEvent, LaneResult, Made
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.peers import Peers, endpoint, exchange, free_port, with_message
from tests.lanes.support import LIMITS, call_lane, out_of_time, process, result_of, run, secrets_of
from tests.needs import needs

NONE = Isolation.NOT_APPLICABLE
SECRET = "hunter2-hunter2"
GRADES = {Isolation.NONE: Grade.SHAPE, Isolation.BUBBLEWRAP: Grade.CONTAINED}

heard: list[Json] = []
places: dict[str, str] = {}

# A peer on standard streams that behaves; anything else it is asked for it refuses.
PEER = """
import json, sys, time
for line in sys.stdin:
    asked = json.loads(line)
    method, params = asked["method"], asked.get("params") or {}
    answer = {"jsonrpc": "2.0", "id": asked.get("id")}
    if method == "say":
        answer["result"] = params["text"]
    elif method == "slow":
        time.sleep(30)
    elif method == "grumble":
        print("something is odd", file=sys.stderr, flush=True)
        answer["result"] = None
    elif method == "die":
        sys.exit(3)
    elif method == "write":
        open(params["path"], "w").write("x")
        answer["result"] = "written"
    else:
        answer["error"] = {"code": -32601, "message": "no such method", "data": params}
    if "id" in asked:
        print(json.dumps(answer), flush=True)
"""


def answer_to(asked: Mapping[str, Json]) -> Json:
    """What a peer that behaves says to one request."""
    answer: dict[str, Json] = {"jsonrpc": "2.0", "id": asked.get("id")}
    params = asked.get("params")
    if asked["method"] == "say" and isinstance(params, dict):
        return {**answer, "result": params["text"]}
    if asked["method"] == "error" and isinstance(params, dict):
        return {**answer, "error": {"code": params["code"], "message": "it went wrong"}}
    return {**answer, "result": {"asked": dict(asked)}}


async def behaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each line; to `chat` with a request and notifications of its own in between, to `slow` never."""
    while line := await reader.readline():
        asked = json.loads(line)
        heard.append(asked)
        if isinstance(asked, list):
            answers = [answer_to(item) for item in reversed(asked) if "id" in item]
            writer.write(json.dumps(answers).encode() + b"\n")
        elif asked.get("method") == "chat":
            writer.write(
                b'{"jsonrpc": "2.0", "method": "progress", "params": {"of": "' + SECRET.encode() + b'"}}\n'
            )
            writer.write(
                b'{"jsonrpc": "2.0", "id": "mine", "method": "sampling/createMessage", "params": {}}\n'
            )
            heard.append(json.loads(await reader.readline()))
            writer.write(json.dumps(answer_to(asked)).encode() + b"\n")
        elif asked.get("method") != "slow":
            writer.write(json.dumps(answer_to(asked)).encode() + b"\n")
        await writer.drain()


async def with_lengths(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while head := await reader.readuntil(b"\r\n\r\n"):
        asked = json.loads(await reader.readexactly(int(head.split(b":")[1])))
        answer = json.dumps(answer_to(asked), ensure_ascii=False).encode()
        writer.write(
            b"Content-Type: application/vscode-jsonrpc\r\nContent-Length: %d\r\n\r\n%b"
            % (len(answer), answer)
        )
        await writer.drain()


def saying(data: bytes, *, again: bool = False) -> object:
    """A peer that answers a request by `data`, once or for ever, and then hangs up."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(data)
        await writer.drain()
        while again:
            writer.write(data)
            await writer.drain()

    return talk


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    for byte in b'{"jsonrpc": "2.0", "id": 1, "result": "at last"}' * 100:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.01)


GOOD = b'{"jsonrpc": "2.0", "id": 1, "result": 1}\n'
HOSTILE: Mapping[str, tuple[object, Failure]] = {
    "says nothing": (saying(b""), Failure.STREAM_ENDED),
    "hangs up in a message": (saying(GOOD[:20]), Failure.STREAM_ENDED),
    "answers what nobody asked": (saying(GOOD.replace(b"1,", b"7,")), Failure.PROTOCOL_ERROR),
    "answers by text": (saying(GOOD.replace(b"1,", b'"1",')), Failure.PROTOCOL_ERROR),
    "answers by null": (saying(GOOD.replace(b"1,", b"null,")), Failure.PROTOCOL_ERROR),
    "answers by a truth value": (saying(GOOD.replace(b"1,", b"true,")), Failure.PROTOCOL_ERROR),
    "answers in an array": (saying(b"[" + GOOD[:-1] + b"]\n"), Failure.PROTOCOL_ERROR),
    "repeats a key": (saying(GOOD.replace(b'"id": 1', b'"id": 1, "id": 1')), Failure.PROTOCOL_ERROR),
    "nests deeply": (
        saying(GOOD.replace(b'"result": 1', b'"result": ' + b"[" * 5000 + b"]" * 5000)),
        Failure.PROTOCOL_ERROR,
    ),
    "uses another framing": (saying(b"Content-Length: 5\r\n\r\nhello"), Failure.PROTOCOL_ERROR),
    "never ends a line": (saying(b"x" * 65_536, again=True), Failure.OUTPUT_LIMIT),
    "notifies without end": (
        saying(b'{"jsonrpc": "2.0", "method": "n"}\n' * 100, again=True),
        Failure.OUTPUT_LIMIT,
    ),
    "asks without end": (
        saying(b'{"jsonrpc": "2.0", "id": 5, "method": "n"}\n' * 9, again=True),
        Failure.TIMEOUT,
    ),
    "drips": (drip, Failure.TIMEOUT),
    "cannot read": (
        saying(b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "?"}}\n'),
        Failure.REQUEST_INVALID,
    ),
}


async def post(request: web.Request) -> web.StreamResponse:
    """Behave over HTTP; the method `status` is answered by that status without a body."""
    asked = await request.json()
    heard.append(asked)
    if isinstance(asked, list):
        return web.json_response([answer_to(item) for item in asked if "id" in item])
    params = asked.get("params") or {}
    if asked["method"] == "status":
        return web.Response(status=params["code"], headers={"Location": "/post"})
    if asked["method"] == "broken":
        return web.json_response(
            {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32603, "message": "?"}}, status=500
        )
    if asked["method"] == "text":
        return web.Response(text="hello")
    if asked["method"] == "slow":
        await asyncio.sleep(30)
    return web.json_response(answer_to(asked))


@pytest.fixture(scope="module", autouse=True)
def peers() -> Iterator[None]:
    servers = Peers()
    with tempfile.TemporaryDirectory(prefix="rexecop-", dir="/var/tmp") as folder:
        home = Path(folder)
        places.update(folder=folder, port=str(servers.http({"POST /post": post})))
        places["unix"] = servers.unix(home / "rpc", behaving)
        places["lengths"] = servers.unix(home / "lengths", with_lengths)
        for index, (name, (talk, _)) in enumerate(HOSTILE.items()):
            places[name] = servers.unix(home / str(index), talk)  # type: ignore[arg-type]
        yield
        servers.close()


@pytest.fixture(scope="module")
def lane() -> Iterator[JsonRpcLane]:
    lane = JsonRpcLane(secrets=secrets_of(api=SECRET.encode()), isolation=GRADES, hidden=())
    yield lane
    lane.close()


def http(*asks: Ask, batch: bool = False, effect: Effect = Effect.READ) -> Call:
    message = JsonRpcMessage(
        http=endpoint(int(places["port"]), "post", method="POST"), asks=asks, batch=batch
    )
    return exchange("jsonrpc/1", message, effect=effect)


def unix(
    *asks: Ask, at: str = "unix", batch: bool = False, framing: str = "newline", effect: Effect = Effect.READ
) -> Call:
    message = JsonRpcMessage(unix=UnixSocket(path=places[at]), asks=asks, batch=batch, framing=framing)
    return exchange("jsonrpc/1", message, effect=effect)


def program(*asks: Ask, effect: Effect = Effect.READ, **more: object) -> Call:
    started = Program(argv=(sys.executable, "-I", "-S", "-c", PEER), **more)  # type: ignore[arg-type]
    return exchange("jsonrpc/1", JsonRpcMessage(program=started, asks=asks), effect=effect)


def say(text: str) -> Ask:
    return Ask(method="say", params={"text": text})


SLOW = Ask(method="slow")


class _Contract(LaneContract):
    isolation = NONE

    @pytest.fixture(autouse=True)
    def _use(self, lane: JsonRpcLane) -> None:
        self.lane = lane

    def make(self, ask: Ask) -> Call:
        raise NotImplementedError

    def saying(self, text: str) -> Call:
        return self.make(say(text))

    def said(self, text: str) -> bytes:
        return json.dumps(text).encode()

    def failing(self) -> Call:
        return self.make(Ask(method="error", params={"code": -1}))

    def slow(self) -> Call:
        return self.make(SLOW)

    def foreign(self) -> Call:
        return process("/bin/true")


def chatting(result: Json = "yes") -> tuple[Call, Call]:
    """A call in whose course the peer asks for `sampling/createMessage`, and the answer that is prepared."""
    way: dict[str, Json] = {"unix": {"path": places["unix"]}, "framing": "newline"}
    answer: Json = {"method": "sampling/createMessage", "result": result}
    prepared: list[Json] = [{"action": "confirm", "effect": "change", "reply": answer}]
    chat = with_message(
        unix(Ask(method="chat")), **way, asks=[{"method": "chat", "params": [1]}], replies=prepared
    )
    assert isinstance(chat.request, ExchangeRequest)
    given = replace(chat.request, message={**way, "reply": answer})
    return chat, replace(chat, action="confirm", effect=Effect.CHANGE, request=given)


class TestOverUnix(_Contract):
    def make(self, ask: Ask) -> Call:
        return unix(ask)

    def asking_leave(self) -> tuple[Call, Call]:
        return chatting()


class TestOverHttp(_Contract):
    def make(self, ask: Ask) -> Call:
        return http(ask)


class TestOverProgram(_Contract):
    isolation = Isolation.NONE

    def make(self, ask: Ask) -> Call:
        return program(ask)


def ended(lane: JsonRpcLane, call: Call, limits: Limits = LIMITS, isolation: Isolation = NONE) -> LaneResult:
    return result_of(call_lane(lane, call, limits=limits, isolation=isolation))


@pytest.mark.parametrize("make", [unix, http])
def test_what_is_asked_is_exactly_what_is_sent(lane: JsonRpcLane, make: object) -> None:
    assert callable(make)
    heard.clear()
    result = ended(lane, make(Ask(method="list", params=[1, "ä", None, {"a": True}])))

    sent = {"jsonrpc": "2.0", "id": 1, "method": "list", "params": [1, "ä", None, {"a": True}]}
    assert heard == [sent]
    assert json.loads(result.stdout) == {"asked": sent}
    assert result.data == {"result": {"asked": sent}}


@pytest.mark.parametrize("make", [unix, http])
def test_a_batch_is_one_array_and_its_answers_keep_the_order_of_the_questions(
    lane: JsonRpcLane, make: object
) -> None:
    assert callable(make)
    heard.clear()
    result = ended(lane, make(say("a"), Ask(method="note", notify=True), say("b"), batch=True))

    assert isinstance(heard[0], list)
    assert [item.get("id") for item in heard[0] if isinstance(item, dict)] == [1, None, 2]
    assert json.loads(result.stdout) == [{"result": "a"}, {"result": "b"}]
    assert (result.ended, (result.measured.facts or {})["notified"]) == (Ended.OK, 1)


def test_a_batch_with_an_error_in_it_failed_and_shows_all_answers(lane: JsonRpcLane) -> None:
    result = ended(lane, unix(say("a"), Ask(method="error", params={"code": -32000}), batch=True))

    assert (result.ended, result.failure, result.status) == (Ended.FAILED, Failure.REMOTE_ERROR, -32000)
    assert result.message == "1 of 2 requests failed, the first with error -32000: it went wrong"
    assert json.loads(result.stdout)[0] == {"result": "a"}


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (-32700, Failure.REQUEST_INVALID),
        (-32600, Failure.REQUEST_INVALID),
        (-32601, Failure.UNSUPPORTED),
        (-32602, Failure.REQUEST_INVALID),
        (-32603, Failure.REMOTE_ERROR),
        (-32000, Failure.REMOTE_ERROR),
        (42, Failure.REMOTE_ERROR),
    ],
)
def test_an_error_is_an_answer_also_to_a_change(lane: JsonRpcLane, code: int, failure: Failure) -> None:
    call = unix(Ask(method="error", params={"code": code}), effect=Effect.CHANGE)
    result = ended(lane, call)

    assert (result.ended, result.failure, result.status) == (Ended.FAILED, failure, code)
    assert json.loads(result.stdout)["message"] == "it went wrong"


def test_the_other_side_may_notify_and_ask_and_is_told_that_there_is_no_such_method(
    lane: JsonRpcLane,
) -> None:
    heard.clear()
    call = with_message(unix(Ask(method="chat")), asks=[{"method": "chat", "params": [{"secret": "api"}]}])
    found = call_lane(lane, call, isolation=NONE)

    assert heard[1] == {
        "jsonrpc": "2.0",
        "id": "mine",
        "error": {"code": -32601, "message": "method not found"},
    }
    (note,) = [event.data for event in found if isinstance(event, Chunk) and event.stream == "stderr"]
    assert json.loads(note) == {"jsonrpc": "2.0", "method": "progress", "params": {"of": "[redacted]"}}
    assert json.loads(result_of(found).stdout)["asked"]["params"] == ["[redacted]"]
    assert SECRET not in repr(found)


def test_a_prepared_answer_goes_out_with_leave_and_nothing_is_told_without(
    lane: JsonRpcLane,
) -> None:
    heard.clear()
    chat, _ = chatting({"secret": "api"})

    async def made(*, allows: bool) -> list[LaneEvent]:
        events = []
        async for event in lane.open(chat, LIMITS, NONE, 1, lambda: None):
            events.append(event)
            if isinstance(event, Asks) and allows:
                event.allow(lambda: None)
        return events

    found = run(made(allows=True)) + run(made(allows=False))

    assert [heard[1], heard[3]] == [
        {"jsonrpc": "2.0", "id": "mine", "result": SECRET},
        {"jsonrpc": "2.0", "id": "mine", "error": {"code": -32601, "message": "method not found"}},
    ]
    assert [event.result.ended for event in found if isinstance(event, Made)] == [Ended.OK]
    assert SECRET not in repr([event for event in found if not isinstance(event, Asks | Made)])
    assert SECRET not in repr([vars(event.asks)["call"] for event in found if isinstance(event, Made)])


def test_a_leave_that_ran_out_meanwhile_answers_nothing(lane: JsonRpcLane) -> None:
    heard.clear()

    def gone() -> None:
        raise ClearanceRefused(Failure.PERMIT_EXPIRED, "too late")

    async def made() -> list[LaneEvent]:
        events = []
        async for event in lane.open(chatting()[0], LIMITS, NONE, 1, lambda: None):
            events.append(event)
            if isinstance(event, Asks):
                event.allow(gone)
        return events

    found = run(made())

    assert not [event for event in found if isinstance(event, Made)]
    assert isinstance(heard[1], dict) and "error" in heard[1]
    assert result_of(found).ended is Ended.OK


def test_an_answer_is_no_call_of_its_own(lane: JsonRpcLane) -> None:
    result = ended(lane, chatting()[1])

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_peer_that_does_not_behave_is_a_result(lane: JsonRpcLane, name: str) -> None:
    limits = replace(LIMITS, timeout_ms=500) if HOSTILE[name][1] is Failure.TIMEOUT else LIMITS
    read = ended(lane, unix(say("x"), at=name), limits)
    change = ended(lane, unix(say("x"), at=name, effect=Effect.CHANGE), limits)

    # A fast machine is asked too much before the time is up.
    also = Failure.OUTPUT_LIMIT if name == "asks without end" else None
    assert read.ended is Ended.FAILED and read.failure in (HOSTILE[name][1], also)
    answered = name == "cannot read"
    assert change.ended is (Ended.FAILED if answered else Ended.UNKNOWN)


def test_lengths_frame_messages_where_that_is_agreed(lane: JsonRpcLane) -> None:
    result = ended(lane, unix(say("ä\n"), at="lengths", framing="content-length"))

    assert json.loads(result.stdout) == "ä\n"


def test_the_user_who_listens_is_recorded_and_can_be_held_to(lane: JsonRpcLane) -> None:
    call = unix(say("x"))
    result = ended(lane, call)
    heard.clear()
    other = ended(lane, with_message(call, unix={"path": places["unix"], "uid": os.getuid() + 1}))

    assert (result.measured.facts or {})["peer_uid"] == os.getuid()
    assert (other.ended, other.failure, heard) == (Ended.FAILED, Failure.AUTH_FAILED, [])


@pytest.mark.parametrize(
    ("code", "failure", "of_change"),
    [
        (302, Failure.REDIRECTED, Ended.UNKNOWN),
        (401, Failure.AUTH_FAILED, Ended.FAILED),
        (502, Failure.TRANSIENT_CONNECTOR_ERROR, Ended.UNKNOWN),
        (204, Failure.STREAM_ENDED, Ended.UNKNOWN),
    ],
)
def test_a_status_that_is_no_answer(lane: JsonRpcLane, code: int, failure: Failure, of_change: Ended) -> None:
    call = http(Ask(method="status", params={"code": code}))
    read, change = ended(lane, call), ended(lane, replace(call, effect=Effect.CHANGE))

    assert (read.ended, read.failure, read.status) == (Ended.FAILED, failure, code)
    assert (change.ended, change.failure) == (of_change, failure)


def test_an_error_of_jsonrpc_counts_whatever_the_status(lane: JsonRpcLane) -> None:
    result = ended(lane, http(Ask(method="broken"), effect=Effect.CHANGE))

    assert (result.ended, result.failure, result.status) == (Ended.FAILED, Failure.REMOTE_ERROR, -32603)
    assert ended(lane, http(Ask(method="text"))).failure is Failure.PROTOCOL_ERROR


def test_a_change_that_was_never_sent_did_not_happen(lane: JsonRpcLane) -> None:
    places["port"], port = str(free_port()), places["port"]
    nobody = http(say("x"), effect=Effect.CHANGE)
    places["port"] = port
    nowhere = with_message(unix(say("x"), effect=Effect.CHANGE), unix={"path": "/nowhere/at/all"})

    for call in (nobody, nowhere):
        result = ended(lane, call)
        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)


@pytest.mark.parametrize(
    "message",
    [
        {"unix": None},
        {"http": {"origin": {"scheme": "http", "host": "127.0.0.1", "port": 1}, "path": ["x"]}},
        {"unix": {"path": "relative"}},
        {"unix": {"path": "/" + "x" * 200}},
        {"framing": "tabs"},
        {"asks": []},
        {"asks": [{"method": "a"}, {"method": "b"}]},
        {"asks": [{"method": "a", "notify": True}]},
        {"asks": [{"method": "rpc.internal"}]},
        {"asks": [{"method": "a", "params": 1}]},
        {"asks": [{"method": "a"}] * 65, "batch": True},
        {"mcp": {"tool": "a"}},
        {"asks": [], "mcp": {"tool": "a", "version": "1"}},
        {"asks": [], "mcp": {"arguments": {}}},
        {"asks": [], "mcp": {}, "framing": "content-length"},
    ],
    ids=str,
)
def test_a_message_that_says_nothing_askable_is_refused_before_anything_is_sent(
    lane: JsonRpcLane, message: dict[str, Json]
) -> None:
    heard.clear()
    call = unix(say("x"))
    assert isinstance(call.request, ExchangeRequest)
    wanted = {key: value for key, value in {**call.request.message, **message}.items() if value is not None}
    call = replace(call, request=replace(call.request, message=wanted))

    result = ended(lane, call)

    assert (result.ended, result.failure, heard) == (Ended.REFUSED, Failure.REQUEST_INVALID, [])


class TestPrograms:
    def test_what_a_program_grumbles_is_kept_beside_its_answer(self, lane: JsonRpcLane) -> None:
        result = ended(lane, program(Ask(method="grumble")), isolation=Isolation.NONE)

        assert (result.stdout, result.stderr) == (b"null", b"something is odd\n")

    def test_a_program_that_ends_before_it_answers_leaves_a_change_unknown(self, lane: JsonRpcLane) -> None:
        result = ended(lane, program(Ask(method="die"), effect=Effect.CHANGE), isolation=Isolation.NONE)

        assert (result.ended, result.failure) == (Ended.UNKNOWN, Failure.STREAM_ENDED)
        assert result.message == "the program ended with status 3 before it answered"

    @needs("bwrap")
    def test_a_program_runs_in_the_class_of_the_call_and_reads_what_it_contains(
        self, lane: JsonRpcLane
    ) -> None:
        path = Path(places["folder"]) / "file"
        write = Ask(method="write", params={"path": str(path)})
        read = ended(lane, program(say("x")), isolation=Isolation.BUBBLEWRAP)
        denied = ended(lane, program(write), isolation=Isolation.BUBBLEWRAP)
        there = path.exists()
        written = ended(
            lane,
            program(write, writable=(places["folder"],), effect=Effect.CHANGE),
            isolation=Isolation.BUBBLEWRAP,
        )

        assert (read.ended, read.measured.network) == (Ended.OK, "none")
        assert (read.measured.facts or {})["grade"] == "contained"
        assert (denied.ended, there) == (Ended.FAILED, False)
        assert (written.ended, path.read_text()) == (Ended.OK, "x")

    def test_a_program_ends_with_the_call_and_all_it_started(self, lane: JsonRpcLane) -> None:
        mark = f"rexecop-{os.getpid()}"
        script = (
            "import subprocess, sys, time; subprocess.Popen(['sleep', '77']); "
            f"print('{mark}', file=sys.stderr, flush=True); time.sleep(77)"
        )
        call = with_message(program(say("x")), program={"argv": [sys.executable, "-I", "-S", "-c", script]})

        result = out_of_time(
            lambda limits: ended(lane, call, limits, Isolation.NONE),
            lambda found: mark.encode() in found.stderr,
        )

        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TIMEOUT)
        assert mark.encode() in result.stderr
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [line for line in running if mark.encode() in line or line == b"sleep\x0077\x00"]

    def test_a_program_that_hears_neither_the_end_of_its_input_nor_a_request_is_ended_with_the_call(
        self, lane: JsonRpcLane
    ) -> None:
        mark = f"rexecop-deaf-{os.getpid()}"
        script = (
            f"import signal, time; '{mark}'; signal.signal(signal.SIGTERM, signal.SIG_IGN); input()\n"
            """print('{"jsonrpc": "2.0", "id": 1, "result": "x"}', flush=True); time.sleep(77)"""
        )
        call = with_message(program(say("x")), program={"argv": [sys.executable, "-I", "-S", "-c", script]})

        result = ended(lane, call, replace(LIMITS, grace_ms=50), Isolation.NONE)

        assert (result.ended, result.stdout) == (Ended.OK, b'"x"')
        running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
        assert not [line for line in running if mark.encode() in line]

    @pytest.mark.parametrize(
        ("argv", "env", "failure"),
        [
            (["/nowhere/at/all"], {}, Failure.NOT_FOUND),
            ([], {}, Failure.REQUEST_INVALID),
            (["/bin/cat", {"secret": "api"}], {}, Failure.REQUEST_INVALID),
            (["/bin/cat", "a\0b"], {}, Failure.REQUEST_INVALID),
        ],
    )
    def test_a_program_that_cannot_be_started_is_refused(
        self, lane: JsonRpcLane, argv: list[Json], env: dict[str, Json], failure: Failure
    ) -> None:
        call = with_message(program(say("x"), effect=Effect.CHANGE), program={"argv": argv, "env": env})
        result = ended(lane, call, isolation=Isolation.NONE)

        assert (result.ended, result.failure) == (Ended.REFUSED, failure)

    def test_isolation_goes_with_programs_and_with_nothing_else(self, lane: JsonRpcLane) -> None:
        for call, isolation in ((program(say("x")), NONE), (unix(say("x")), Isolation.NONE)):
            result = ended(lane, call, isolation=isolation)
            assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ISOLATION_UNAVAILABLE)


def test_a_call_closed_early_ends_its_program(lane: JsonRpcLane) -> None:
    async def first_and_close() -> None:
        async with asyncio.timeout(60):
            opened = lane.open(program(Ask(method="slow")), LIMITS, Isolation.NONE, 1, lambda: None)
            task = asyncio.ensure_future(anext(opened))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await opened.aclose()  # type: ignore[attr-defined]

    run(first_and_close())

    running = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    assert not [line for line in running if PEER.encode() in line]
