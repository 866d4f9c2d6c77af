"""The lane for WebSockets, against a real server and peers that break the protocol."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp import WSMsgType, web

from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.streams import Bounds, Frame, Reconnect, Stop, WebSocketMessage
from rexecop.lanes.port import Chunk, LaneResult
from rexecop.lanes.websocket import WebSocketLane
from rexecop.proof.call import Call, Limits
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.peers import Peers, endpoint, exchange, free_port, with_message
from tests.lanes.support import LIMITS, call_lane, process, result_of, run, secrets_of

NONE = Isolation.NOT_APPLICABLE
SECRET = "hunter2-hunter2"
BOUNDS = Bounds()
GREETING = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

got: list[str | bytes] = []
closed: dict[str, int | None] = {}  # How the connection with that mark ended.
upgrades: list[web.Request] = []
ports: dict[str, int] = {}


async def echo(request: web.Request) -> web.StreamResponse:
    """Send every frame back; say the query first; close with the code of the query at the word `end`."""
    upgrades.append(request)
    socket = web.WebSocketResponse(protocols=("v2", "v1"))
    await socket.prepare(request)
    if "say" in request.query:
        await socket.send_str(request.query["say"])
    if "at-once" in request.query:
        await socket.close(code=int(request.query["at-once"]))
    async for message in socket:
        got.append(message.data)
        if message.data == "end":
            await socket.close(code=int(request.query["code"]))
        elif message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        else:
            await socket.send_bytes(message.data)
    closed[request.query.get("mark", "")] = socket.close_code
    return socket


async def flood(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    with suppress(ConnectionError):
        while True:
            await socket.send_str("x" * int(request.query["size"]))
    return socket


async def deaf(request: web.Request) -> web.StreamResponse:
    """Change to WebSocket and answer no ping."""
    socket = web.WebSocketResponse(autoping=False)
    await socket.prepare(request)
    async for _ in socket:
        pass
    return socket


async def other(request: web.Request) -> web.StreamResponse:
    return web.Response(status=int(request.query["status"]), headers={"Location": "/echo"})


def raw(data: bytes) -> object:
    """A peer that upgrades properly and then sends `data` and breaks off."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.split(b": ")[1] + GREETING).digest())
        writer.write(b"HTTP/1.1 101 Hello\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
        writer.write(b"Sec-WebSocket-Accept: %b\r\n\r\n%b" % (accept, data))
        await writer.drain()
        await asyncio.sleep(0.05)

    return talk


async def unproven(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Claim to speak WebSocket without having read the key."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 101 Hello\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n")
    await writer.drain()


RAW = {
    "half a frame": b"\x81\x7e\x10\x00abc",
    "a masked frame": b"\x81\x81\x00\x00\x00\x00a",
    "an unknown opcode": b"\x83\x01a",
    "reserved bits": b"\xf1\x01a",
    "text that is no UTF-8": b"\x81\x01\xff",
    "a close code that is none": b"\x88\x02\x03\xed",
    "nothing": b"",
    "a close frame without a code": b"\x88\x00",
    "a frame that says it is huge": b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff",
}


@pytest.fixture(scope="module", autouse=True)
def peers() -> Iterator[None]:
    servers = Peers()
    handlers = (echo, flood, deaf, other)
    ports["http"] = servers.http({f"GET /{handler.__name__}": handler for handler in handlers})
    ports["unproven"] = servers.raw(unproven)
    for name, data in RAW.items():
        ports[name] = servers.raw(raw(data))  # type: ignore[arg-type]
    yield
    servers.close()


def talk(
    path: str,
    stop: Stop,
    *frames: str | bytes,
    port: str = "http",
    query: dict[str, str] | None = None,
    effect: Effect = Effect.READ,
    subprotocols: tuple[str, ...] = (),
    reconnect: Reconnect | None = None,
    heartbeat_ms: int = 0,
    bounds: Bounds = BOUNDS,
) -> Call:
    message = WebSocketMessage(
        http=endpoint(ports[port], path, query),
        stop=stop,
        frames=tuple(
            Frame(text=frame) if isinstance(frame, str) else Frame(base64=base64.b64encode(frame).decode())
            for frame in frames
        ),
        subprotocols=subprotocols,
        reconnect=reconnect,
        heartbeat_ms=heartbeat_ms,
        bounds=bounds,
    )
    return exchange("websocket/1", message, effect=effect)


def ended(call: Call, limits: Limits = LIMITS) -> LaneResult:
    return result_of(call_lane(WebSocketLane(secrets=secrets_of()), call, limits=limits, isolation=NONE))


def frames_of(result: LaneResult) -> list[dict[str, str]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def closed_as(mark: str) -> int | None:
    """How the server saw the connection with `mark` end; it may learn of it after we do."""
    deadline = time.monotonic() + 60
    while mark not in closed and time.monotonic() < deadline:
        time.sleep(0.005)
    return closed[mark]


class TestContract(LaneContract):
    lane = WebSocketLane(secrets=secrets_of())
    isolation = NONE

    def saying(self, text: str) -> Call:
        return talk("echo", Stop(count=1), text)

    def said(self, text: str) -> bytes:
        return json.dumps({"text": text}, separators=(",", ":")).encode() + b"\n"

    def failing(self) -> Call:
        return talk("nowhere", Stop(count=1))

    def slow(self) -> Call:
        return talk("echo", Stop(count=2), "one")

    def foreign(self) -> Call:
        return process("/bin/true")


def test_frames_are_sent_exactly_and_what_comes_is_shown() -> None:
    got.clear()
    result = ended(talk("echo", Stop(count=3), "ä", b"\0\xff", ""))

    assert got == ["ä", b"\0\xff", ""]
    assert frames_of(result) == [{"text": "ä"}, {"binary": "AP8="}, {"text": ""}]
    assert result.data == {"stopped_by": "count", "events": 3}


@pytest.mark.parametrize(
    ("stop", "condition", "count"),
    [
        (Stop(pointer="/ok", equals=True), "match", 2),
        (Stop(event="binary"), "match", 3),
        (Stop(count=9, after_ms=1_000), "time", 4),
    ],
)
def test_a_stream_ends_well_by_its_condition(stop: Stop, condition: str, count: int) -> None:
    result = ended(talk("echo", stop, "[1]", '{"ok": true}', b"{}", "more"))

    assert (result.ended, result.data) == (Ended.OK, {"stopped_by": condition, "events": count})


def test_our_side_closes_normally_when_it_has_heard_enough() -> None:
    ended(talk("echo", Stop(count=1), "one", query={"mark": "enough"}))

    assert closed_as("enough") == 1000


def test_a_normal_close_of_the_other_side_ends_well_where_that_is_a_condition() -> None:
    query = {"code": "1000"}

    assert ended(talk("echo", Stop(closed=True), "end", query=query)).data == {
        "stopped_by": "closed",
        "events": 0,
    }
    assert ended(talk("echo", Stop(count=1), "end", query=query)).failure is Failure.STREAM_ENDED


@pytest.mark.parametrize(
    ("code", "failure"),
    [
        (1001, Failure.STREAM_ENDED),
        (1002, Failure.PROTOCOL_ERROR),
        (1003, Failure.UNSUPPORTED),
        (1008, Failure.REMOTE_ERROR),
        (1009, Failure.REQUEST_INVALID),
        (1011, Failure.REMOTE_ERROR),
        (1013, Failure.TRANSIENT_CONNECTOR_ERROR),
        (3000, Failure.AUTH_FAILED),
        (4711, Failure.REMOTE_ERROR),
    ],
)
def test_a_close_code_says_why_a_read_failed_and_leaves_a_change_unknown(code: int, failure: Failure) -> None:
    call = talk("echo", Stop(closed=True), "end", query={"code": str(code)})
    read, change = ended(call), ended(replace(call, effect=Effect.CHANGE))

    assert (read.ended, read.failure, read.status) == (Ended.FAILED, failure, code)
    assert (change.ended, change.failure, change.status) == (Ended.UNKNOWN, failure, code)


def test_a_change_never_connected_did_not_happen() -> None:
    ports["nobody"] = free_port()
    refused = ended(talk("echo", Stop(count=1), "x", port="nobody", effect=Effect.CHANGE))
    no_upgrade = ended(talk("other", Stop(count=1), "x", query={"status": "503"}, effect=Effect.CHANGE))
    without_frames = ended(talk("other", Stop(count=1), query={"status": "502"}, effect=Effect.CHANGE))

    assert (refused.ended, refused.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
    assert (no_upgrade.ended, no_upgrade.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
    # Where connecting is all the call does, whoever answered for the server may have passed it on.
    assert without_frames.ended is Ended.UNKNOWN


@pytest.mark.parametrize(
    ("status", "failure"),
    [(200, Failure.PROTOCOL_ERROR), (302, Failure.REDIRECTED), (401, Failure.AUTH_FAILED)],
)
def test_an_answer_that_is_no_upgrade_failed(status: int, failure: Failure) -> None:
    upgrades.clear()
    result = ended(talk("other", Stop(count=1), query={"status": str(status)}))

    assert (result.ended, result.failure, upgrades) == (Ended.FAILED, failure, [])


def test_the_other_side_has_to_choose_a_subprotocol_it_was_offered() -> None:
    chosen = ended(talk("echo", Stop(count=1), "x", subprotocols=("v1", "v2")))
    none = ended(talk("echo", Stop(count=1), "x", subprotocols=("v9",)))

    assert (chosen.measured.facts or {})["subprotocol"] == "v1"
    assert (none.ended, none.failure) == (Ended.FAILED, Failure.PROTOCOL_ERROR)


def test_an_upgrade_without_proof_is_none() -> None:
    result = ended(talk("echo", Stop(count=1), port="unproven"))

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.PROTOCOL_ERROR)


@pytest.mark.parametrize("port", RAW)
def test_a_peer_that_breaks_the_protocol_is_a_result_and_never_a_good_one(port: str) -> None:
    result = ended(talk("echo", Stop(closed=True), port=port))
    change = ended(talk("echo", Stop(closed=True), "x", port=port, effect=Effect.CHANGE))

    assert result.ended is Ended.FAILED
    assert result.failure in (Failure.PROTOCOL_ERROR, Failure.STREAM_ENDED, Failure.OUTPUT_LIMIT)
    assert change.ended is Ended.UNKNOWN


@pytest.mark.parametrize(("port", "code"), [("nothing", 1006), ("a close frame without a code", 1005)])
def test_an_end_without_a_code_is_never_taken_for_a_normal_one(port: str, code: int) -> None:
    result = ended(talk("echo", Stop(closed=True), port=port))

    assert (result.ended, result.failure, result.status) == (Ended.FAILED, Failure.STREAM_ENDED, code)


def test_floods_and_large_frames_are_ended() -> None:
    many = ended(talk("flood", Stop(count=10**9), query={"size": "10"}, bounds=Bounds(total_bytes=10_000)))
    large = ended(talk("flood", Stop(count=10**9), query={"size": "2000"}, bounds=Bounds(event_bytes=1_000)))

    assert (many.ended, many.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
    assert (large.ended, large.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)


def test_a_peer_that_answers_no_ping_is_lost_and_one_that_does_is_not() -> None:
    deaf_ = ended(talk("deaf", Stop(count=1), heartbeat_ms=60))
    alive = ended(talk("echo", Stop(count=9, after_ms=1_200), heartbeat_ms=500))

    assert (deaf_.ended, deaf_.failure) == (Ended.FAILED, Failure.STREAM_ENDED)
    assert (alive.ended, alive.data) == (Ended.OK, {"stopped_by": "time", "events": 0})


def test_a_lost_connection_is_opened_again_only_where_nothing_was_sent() -> None:
    again = talk(
        "echo",
        Stop(count=3),
        query={"say": "hi", "at-once": "1001"},
        reconnect=Reconnect(count=2, delay_ms_max=1),
    )
    upgrades.clear()
    result = ended(again)

    assert (result.ended, len(upgrades), len(frames_of(result))) == (Ended.OK, 3, 3)

    for refused in (
        with_message(again, frames=[{"text": "x"}]),
        replace(again, effect=Effect.CHANGE),
    ):
        assert ended(refused).failure is Failure.REQUEST_INVALID


@pytest.mark.parametrize("frame", [{}, {"text": "a", "base64": ""}, {"base64": "?"}, {"word": "a"}])
def test_a_frame_that_is_none_is_refused(frame: dict[str, str]) -> None:
    result = ended(with_message(talk("echo", Stop(count=1)), frames=[frame]))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


def test_a_secret_is_sent_and_shown_nowhere() -> None:
    got.clear()
    places = [{"text": f"a {SECRET}"}, {"base64": base64.b64encode(SECRET.encode()).decode()}]
    call = with_message(talk("echo", Stop(count=3)), frames=[{"text": {"secret": "api"}}, *places])

    found = call_lane(WebSocketLane(secrets=secrets_of(api=SECRET.encode())), call, isolation=NONE)

    assert got == [SECRET, f"a {SECRET}", SECRET.encode()]
    assert result_of(found).redactions == 3
    assert SECRET not in repr(found) and places[1]["base64"] not in repr(found)


def test_the_outcome_commits_to_every_frame() -> None:
    found = call_lane(
        WebSocketLane(secrets=secrets_of()), talk("echo", Stop(count=3), "a", "b", "c"), isolation=NONE
    )
    leaves = [leaf_hash(event.data) for event in found if isinstance(event, Chunk)]

    facts = result_of(found).measured.facts or {}
    assert facts["stream"] == {"chunks": 3, "bytes": 39, "root": f"sha256:{root_of(leaves).hex()}"}


def test_a_call_closed_early_closes_its_connection_properly() -> None:
    async def first_and_close() -> None:
        opened = WebSocketLane(secrets=secrets_of()).open(
            talk("echo", Stop(count=9), "one", query={"mark": "early"}), LIMITS, NONE, 1, lambda: None
        )
        assert isinstance(await anext(opened), Chunk)
        await opened.aclose()  # type: ignore[attr-defined]

    run(first_and_close())

    assert closed_as("early") == 1000
