"""JSON-RPC 2.0 is read strictly, in whatever pieces it comes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rexecop.lanes.errors import PayloadTooLarge, WireBroken
from rexecop.lanes.rpcwire import PAYLOAD_BYTES_MAX, Answer, Asked, framing_of, payload_of, read_payload

BROKEN = [
    b"",
    b"null",
    b"[]",
    b"{}",
    b"[1]",
    b'{"jsonrpc": "2.0"}',
    b'{"jsonrpc": "2.0", "id": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "result": 1} x',
    b'{"jsonrpc": "1.0", "id": 1, "result": 1}',
    b'{"id": 1, "result": 1}',
    b'{"jsonrpc": "2.0", "result": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "id": 1, "result": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {"a": 1, "a": 2}}',
    b'{"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": ""}}',
    b'{"jsonrpc": "2.0", "id": 1, "result": 1, "method": "x"}',
    b'{"jsonrpc": "2.0", "id": true, "result": 1}',
    b'{"jsonrpc": "2.0", "id": [1], "result": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "error": null}',
    b'{"jsonrpc": "2.0", "id": 1, "error": {"code": "1", "message": ""}}',
    b'{"jsonrpc": "2.0", "id": 1, "error": {"code": 1}}',
    b'{"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "", "more": 1}}',
    b'{"jsonrpc": "2.0", "method": 1}',
    b'{"jsonrpc": "2.0", "method": "x", "params": 1}',
    b'{"jsonrpc": "2.0", "method": "x", "result": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "result": NaN}',
    b'{"jsonrpc": "2.0", "id": 1, "result": "\xff"}',
    b'{"jsonrpc": "2.0", "id": 1, "result": ' + b"[" * 65 + b"]" * 65 + b"}",
    b"[" * 100_000,
    b"[" + b",".join([b'{"jsonrpc": "2.0", "id": 1, "result": 1}'] * 65) + b"]",
]


@pytest.mark.parametrize("payload", BROKEN, ids=lambda payload: payload[:60].decode("utf-8", "replace"))
def test_what_is_not_jsonrpc_is_refused(payload: bytes) -> None:
    with pytest.raises(WireBroken):
        read_payload(payload)


def test_whole_messages_are_read() -> None:
    array = (
        b'[{"jsonrpc": "2.0", "id": "a", "method": "m"}, {"jsonrpc": "2.0", "method": "n", "params": [1.50]}]'
    )

    assert read_payload(b'{"jsonrpc": "2.0", "id": null, "result": null}') == ([Answer(id=None)], False)
    messages, together = read_payload(array)
    assert together
    assert [(m.method, m.id, m.expects) for m in messages if isinstance(m, Asked)] == [
        ("m", "a", True),
        ("n", None, False),
    ]


def test_numbers_that_evidence_cannot_hold_become_text() -> None:
    ((answer,), _) = read_payload(
        b'{"jsonrpc": "2.0", "id": 1, "result": [1.50, 1e3, 99999999999999999999, -5]}'
    )

    assert isinstance(answer, Answer)
    assert answer.result == ["1.50", "1e3", "99999999999999999999", -5]


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=3),
    st.sampled_from(["newline", "content-length"]),
    st.data(),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    texts: list[str], name: str, data: st.DataObject
) -> None:
    payloads = [payload_of(text.encode("utf-8", "replace").decode()) for text in texts]
    framing = framing_of(name)
    stream = b"".join(map(framing.frame, payloads))
    places = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=4)))
    pieces = [stream[start:end] for start, end in zip([0, *places], [*places, len(stream)], strict=True)]

    assert [payload for piece in pieces for payload in framing.feed(piece)] == payloads
    assert [json.loads(payload) for payload in payloads] == [
        json.loads(payload.decode()) for payload in payloads
    ]


@pytest.mark.parametrize(
    "data",
    [
        b'{"jsonrpc": "2.0"}\r\n\r\n',
        b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"Content-Length: -1\r\n\r\n",
        b"Content-Length: 0x5\r\n\r\n",
        b"Content-Type: application/json\r\n\r\n",
        b"Set-Cookie: a\r\nContent-Length: 5\r\n\r\n",
        b"x" * 2_000,
    ],
)
def test_a_header_that_counts_nothing_is_refused(data: bytes) -> None:
    with pytest.raises(WireBroken):
        framing_of("content-length").feed(data)


def test_what_is_too_large_is_refused_before_it_is_all_there() -> None:
    with pytest.raises(PayloadTooLarge):
        framing_of("content-length").feed(b"Content-Length: %d\r\n\r\n" % (PAYLOAD_BYTES_MAX + 1))
    framing = framing_of("newline")
    with pytest.raises(PayloadTooLarge):
        for _ in range(PAYLOAD_BYTES_MAX // 65_536 + 1):
            framing.feed(b"x" * 65_536)
