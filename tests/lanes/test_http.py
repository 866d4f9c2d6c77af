"""The HTTP lane against a real server on loopback: where calls go, what comes back, how they end."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.http import HttpLane
from rexecop.lanes.port import Chunk, LaneResult
from rexecop.proof.call import Call, ExchangeRequest, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Ended, Isolation
from tests.lanes.contract import LaneContract
from tests.lanes.support import LIMITS, call_lane, process, result_of, run, secrets_of
from tests.lanes.web import Asked, Web, facts_of, http_call, json_reply, reply, serving

SECRET: Final = "s3cr3t-token-of-the-test"


SECRETS: Final = secrets_of(token=SECRET.encode(), word=b"p@ss word:1")


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


@pytest.fixture
def lane() -> Iterator[HttpLane]:
    made = HttpLane(secrets=SECRETS)
    yield made
    made.close()


class Calls:
    """Makes calls of one lane to one server."""

    def __init__(self, lane: HttpLane, web: Web) -> None:
        self.lane, self.web = lane, web
        web.asked.clear()
        web.routes.clear()

    def __call__(
        self,
        path: str | Sequence[str] = "/",
        *,
        limits: Limits = LIMITS,
        **rest: Any,  # noqa: ANN401 - any part of a message
    ) -> LaneResult:
        call = http_call(self.web.port, path, **rest)
        return result_of(call_lane(self.lane, call, limits=limits, isolation=Isolation.NOT_APPLICABLE))


@pytest.fixture
def do(lane: HttpLane, web: Web) -> Calls:
    return Calls(lane, web)


async def _slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(5)


class TestContract(LaneContract):
    """What every lane promises."""

    isolation = Isolation.NOT_APPLICABLE

    @pytest.fixture(autouse=True)
    def _serve(self, lane: HttpLane, web: Web) -> None:
        self.lane, self.web = lane, web
        web.routes.clear()
        web.routes |= {
            "/say": lambda asked: reply(asked.headers["x-say"].encode()),
            "/fail": reply(b"no such thing", 404),
            "/slow": _slowly,
        }

    def saying(self, text: str) -> Call:
        return http_call(self.web.port, "/say", headers={"X-Say": text})

    def failing(self) -> Call:
        return http_call(self.web.port, "/fail")

    def slow(self) -> Call:
        return http_call(self.web.port, "/slow")

    def foreign(self) -> Call:
        return process("true")


# --- what goes out ---


def test_segments_and_values_are_encoded_for_their_place(do: Calls) -> None:
    do.web.routes["*"] = reply(b"ok")

    do(["a b", "ü?#%2f", "x/y", "c:d@e"], slash=True, query={"q": ["1&2", "ä"], "r": ["="]})

    assert do.web.asked[0].target == "/a%20b/%C3%BC%3F%23%252f/x%2Fy/c:d@e/?q=1%262&q=%C3%A4&r=%3D"


@pytest.mark.parametrize(
    "segment",
    ["..", ".", "", "a/../b", "..\\b", "%2e%2e", "x%2f..%2fy", "%2E./z", "a\r\nHost: b", "\x00", "\x7f"],
)
def test_no_path_leaves_its_place(do: Calls, segment: str) -> None:
    result = do(["api", segment, "x"])

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
    assert do.web.asked == []


@pytest.mark.parametrize("segment", ["@evil.test", "http:", "//", "evil.test:80", "%2f%2fevil.test", "?x=@e"])
def test_no_path_changes_the_origin(do: Calls, segment: str) -> None:
    do.web.routes["*"] = reply(b"here")

    result = do([segment, "evil.test"])

    assert (result.ended, result.stdout) == (Ended.OK, b"here")
    assert do.web.asked[0].headers["host"] == f"127.0.0.1:{do.web.port}"


@pytest.mark.parametrize(
    ("headers", "rest"),
    [
        ({"Host": "evil.test"}, {}),
        ({"Transfer-Encoding": "chunked"}, {}),
        ({"Connection": "close"}, {}),
        ({"Proxy-Authorization": "x"}, {}),
        ({"Authorization": "x"}, {}),
        ({"X-A": "a\r\nX-B: b"}, {}),
        ({"X A": "a"}, {}),
        ({"X-A": "1", "x-a": "2"}, {}),
        ({}, {"auth": {"scheme": "header", "name": "Host", "value": "x"}}),
        ({}, {"auth": {"scheme": "bearer", "value": "x\ny"}}),
        ({}, {"auth": {"scheme": "basic", "name": "a:b", "value": "x"}}),
        ({}, {"key": {"header": "Content-Length", "value": "1"}}),
        ({}, {"key": {"header": "Idempotency-Key", "value": ""}}),
        ({}, {"text": "a body"}),
        ({}, {"tls": {"verify": True}}),
        ({}, {"errors": {"404": "nonsense"}}),
        ({}, {"method": "TRACE"}),
    ],
)
def test_what_a_message_may_not_say_is_refused(
    do: Calls, headers: dict[str, Json], rest: dict[str, Any]
) -> None:
    result = do("/x", **{"headers": headers, **rest})

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
    assert do.web.asked == []


@pytest.mark.parametrize(
    ("body", "sent", "media"),
    [
        ({"json": {"b": [1, True], "a": "ü"}}, '{"a":"ü","b":[1,true]}', "application/json"),
        ({"text": "a\nb"}, "a\nb", "text/plain; charset=utf-8"),
        ({"form": {"a": "1 2", "b": "&"}}, "a=1+2&b=%26", "application/x-www-form-urlencoded"),
    ],
)
def test_a_body_goes_out_with_its_media_type(do: Calls, body: dict[str, Any], sent: str, media: str) -> None:
    do.web.routes["/x"] = reply(b"done", 201)

    result = do("/x", method="POST", **body)

    assert (result.ended, result.status) == (Ended.OK, 201)
    assert (do.web.asked[0].body.decode(), do.web.asked[0].headers["content-type"]) == (sent, media)


@pytest.mark.parametrize(
    ("auth", "header", "sent"),
    [
        ({"scheme": "bearer", "value": {"secret": "token"}}, "authorization", f"Bearer {SECRET}"),
        (
            {"scheme": "basic", "name": "me", "value": {"secret": "word"}},
            "authorization",
            "Basic bWU6cEBzcyB3b3JkOjE=",
        ),
        (
            {"scheme": "header", "name": "X-Key", "value": {"text": ["k ", {"secret": "token"}]}},
            "x-key",
            f"k {SECRET}",
        ),
    ],
)
def test_credentials_go_out_and_do_not_come_back(
    do: Calls, auth: dict[str, Json], header: str, sent: str
) -> None:
    do.web.routes["/x"] = lambda asked: reply(f"you said {asked.headers[header]}!".encode())

    result = do("/x", auth=auth)

    assert do.web.asked[0].headers[header] == sent
    assert result.redactions == 1
    assert result.stdout.startswith(b"you said ") and result.stdout.endswith(b"[redacted]!")
    assert SECRET.encode() not in result.stdout


def test_the_idempotency_key_goes_out_and_is_told(do: Calls) -> None:
    do.web.routes["/x"] = reply()

    result = do("/x", method="POST", key={"header": "Idempotency-Key", "value": "k-1"})

    assert do.web.asked[0].headers["idempotency-key"] == "k-1"
    assert facts_of(result)["idempotency_key"] == "k-1"


def test_proxies_and_credentials_of_the_surroundings_are_not_used(
    do: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    do.web.routes["/x"] = reply(b"direct")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")

    assert do("/x").stdout == b"direct"


# --- where it goes ---


@pytest.mark.parametrize(
    ("host", "addresses", "reached"),
    [
        ("127.0.0.1", {}, False),
        ("127.0.0.1", {"private": True}, True),
        ("127.0.0.1", {"only": ["127.0.0.1"]}, True),
        ("127.0.0.1", {"only": ["10.0.0.1"], "private": True}, False),
        ("localhost", {}, False),
        ("localhost", {"private": True}, True),
        ("::ffff:7f00:1", {}, False),
        ("169.254.169.254", {"private": True}, False),
        ("169.254.169.254", {"only": ["169.254.169.254"]}, False),
        ("fd00:ec2::254", {"private": True}, False),
        ("::ffff:a9fe:a9fe", {"private": True}, False),
        ("64:ff9b::a9fe:a9fe", {"private": True}, False),
        ("0.0.0.0", {"private": True}, False),
        ("10.0.0.1", {}, False),
        ("224.0.0.1", {"private": True}, False),
    ],
)
def test_a_name_leads_only_where_the_connection_allows(
    do: Calls, host: str, addresses: dict[str, Json], reached: bool
) -> None:
    do.web.routes["/x"] = reply(b"here")

    result = do("/x", host=host, addresses=addresses)

    if reached:
        assert (result.ended, facts_of(result)["address"]) == (Ended.OK, "127.0.0.1")
    else:
        assert (result.ended, result.failure) == (Ended.REFUSED, Failure.ADDRESS_REFUSED)
        assert do.web.asked == []


def test_a_name_that_changes_its_mind_is_connected_where_it_was_checked(
    do: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second answer of a rebinding name would be a refused address; nobody asks for one."""
    do.web.routes["/x"] = reply(b"here")
    answers = iter(["127.0.0.1", "169.254.169.254"])
    asked: list[object] = []

    async def resolve(loop: object, host: str, port: int, **rest: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(2, 1, 6, "", (next(answers), port))]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)

    result = do("/x", host="rebinding.test")

    assert (result.ended, asked) == (Ended.OK, ["rebinding.test"])
    assert facts_of(result)["address"] == "127.0.0.1"


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "Localhost", "a..b", "a_b", "a/b", "x@y"])
def test_a_host_is_written_one_way(do: Calls, host: str) -> None:
    assert do("/x", host=host).failure is Failure.REQUEST_INVALID


def test_an_origin_that_is_no_peer_of_the_call_is_refused(do: Calls) -> None:
    call = http_call(do.web.port, "/x")
    assert isinstance(call.request, ExchangeRequest)
    call = replace(call, request=replace(call.request, peers=("elsewhere.test:80",)))

    result = result_of(call_lane(do.lane, call, isolation=Isolation.NOT_APPLICABLE))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


# --- redirects ---


def test_a_redirect_is_an_answer(do: Calls) -> None:
    do.web.routes["/x"] = reply(b"", 302, Location="/y")

    result = do("/x")

    assert (result.ended, result.failure, result.status) == (Ended.FAILED, Failure.REDIRECTED, 302)
    assert len(do.web.asked) == 1


def test_a_redirect_within_the_origin_is_followed_where_allowed(do: Calls) -> None:
    do.web.routes |= {"/x": reply(b"", 302, Location="/y?a=1"), "/y": reply(b"there")}

    result = do("/x", redirects={"most": 2}, auth={"scheme": "bearer", "value": {"secret": "token"}})

    assert (result.ended, result.stdout) == (Ended.OK, b"there")
    assert [asked.target for asked in do.web.asked] == ["/x", "/y?a=1"]
    assert do.web.asked[1].headers["authorization"] == f"Bearer {SECRET}"
    assert facts_of(result)["redirects"] == 1


def test_redirects_end_at_their_number_and_in_circles(do: Calls) -> None:
    do.web.routes |= {
        "/x": reply(b"", 302, Location="/x"),
        "/1": reply(b"", 302, Location="/2"),
        "/2": reply(b"", 302, Location="/3"),
        "/3": reply(b"there"),
    }

    assert do("/x", redirects={"most": 5}).failure is Failure.REDIRECTED
    assert do("/1", redirects={"most": 1}).failure is Failure.REDIRECTED
    assert do("/1", redirects={"most": 2}).ended is Ended.OK


def test_credentials_never_cross_origins(do: Calls) -> None:
    with serving() as other:
        place = f"http://127.0.0.1:{other.port}"
        do.web.routes["/x"] = reply(b"", 302, Location=f"{place}/y")
        other.routes["/y"] = reply(b"there")
        origins: list[Json] = [{"scheme": "http", "host": "127.0.0.1", "port": other.port}]
        rest: dict[str, Any] = {
            "peers": (f"127.0.0.1:{other.port}",),
            "auth": {"scheme": "bearer", "value": {"secret": "token"}},
            "headers": {"X-Mine": "1", "Cookie": "a=b"},
        }

        unlisted = do("/x", redirects={"most": 1}, **rest)
        listed = do("/x", redirects={"most": 1, "origins": origins}, **rest)

        assert (unlisted.failure, listed.ended) == (Failure.REDIRECTED, Ended.OK)
        assert len(other.asked) == 1
        assert not {"authorization", "x-mine", "cookie"} & set(other.asked[0].headers)


@pytest.mark.parametrize(
    "location",
    ["http://u:p@127.0.0.1/", "//evil.test/", "http:\\\\evil.test", "ftp://127.0.0.1/", "", "http://[x/"],
)
def test_a_redirect_to_nowhere_good_is_not_followed(do: Calls, location: str) -> None:
    do.web.routes["/x"] = reply(b"", 302, Location=location)

    assert do("/x", redirects={"most": 3}).failure is Failure.REDIRECTED
    assert len(do.web.asked) == 1


def test_a_change_is_redirected_with_its_method_and_body_or_not_at_all(do: Calls) -> None:
    do.web.routes |= {
        "/moved": reply(b"", 307, Location="/y"),
        "/see": reply(b"", 303, Location="/y"),
        "/y": reply(b"made"),
    }

    followed = do("/moved", method="POST", text="a", redirects={"most": 1})
    pointed = do("/see", method="POST", text="a", redirects={"most": 1})

    assert followed.ended is Ended.OK
    assert [(asked.method, asked.body) for asked in do.web.asked[:2]] == [("POST", b"a"), ("POST", b"a")]
    assert (pointed.ended, pointed.failure) == (Ended.UNKNOWN, Failure.REDIRECTED)
    assert len(do.web.asked) == 3


# --- how it ended ---


@pytest.mark.parametrize(
    ("status", "read", "change", "failure"),
    [
        (204, Ended.OK, Ended.OK, None),
        (304, Ended.FAILED, Ended.FAILED, Failure.REDIRECTED),
        (400, Ended.FAILED, Ended.FAILED, Failure.VALIDATION_FAILED),
        (401, Ended.FAILED, Ended.FAILED, Failure.AUTH_FAILED),
        (403, Ended.FAILED, Ended.FAILED, Failure.AUTH_FAILED),
        (405, Ended.FAILED, Ended.FAILED, Failure.UNSUPPORTED),
        (429, Ended.FAILED, Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR),
        (500, Ended.FAILED, Ended.UNKNOWN, Failure.TRANSIENT_CONNECTOR_ERROR),
        (501, Ended.FAILED, Ended.FAILED, Failure.UNSUPPORTED),
        (502, Ended.FAILED, Ended.UNKNOWN, Failure.TRANSIENT_CONNECTOR_ERROR),
        (503, Ended.FAILED, Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR),
        (504, Ended.FAILED, Ended.UNKNOWN, Failure.TRANSIENT_CONNECTOR_ERROR),
    ],
)
def test_every_status_is_an_end_of_a_class(
    do: Calls, status: int, read: Ended, change: Ended, failure: Failure | None
) -> None:
    do.web.routes["/x"] = reply(b"", status)

    looked, changed = do("/x"), do("/x", method="POST")

    assert (looked.ended, looked.failure, looked.status) == (read, failure, status)
    assert (changed.ended, changed.failure, changed.status) == (change, failure, status)


def test_expected_statuses_and_declared_errors_go_before(do: Calls) -> None:
    do.web.routes |= {"/gone": reply(b"gone", 404), "/made": reply(b"", 200), "/odd": reply(b"why", 500)}

    assert do("/gone", expect=[200, 404]).ended is Ended.OK
    assert do("/made", expect=[201]).failure is Failure.VALIDATION_FAILED
    odd = do("/odd", method="POST", errors={"500": "validation_failed"})
    assert (odd.ended, odd.failure, odd.stdout) == (Ended.FAILED, Failure.VALIDATION_FAILED, b"why")


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry_After": "3"}, 3000),
        ({"Retry_After": "Fri, 27 Nov 2026 06:00:10 GMT", "Date": "Fri, 27 Nov 2026 06:00:00 GMT"}, 10_000),
        ({"Retry_After": "Fri, 27 Nov 2026 06:00:10 GMT"}, None),
        ({"Retry_After": "-1"}, None),
        ({"Retry_After": "99999999"}, 86_400_000),
        ({}, None),
    ],
)
def test_how_long_to_wait_is_taken_by_the_clock_of_who_asks_for_it(
    do: Calls, headers: dict[str, str], waits: int | None
) -> None:
    do.web.routes["/x"] = reply(b"", 503, **headers)

    assert facts_of(do("/x")).get("retry_after_ms") == waits


def test_a_connection_that_never_opened_is_no_doubt(do: Calls) -> None:
    with serving() as gone:
        port = gone.port

    asked: list[str] = []
    for call in (http_call(port, "/x"), http_call(port, "/x", method="POST")):
        events = call_lane(
            do.lane, call, isolation=Isolation.NOT_APPLICABLE, clearance=lambda: asked.append("x")
        )
        result = result_of(events)
        assert (result.ended, result.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
    assert asked == []


def test_a_name_that_is_none_is_a_class_of_its_own(do: Calls) -> None:
    assert do("/x", host="nowhere.invalid").failure is Failure.NAME_UNRESOLVED


async def _hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    pass


async def _half(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(reply(b"only this", Content_Length="100"))
    await writer.drain()


async def _half_chunked(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    await writer.drain()


async def _nonsense(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"220 mail.test ESMTP ready\r\n\r\n")
    await writer.drain()


async def _drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("behaviour", "failure"),
    [
        (_hang_up, Failure.TRANSIENT_CONNECTOR_ERROR),
        (_half, Failure.TRANSIENT_CONNECTOR_ERROR),
        (_half_chunked, Failure.TRANSIENT_CONNECTOR_ERROR),
        (_nonsense, Failure.PROTOCOL_ERROR),
        (_drip, Failure.TIMEOUT),
    ],
)
def test_a_lost_answer_fails_a_read_and_leaves_a_change_unknown(
    do: Calls, behaviour: object, failure: Failure
) -> None:
    do.web.routes["/x"] = behaviour  # type: ignore[assignment]
    limits = replace(LIMITS, timeout_ms=1_000) if failure is Failure.TIMEOUT else LIMITS

    for method, ended in (("GET", Ended.FAILED), ("POST", Ended.UNKNOWN), ("PUT", Ended.UNKNOWN)):
        do.web.asked.clear()
        result = do("/x", method=method, limits=limits)
        assert (method, result.ended, result.failure) == (method, ended, failure)
        assert len(do.web.asked) == 1


def test_the_part_of_a_call_that_took_too_long_is_named(do: Calls) -> None:
    do.web.routes |= {"/slow": _slowly, "/drip": _drip}
    brief = replace(LIMITS, timeout_ms=1_000)

    assert "waiting for the first byte" in (do("/slow", first_byte_ms=50).message or "")
    assert "reading the answer" in (do("/drip", first_byte_ms=900, limits=brief).message or "")


def test_a_read_lost_on_a_kept_connection_goes_out_once_more_and_a_change_never(do: Calls) -> None:
    """The server answers the first request and drops the connection at the second."""
    drop = {"at": 2}

    async def second(asked: Asked, writer: asyncio.StreamWriter) -> None:
        drop["at"] -= 1
        if drop["at"] != 0:
            writer.write(reply(b"ok"))
            await writer.drain()
            await asyncio.sleep(0.3)

    do.web.routes["/x"] = lambda asked: reply(b"ok")
    do.web.routes["/y"] = second

    async def both() -> list[LaneResult]:
        found = []
        for call in (
            http_call(do.web.port, "/x"),
            http_call(do.web.port, "/y"),
            http_call(do.web.port, "/y"),
        ):
            opened = do.lane.open(call, LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None)
            found.append(result_of([event async for event in opened]))
        return found

    drop["at"] = 1
    first, again, _ = run(both())

    assert (first.ended, again.ended) == (Ended.OK, Ended.OK)
    assert [asked.target for asked in do.web.asked[:3]] == ["/x", "/y", "/y"]


def test_reads_share_connections_and_changes_open_their_own(do: Calls) -> None:
    do.web.routes["/x"] = reply(b"ok")

    async def calls(method: str) -> None:
        for _ in range(3):
            opened = do.lane.open(
                http_call(do.web.port, "/x", method=method), LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None
            )
            assert result_of([event async for event in opened]).ended is Ended.OK

    run(calls("GET"))
    assert len({asked.connection for asked in do.web.asked}) == 1
    do.web.asked.clear()
    run(calls("POST"))
    assert len({asked.connection for asked in do.web.asked}) == 3


def test_without_leave_nothing_is_written(do: Calls) -> None:
    do.web.routes["/x"] = reply(b"ok")

    def refuse() -> None:
        raise ClearanceRefused(Failure.PERMIT_EXPIRED, "too late")

    with pytest.raises(ClearanceRefused):
        call_lane(
            do.lane,
            http_call(do.web.port, "/x", method="POST"),
            isolation=Isolation.NOT_APPLICABLE,
            clearance=refuse,
        )
    assert do("/x").ended is Ended.OK
    assert [asked.method for asked in do.web.asked] == ["GET"]


# --- bodies ---


def _packed(data: bytes, coding: str) -> bytes:
    if coding == "gzip":
        return gzip.compress(data)
    if coding == "deflate":
        return zlib.compress(data)
    raw = zlib.compressobj(wbits=-15)
    return raw.compress(data) + raw.flush()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw"])
def test_packed_answers_are_unpacked(do: Calls, coding: str) -> None:
    text = b"many words " * 50_000
    name = "deflate" if coding == "raw" else coding
    do.web.routes["/x"] = reply(_packed(text, coding), Content_Encoding=name)

    result = do("/x", limits=replace(LIMITS, output_bytes=1_000_000))

    assert (result.ended, result.stdout, result.stdout_bytes) == (Ended.OK, text, len(text))


def test_a_bomb_is_let_go_off_small(do: Calls) -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    do.web.routes["/x"] = reply(bomb, Content_Encoding="gzip")

    result = do("/x")

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.OUTPUT_LIMIT)
    assert result.stdout_bytes < 16_000_000


@pytest.mark.parametrize(
    ("data", "coding", "failure"),
    [
        (gzip.compress(b"x" * 1000)[:-9], "gzip", Failure.TRANSIENT_CONNECTOR_ERROR),
        (b"not packed", "gzip", Failure.PROTOCOL_ERROR),
        (gzip.compress(b"x") + b"tail", "gzip", Failure.PROTOCOL_ERROR),
        (b"x", "br", Failure.PROTOCOL_ERROR),
    ],
    # What gzip yields holds the time, and a test is called the same in every process.
    ids=["cut short", "not packed", "more behind it", "unknown coding"],
)
def test_wrongly_packed_answers_are_none(do: Calls, data: bytes, coding: str, failure: Failure) -> None:
    do.web.routes["/x"] = reply(data, Content_Encoding=coding)

    assert do("/x").failure is failure


def test_an_answer_longer_than_allowed_is_none(do: Calls) -> None:
    do.web.routes["/x"] = reply(b"x" * 2000)

    assert do("/x", answer_bytes=2000).ended is Ended.OK
    assert do("/x", answer_bytes=1999).failure is Failure.OUTPUT_LIMIT
    changed = do("/x", answer_bytes=1999, method="POST")
    assert (changed.ended, changed.failure) == (Ended.UNKNOWN, Failure.OUTPUT_LIMIT)


def test_a_body_comes_in_pieces_while_it_is_sent(do: Calls) -> None:
    """The second piece is sent only after the first one was seen here."""
    seen = asyncio.Event()
    serving_loop: list[asyncio.AbstractEventLoop] = []

    async def pieces(asked: Asked, writer: asyncio.StreamWriter) -> None:
        serving_loop.append(asyncio.get_running_loop())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await writer.drain()
        await asyncio.wait_for(seen.wait(), 3)
        writer.write(b"later")
        await writer.drain()

    do.web.routes["/x"] = pieces

    async def collect() -> list[bytes]:
        found = []
        call = http_call(do.web.port, "/x")
        async for event in do.lane.open(call, LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None):
            if isinstance(event, Chunk):
                found.append(event.data)
                serving_loop[0].call_soon_threadsafe(seen.set)
        return found

    assert run(collect()) == [b"first", b"later"]


def test_what_nobody_takes_is_not_sent_on(do: Calls) -> None:
    """Back-pressure: a server that offers 64 MiB stands still while nobody takes the next piece."""
    sent = {"bytes": 0}

    async def flood(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 67108864\r\n\r\n")
        for _ in range(1024):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent["bytes"] += 65536

    do.web.routes["/x"] = flood

    async def take_one() -> None:
        opened = do.lane.open(
            http_call(do.web.port, "/x"),
            replace(LIMITS, output_bytes=1 << 26),
            Isolation.NOT_APPLICABLE,
            1,
            lambda: None,
        )
        async for _ in opened:
            await asyncio.sleep(0.3)
            break
        await opened.aclose()  # type: ignore[attr-defined]

    run(take_one())

    assert sent["bytes"] < 16 * 1024 * 1024


# --- JSON ---


def test_a_pointer_keeps_a_part_and_a_name_keeps_a_member(do: Calls) -> None:
    do.web.routes["/x"] = json_reply('{"Version": "2.1", "deep": {"list": [1.10, 12345678901234567890123]}}')

    assert do("/x", unwrap="/deep/list").stdout == b"[1.10,12345678901234567890123]"
    assert do("/x", unwrap="Version").stdout == b'{"Version":"2.1"}'
    missing = do("/x", unwrap="/nothing")
    assert (missing.ended, missing.failure) == (Ended.FAILED, Failure.VALIDATION_FAILED)


@pytest.mark.parametrize(
    ("answer", "failure"),
    [
        (json_reply("{"), Failure.VALIDATION_FAILED),
        (json_reply("[" * 50_000), Failure.VALIDATION_FAILED),
        (json_reply('{"a": NaN}'), Failure.VALIDATION_FAILED),
        (reply(b"{}", Content_Type="text/html"), Failure.VALIDATION_FAILED),
        (reply(b"{}", Content_Type="application/problem+json"), None),
        (reply(b"{}"), None),
    ],
)
def test_what_should_be_json_and_is_not_fails(do: Calls, answer: bytes, failure: Failure | None) -> None:
    do.web.routes["/x"] = answer

    assert do("/x", answer="json").failure is failure


def test_an_error_inside_a_good_status_is_an_error(do: Calls) -> None:
    do.web.routes |= {
        "/bad": json_reply('{"error": {"code": -1}, "result": null}'),
        "/good": json_reply('{"error": null, "result": 7}'),
    }

    bad = do("/bad", method="POST", json={}, error_at="/error", unwrap="/result")

    assert (bad.ended, bad.failure) == (Ended.FAILED, Failure.REMOTE_ERROR)
    assert do("/good", error_at="/error", unwrap="/result").stdout == b"7"


# --- pages ---


def _page(asked: Asked) -> bytes:
    query = dict(part.split("=") for part in asked.target.partition("?")[2].split("&") if part)
    n = int(query.get("page", query.get("cursor", "1")))
    items = [n * 10, n * 10 + 1] if n <= 3 else []
    body = {
        "items": items,
        "next": f"/list?page={n + 1}" if n < 3 else None,
        "cursor": str(n + 1) if n < 3 else "",
    }
    link = f'<http://127.0.0.1:{asked.headers["host"].rpartition(":")[2]}/list?page={n + 1}>; rel="next"'
    headers: dict[str, Any] = {"Link": link} if n < 3 else {}
    return json_reply(json.dumps(body), **headers)


@pytest.mark.parametrize(
    "pages",
    [
        {"by": "link"},
        {"by": "next", "field": "/next"},
        {"by": "cursor", "field": "/cursor", "parameter": "cursor"},
        {"by": "page", "parameter": "page"},
    ],
)
def test_pages_are_joined_and_what_is_left_out_is_said(do: Calls, pages: dict[str, Json]) -> None:
    do.web.routes["/list"] = _page

    whole = do("/list", pages={**pages, "items": "/items", "most": 10})
    part = do("/list", pages={**pages, "items": "/items", "most": 2})

    assert json.loads(whole.stdout)["items"] == [10, 11, 20, 21, 30, 31]
    assert (json.loads(whole.stdout)["truncated"], facts_of(whole)["truncated"]) == (False, False)
    assert json.loads(part.stdout) == {"items": [10, 11, 20, 21], "pages": 2, "truncated": True}
    assert facts_of(part)["truncated"] is True


def test_pages_stop_where_there_is_no_room_for_more(do: Calls) -> None:
    do.web.routes["/list"] = _page

    result = do(
        "/list",
        limits=replace(LIMITS, output_bytes=64),
        pages={"by": "next", "field": "/next", "items": "/items", "most": 9},
    )

    assert (facts_of(result)["pages"], facts_of(result)["truncated"]) == (2, True)


@pytest.mark.parametrize(
    ("following", "words"),
    [
        ("/list", "leads back"),
        ("http://other.test/list", "another origin"),
        ("//other.test/list", "another origin"),
        ("http://u:p@127.0.0.1/", "no next page"),
    ],
)
def test_pages_that_lead_in_circles_or_away_fail(do: Calls, following: str, words: str) -> None:
    do.web.routes["/list"] = json_reply(json.dumps({"items": [1], "next": following}))

    result = do("/list", pages={"by": "next", "field": "/next", "items": "/items", "most": 9})

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.PROTOCOL_ERROR)
    assert words in (result.message or "")
    assert len(do.web.asked) == 1


def test_a_page_that_fails_fails_the_call(do: Calls) -> None:
    do.web.routes["/list"] = lambda asked: (
        reply(b"", 503, Retry_After="2") if "page=2" in asked.target else _page(asked)
    )

    result = do("/list", pages={"by": "next", "field": "/next", "items": "/items", "most": 9})

    assert (result.ended, result.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
    assert facts_of(result)["retry_after_ms"] == 2000
