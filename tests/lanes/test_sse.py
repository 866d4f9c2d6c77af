"""The lane for server-sent events, against a real server."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import pytest
from aiohttp import web

from rexecop.lanes.errors import Stopped
from rexecop.lanes.exchanging import Exchange
from rexecop.lanes.failures import Failure
from rexecop.lanes.listening import Listening
from rexecop.lanes.messages.streams import Bounds, Reconnect, SseMessage, Stop
from rexecop.lanes.port import Chunk, LaneResult
from rexecop.lanes.sse import SseLane
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.merkle import leaf_hash, root_of
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.contract import BRIEF, LaneContract
from tests.lanes.peers import Peers, endpoint, exchange, free_port
from tests.lanes.support import LIMITS, call_lane, process, result_of, run, secrets_of

NONE = Isolation.NOT_APPLICABLE
SECRET = "hunter2-hunter2"
BOUNDS = Bounds()

seen: list[web.Request] = []
ports: dict[str, int] = {}


async def events(request: web.Request) -> web.StreamResponse:
    """Say the text of the query, then nothing."""
    seen.append(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    text = request.query.get("say", "")
    await response.write("".join(f"data: {line}\n" for line in text.split("\n")).encode() + b"\n")
    await asyncio.sleep(30)
    return response


async def script(request: web.Request) -> web.StreamResponse:
    """Say the bytes of the query and end."""
    seen.append(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(request.query["say"].encode())
    return response


async def counter(request: web.Request) -> web.StreamResponse:
    """Count on from the last id; two events for each connection, which then ends."""
    seen.append(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    last = int(request.headers.get("Last-Event-ID", "0"))
    for n in (last + 1, last + 2):
        await response.write(b'retry: 1\nid: %d\ndata: {"n": %d}\n\n' % (n, n))
    return response


async def ticking(request: web.Request) -> web.StreamResponse:
    """Say a comment now and then, and nothing else."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(b":\n\n")
            await asyncio.sleep(0.02)
    return response


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with suppress(ConnectionError):
        while True:
            await response.write(request.query["with"].encode() * 200)
    return response


async def other(request: web.Request) -> web.StreamResponse:
    """Answer as the query says."""
    headers = {name: value for name, value in request.query.items() if name != "status"}
    return web.Response(status=int(request.query.get("status", "200")), headers=headers)


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Break off in the middle of a chunk."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    writer.write(b"40\r\ndata: 1\n\ndata: ")
    await writer.drain()


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    await writer.drain()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say one byte at a time, of a line that never ends."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module", autouse=True)
def peers() -> Iterator[None]:
    servers = Peers()
    handlers = (events, script, counter, ticking, flood, other)
    ports["http"] = servers.http({f"GET /{handler.__name__}": handler for handler in handlers})
    for talk in (half, nonsense, drip):
        ports[talk.__name__] = servers.raw(talk)
    yield
    servers.close()


def listen(
    path: str,
    stop: Stop,
    *,
    port: str = "http",
    query: dict[str, str] | None = None,
    effect: Effect = Effect.READ,
    reconnect: Reconnect | None = None,
    heartbeat_ms: int = 0,
    bounds: Bounds = BOUNDS,
) -> Call:
    message = SseMessage(
        http=endpoint(ports[port], path, query),
        stop=stop,
        reconnect=reconnect,
        heartbeat_ms=heartbeat_ms,
        bounds=bounds,
    )
    return exchange("sse/1", message, effect=effect)


def script_of(say: str, stop: Stop, **more: object) -> Call:
    return listen("script", stop, query={"say": say}, **more)  # type: ignore[arg-type]


def ended(call: Call, limits: Limits = LIMITS) -> LaneResult:
    return result_of(call_lane(SseLane(secrets=secrets_of()), call, limits=limits, isolation=NONE))


def data_of(result: LaneResult) -> list[str]:
    return [json.loads(line)["data"] for line in result.stdout.splitlines()]


class TestContract(LaneContract):
    lane = SseLane(secrets=secrets_of())
    isolation = NONE

    def saying(self, text: str) -> Call:
        return listen("events", Stop(count=1), query={"say": text})

    def said(self, text: str) -> bytes:
        return json.dumps({"data": text, "event": "message"}, separators=(",", ":")).encode() + b"\n"

    def failing(self) -> Call:
        return listen("nowhere", Stop(count=1))

    def slow(self) -> Call:
        return listen("events", Stop(count=2))

    def foreign(self) -> Call:
        return process("/bin/true")


@pytest.mark.parametrize(
    ("stop", "condition", "count"),
    [
        (Stop(count=2), "count", 2),
        (Stop(event="end"), "match", 3),
        (Stop(pointer="/a/1", equals=2), "match", 2),
        (Stop(pointer="/a/1", equals=2, event="message"), "match", 2),
        (Stop(pointer="/a/1", equals="2", closed=True), "closed", 3),
        (Stop(closed=True), "closed", 3),
        (Stop(count=3, event="end"), "match", 3),
    ],
)
def test_a_stream_ends_well_by_its_condition_and_says_which(stop: Stop, condition: str, count: int) -> None:
    say = 'data: plain\n\ndata: {"a": [1, 2]}\n\nevent: end\ndata: {"a": [1, true]}\n\n'

    result = ended(script_of(say, stop))

    assert (result.ended, result.failure) == (Ended.OK, None)
    assert result.data == {"stopped_by": condition, "events": count}
    assert (result.measured.facts or {})["stopped_by"] == condition
    assert len(data_of(result)) == count


def test_time_ends_a_stream_of_a_read_well() -> None:
    result = ended(listen("ticking", Stop(after_ms=100)))

    assert (result.ended, result.data) == (Ended.OK, {"stopped_by": "time", "events": 0})
    assert 100 <= result.duration_ms < LIMITS.timeout_ms


def test_time_also_ends_a_flood() -> None:
    result = ended(
        listen("flood", Stop(after_ms=150), query={"with": "data: x\n\n"}, bounds=Bounds(total_bytes=1 << 30))
    )

    assert (result.ended, (result.data or {})["stopped_by"]) == (Ended.OK, "time")
    assert result.duration_ms < LIMITS.timeout_ms


def test_time_alone_says_nothing_of_a_change() -> None:
    by_time = ended(listen("ticking", Stop(after_ms=50), effect=Effect.CHANGE))
    with_count = ended(listen("ticking", Stop(after_ms=50, count=1), effect=Effect.CHANGE))

    assert (by_time.ended, by_time.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
    assert (with_count.ended, with_count.failure) == (Ended.UNKNOWN, Failure.TIMEOUT)


def test_a_stream_that_ends_before_its_condition_failed() -> None:
    result = ended(script_of("data: 1\n\n", Stop(count=2)))

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.STREAM_ENDED)
    assert data_of(result) == ["1"]


def test_a_lost_connection_is_opened_again_from_the_last_id_as_often_as_declared() -> None:
    seen.clear()
    result = ended(listen("counter", Stop(pointer="/n", equals=5), reconnect=Reconnect(count=2)))

    assert (result.ended, (result.measured.facts or {})["connections"]) == (Ended.OK, 3)
    assert [request.headers.get("Last-Event-ID") for request in seen] == [None, "2", "4"]
    assert [json.loads(data)["n"] for data in data_of(result)] == [1, 2, 3, 4, 5]

    stopped = ended(listen("counter", Stop(count=9), reconnect=Reconnect(count=1)))

    assert (stopped.ended, stopped.failure) == (Ended.FAILED, Failure.STREAM_ENDED)
    assert (stopped.measured.facts or {})["connections"] == 2


def test_the_delay_before_the_next_connection_is_capped() -> None:
    say = "retry: 60000\n\n"
    result = ended(script_of(say, Stop(count=1), reconnect=Reconnect(count=1, delay_ms_max=10)))

    assert (result.failure, result.duration_ms < 1_000) == (Failure.STREAM_ENDED, True)


def test_a_change_is_not_connected_twice() -> None:
    result = ended(listen("counter", Stop(count=3), reconnect=Reconnect(count=1), effect=Effect.CHANGE))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


def test_a_change_whose_stream_breaks_is_unknown_and_one_never_connected_failed() -> None:
    lost = ended(script_of("data: 1\n\n", Stop(count=2), effect=Effect.CHANGE))
    ports["nobody"] = free_port()
    never = ended(listen("events", Stop(count=1), port="nobody", effect=Effect.CHANGE))

    assert (lost.ended, lost.failure) == (Ended.UNKNOWN, Failure.STREAM_ENDED)
    assert (never.ended, never.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)


def test_silence_longer_than_the_heartbeat_is_a_lost_connection() -> None:
    silent = ended(listen("events", Stop(count=9), heartbeat_ms=50, query={"say": "one"}))
    alive = ended(listen("ticking", Stop(after_ms=1_200), heartbeat_ms=500))

    assert (silent.failure, silent.message) == (Failure.STREAM_ENDED, "nothing came for 50 ms")
    assert alive.ended is Ended.OK


@pytest.mark.parametrize(
    ("query", "failure"),
    [
        ({"status": "200", "Content-Type": "text/plain"}, Failure.PROTOCOL_ERROR),
        ({"Content-Type": "text/event-stream", "Content-Encoding": "br"}, Failure.PROTOCOL_ERROR),
        ({"status": "302", "Location": "/events"}, Failure.REDIRECTED),
        ({"status": "401"}, Failure.AUTH_FAILED),
        ({"status": "404"}, Failure.VALIDATION_FAILED),
        ({"status": "503"}, Failure.TRANSIENT_CONNECTOR_ERROR),
        ({"status": "204"}, Failure.STREAM_ENDED),
    ],
)
def test_an_answer_that_is_no_stream_failed(query: dict[str, str], failure: Failure) -> None:
    result = ended(listen("other", Stop(count=1), query=query))

    assert (result.ended, result.failure) == (Ended.FAILED, failure)
    assert result.status == int(query.get("status", "200"))


def test_only_peers_of_the_call_are_connected_to() -> None:
    seen.clear()
    call = listen("events", Stop(count=1))
    assert isinstance(call.request, ExchangeRequest)
    result = ended(replace(call, request=replace(call.request, peers=("127.0.0.1:1",))))

    assert (result.ended, result.failure, seen) == (Ended.REFUSED, Failure.REQUEST_INVALID, [])


def test_what_is_always_ready_still_runs_out_of_time() -> None:
    async def ready() -> None:
        """Never wait."""

    async def go() -> None:
        message = SseMessage(http=endpoint(1, "x"), stop=Stop(after_ms=1))
        call = exchange("sse/1", message)
        listening = Listening(Exchange(call, LIMITS, NONE, (), lambda: None), message)
        await asyncio.sleep(0.005)
        with pytest.raises(Stopped):
            await listening.patiently(ready)

    run(go())


def test_no_content_is_the_clean_end_of_a_stream() -> None:
    assert ended(listen("other", Stop(closed=True), query={"status": "204"})).ended is Ended.OK


@pytest.mark.parametrize(
    ("port", "failure"),
    [
        ("half", Failure.TRANSIENT_CONNECTOR_ERROR),
        ("nonsense", Failure.PROTOCOL_ERROR),
        ("drip", Failure.OUTPUT_LIMIT),
    ],
)
def test_a_peer_that_breaks_off_talks_nonsense_or_drips_is_a_result(port: str, failure: Failure) -> None:
    result = ended(listen("events", Stop(count=2, closed=True), port=port, bounds=Bounds(event_bytes=20)))

    assert (result.ended, result.failure) == (Ended.FAILED, failure)


@pytest.mark.parametrize("line", ["data: x", ": x\n", "data: x\n", "data: x\n\n"])
def test_a_flood_is_ended(line: str) -> None:
    result = ended(
        listen("flood", Stop(count=10**9), query={"with": line}, bounds=Bounds(total_bytes=1 << 17))
    )

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)


def test_the_outcome_commits_to_every_event_also_where_it_keeps_a_part() -> None:
    say = "".join(f"data: {n}\n\n" for n in range(50))
    events_ = call_lane(
        SseLane(secrets=secrets_of()), script_of(say, Stop(count=50)), isolation=NONE, limits=LIMITS
    )
    lines = [event.data for event in events_ if isinstance(event, Chunk)]
    short = ended(script_of(say, Stop(count=50)), replace(LIMITS, output_bytes=100))
    stream = {
        "chunks": 50,
        "bytes": len(b"".join(lines)),
        "root": "sha256:" + root_of([leaf_hash(line) for line in lines]).hex(),
    }

    assert (result_of(events_).measured.facts or {})["stream"] == stream
    assert (short.measured.facts or {})["stream"] == stream
    assert len(short.stdout) == 100


def test_a_secret_is_sent_and_shown_nowhere() -> None:
    seen.clear()
    message = SseMessage(
        http=endpoint(
            ports["http"],
            "script",
            {"say": f"data: a {SECRET} b\nevent: {SECRET}\nid: {SECRET}\n\n"},
            headers={"X-Token": "STAND-IN"},
        ),
        stop=Stop(count=1),
    )
    call = exchange("sse/1", message)
    assert isinstance(call.request, ExchangeRequest)
    told = json.loads(json.dumps(dict(call.request.message)).replace('"STAND-IN"', '{"secret": "api"}'))
    call = replace(call, request=replace(call.request, message=told))
    lane = SseLane(secrets=secrets_of(api=SECRET.encode()))

    found = call_lane(lane, call, isolation=NONE)

    assert seen[0].headers["X-Token"] == SECRET
    assert result_of(found).redactions == 3
    assert SECRET not in repr(found)


def test_a_call_closed_early_closes_its_connection() -> None:
    async def first_and_close() -> None:
        call = listen("ticking", Stop(closed=True, after_ms=600_000))
        limits = replace(LIMITS, timeout_ms=900_000)
        opened = SseLane(secrets=secrets_of()).open(call, limits, NONE, 1, lambda: None)
        async with asyncio.timeout(60):
            task = asyncio.ensure_future(anext(opened))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await opened.aclose()  # type: ignore[attr-defined]

    run(first_and_close())


@pytest.mark.parametrize(
    "stop",
    [
        Stop(),
        Stop(count=-1),
        Stop(after_ms=LIMITS.timeout_ms),
        Stop(pointer="a", equals=1),
        Stop(pointer="/a"),
        Stop(count=1, equals=1),
    ],
)
def test_a_stop_that_could_not_end_the_stream_is_refused_before_anything_is_sent(stop: Stop) -> None:
    seen.clear()
    result = ended(listen("events", stop))

    assert (result.ended, result.failure, seen) == (Ended.REFUSED, Failure.REQUEST_INVALID, [])


def test_a_timeout_while_waiting_to_connect_again_is_the_timeout() -> None:
    result = ended(
        script_of("retry: 9000\n\n", Stop(count=1), reconnect=Reconnect(count=5, delay_ms_max=9_000)), BRIEF
    )

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.TIMEOUT)
