"""Whatever is sent, the answer is a 4xx that says what is wrong, and the service goes on."""

import socket
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rexecop.service.body import (
    ACTION_LENGTH_MAX,
    BODY_BYTES_MAX,
    NONCE_LENGTH_MAX,
    BodyRefused,
    ExecuteRequest,
    parse_request,
)
from tests.service.running import Running

MALFORMED: Final = (
    b"",
    b"{",
    b"nul",
    b'{"action":"echo","nonce":"a"} x',
    b'{"action":"echo","action":"add","nonce":"a"}',
    b'{"action":"echo","nonce":"a","payload":{"k":1,"k":2}}',
    b'{"action":"add","nonce":"a","payload":{"a":NaN}}',
    b'{"action":"add","nonce":"a","payload":{"a":-Infinity}}',
    b'{"action":"add","nonce":"a","payload":{"a":1e999}}',
    b'{"action":"add","nonce":"a","payload":{"a":' + b"9" * 5000 + b"}}",
    b'{"action":"echo","nonce":"a","payload":{"k":"\\ud800"}}',
    b'{"action":"echo","nonce":"\\udfff"}',
    b'{"action":"echo","nonce":"\xff"}',
    b'{"action":"echo","nonce":"a","payload":{"k":' + b"[" * 100 + b"]" * 100 + b"}}",
    b"[" * 30_000,
    b'{"action":"ec\\nho","nonce":"a"}',
    b'{"action":7,"nonce":"a"}',
    b'{"action":"echo","nonce":null}',
    b'{"action":"echo","nonce":"a","payload":[]}',
    b'{"action":"echo","nonce":"a","approval_artifact":"secret-artifact"}',
    b'{"action":"' + b"a" * (ACTION_LENGTH_MAX + 1) + b'","nonce":"a"}',
    b'{"action":"echo","nonce":"' + b"a" * (NONCE_LENGTH_MAX + 1) + b'"}',
    b'"secret-artifact"',
)


@pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_body_is_a_422_that_repeats_nothing_of_it(service: Running, body: bytes) -> None:
    reply = service.post(body)
    faults = reply.json["detail"]

    assert reply.status == 422
    assert isinstance(faults, list) and all(fault.keys() == {"type", "loc", "msg"} for fault in faults)
    assert b"secret" not in reply.body and len(reply.body) < 1000


def test_missing_fields_are_named_each(service: Running) -> None:
    faults = service.post(b"{}").json["detail"]

    assert isinstance(faults, list)
    assert [fault["loc"] for fault in faults] == [["body", "action"], ["body", "nonce"]]
    assert {fault["type"] for fault in faults} == {"missing"}


def test_too_much_is_not_read(service: Running) -> None:
    body = b'{"action":"echo","nonce":"big","payload":{"k":"' + b"x" * BODY_BYTES_MAX + b'"}}'

    assert service.post(body).status == 413


def test_too_much_in_chunks_is_not_read_either(service: Running) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as line:
        line.sendall(
            b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        try:
            for _ in range(BODY_BYTES_MAX // 4096 + 2):
                line.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            pass  # It stopped listening before we stopped talking.
        assert line.recv(64).startswith(b"HTTP/1.1 413")


def test_the_largest_payload_of_the_worst_letters_is_echoed_or_refused_but_never_breaks(
    service: Running,
) -> None:
    for letter, size in (("x", 60_000), ("x", 61_400), ("é", 30_000), ("\\\\", 30_000), ("\\u0001", 9_000)):
        body = f'{{"action":"echo","nonce":"large-{letter}-{size}","payload":{{"k":"{letter * size}"}}}}'

        assert service.post(body.encode()).status in (200, 413)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_only_json_is_taken_as_json(service: Running, kind: str) -> None:
    reply = service.call("POST", "/execute", b'{"action":"echo","nonce":"t"}', Content_Type=kind)

    assert reply.status == 415


def test_a_content_type_may_name_its_charset(service: Running) -> None:
    kind = "Application/JSON; charset=utf-8"

    assert (
        service.call("POST", "/execute", b'{"action":"echo","nonce":"cs"}', Content_Type=kind).status == 200
    )


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:5000", ""])
def test_a_page_that_made_its_name_point_here_is_not_answered(service: Running, host: str) -> None:
    body = b'{"action":"echo","nonce":"h"}'

    assert service.call("POST", "/execute", body, Content_Type="application/json", Host=host).status == 421


def test_a_request_from_another_sites_page_is_refused(service: Running) -> None:
    reply = service.call(
        "POST",
        "/execute",
        b'{"action":"echo","nonce":"o"}',
        Content_Type="application/json",
        Origin="https://elsewhere.example",
    )

    assert reply.status == 403


def test_after_all_of_it_the_service_is_ready(service: Running) -> None:
    assert service.get("/ready").json == {"ready": True}


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_any_bytes_are_a_request_or_a_422(body: bytes) -> None:
    try:
        assert isinstance(parse_request(body), ExecuteRequest)
    except BodyRefused as refused:
        assert refused.status == 422
