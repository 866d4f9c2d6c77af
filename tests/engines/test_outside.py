"""A decision point outside can only deny; whatever is unclear about it is a no."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from rexecop.engines.outside import HEAD_BYTES_MAX, Point, ask_outside
from rexecop.governance.admission import Answer
from rexecop.governance.authzen import ANSWER_BYTES_MAX, opinion, question
from rexecop.governance.obligations import NO_OBLIGATIONS
from rexecop.governance.why import of_answer
from rexecop.proof.canonical import digest_of, parse_json
from rexecop.proof.records.decision import Decision, Opinion, PolicyRequest, RequestTarget, Terms
from rexecop.proof.vocabulary import Gate, State, Verdict
from tests.engines.support import ended, housed, kinds, of_kind, op_of
from tests.governance.cases import request
from tests.sim.plans import change, planned
from tests.sim.world import NO_CHANGES

Serve = Callable[[socket.socket, bytes], None]
YES: Final = b'{"decision": true}'


def answering(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n", *, length: bool = True) -> Serve:
    def serve(peer: socket.socket, asked: bytes) -> None:
        measure = f"Content-Length: {len(body)}\r\n".encode() if length else b""
        peer.sendall(head + measure + b"\r\n" + body)

    return serve


@contextmanager
def point(
    serve: Serve, tls: ssl.SSLContext | None = None, seconds: float = 2.0
) -> Iterator[tuple[Point, list[bytes]]]:
    """Give a point that a real server stands behind, and what it was asked."""
    listening = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def run() -> None:
        while True:
            try:
                peer, _ = listening.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.settimeout(60)
                    peer = peer if tls is None else tls.wrap_socket(peer, server_side=True)
                    head, _, body = peer.recv(65536).partition(b"\r\n\r\n")
                    while len(body) < int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]):
                        body += peer.recv(65536)
                    seen.append(head + b"\r\n\r\n" + body)
                    serve(peer, body)
                    if tls is not None:
                        peer.close()
                except OSError:
                    pass

    Thread(target=run, daemon=True).start()
    port = listening.getsockname()[1]
    try:
        yield (
            Point(
                url=f"http://127.0.0.1:{port}",
                host="127.0.0.1",
                port=port,
                path="",
                tls=None,
                token=None,
                seconds=seconds,
            ),
            seen,
        )
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def asked(at: Point, about: PolicyRequest | None = None) -> Opinion:
    return asyncio.run(ask_outside(at, about or request()))


def chunked(peer: socket.socket, _: bytes) -> None:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (YES[:5], YES[5:], b""))
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts)


@pytest.mark.parametrize("serve", [answering(YES), answering(YES, length=False), chunked])
def test_a_yes_is_asked_for_once_and_named_by_the_digest_of_its_bytes(serve: Serve) -> None:
    with point(serve) as (at, seen):
        said = asked(replace(at, token="a-token", path="/pdp"))

    assert said == Opinion(source=at.url, allowed=True, reason="yes", answer=digest_of(YES))
    (sent,) = seen
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /pdp/access/v1/evaluation HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer a-token" in head
    found = parse_json(body, bytes_max=len(body))
    assert isinstance(found, dict) and found["subject"]["id"] == "alice"


def silent(peer: socket.socket, _: bytes) -> None:
    peer.recv(1)


def dripping(peer: socket.socket, _: bytes) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100:
        peer.sendall(bytes([byte]))
        time.sleep(0.01)


def endless(peer: socket.socket, _: bytes) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (HEAD_BYTES_MAX + ANSWER_BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("serve", "words"),
    [
        (answering(b'{"decision": false, "context": {"reason": "not today"}}'), "no to `host-1`: not today"),
        (answering(b'{"decision": "true"}'), "malformed"),
        (answering(b'{"decision": 1}'), "malformed"),
        (answering(b"{}"), "malformed"),
        (answering(b"[true]"), "malformed"),
        (answering(b'{"decision": false, "decision": true}'), "malformed"),
        (answering(b'{"decision": true} x'), "malformed"),
        (answering(b"\xff"), "malformed"),
        (answering(b""), "malformed"),
        (answering(YES, b"HTTP/1.1 500 Oops\r\n"), "status 500"),
        (answering(YES, b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n"), "status 302"),
        (
            answering(YES, b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n", length=False),
            "malformed: IncompleteRead",
        ),
        (answering(YES, b"hello\r\n"), "malformed: BadStatusLine"),
        (answering(YES, b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200), "malformed"),
        (answering(b" " * (ANSWER_BYTES_MAX + 1) + YES), "too long"),
        (endless, "too long"),
        (lambda peer, _: None, "malformed"),
    ],
)
def test_everything_but_a_clear_yes_is_a_no_that_says_why(serve: Serve, words: str) -> None:
    with point(serve) as (at, _):
        said = asked(at)

    assert not said.allowed and words in said.reason and "\n" not in said.reason


@pytest.mark.parametrize("serve", [silent, dripping])
def test_a_slow_point_is_a_no_when_its_time_is_over(serve: Serve) -> None:
    with point(serve, seconds=0.1) as (at, _):
        said = asked(at)

    assert (said.allowed, said.reason) == (False, "no answer within 0.1 s")


def test_a_point_that_is_not_there_is_a_no() -> None:
    with point(answering(YES)) as (at, _):
        pass

    assert not asked(at).allowed


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pdp")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    plain = serialization.NoEncryption()
    der = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "both.pem").write_bytes(pem + der)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    return server, folder / "ca.pem"


def test_over_tls_only_a_certificate_that_holds_can_say_yes(tmp_path: Path) -> None:
    server, authority = certificate(tmp_path)
    with point(answering(YES), server) as (at, _):
        trusting = replace(at, tls=ssl.create_default_context(cafile=str(authority)))
        strange = replace(at, tls=ssl.create_default_context())

        assert asked(trusting).allowed
        assert not asked(strange).allowed


SEVERAL: Final = request(
    targets=tuple(RequestTarget(id=name, type="host", criticality="low") for name in ("a", "b"))
)


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        (b'{"evaluations": [{"decision": true}, {"decision": true}]}', True),
        (b'{"evaluations": [{"decision": true}, {"decision": false}]}', False),
        (b'{"evaluations": [{"decision": true}]}', False),
        (b'{"evaluations": [{"decision": true}, {"decision": true}, {"decision": true}]}', False),
        (b'{"evaluations": [{"decision": true}, true]}', False),
        (b'{"decision": true}', False),
    ],
)
def test_of_several_targets_each_needs_its_yes(body: bytes, allowed: bool) -> None:
    path, _ = question(SEVERAL)

    assert path == "/access/v1/evaluations"
    assert opinion(body, SEVERAL, "there").allowed is allowed


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_bytes_but_a_clear_yes_allow_and_none_raise(data: bytes) -> None:
    said = opinion(data, request(), "there")

    assert not said.allowed and said.answer == digest_of(data)


# --- at every gate ---


class Elsewhere:
    """A decision point that answers as the test says, and notes what it was asked."""

    def __init__(self) -> None:
        self.allows = True
        self.asked: list[Gate] = []

    async def of(self, about: PolicyRequest) -> Opinion:
        self.asked.append(about.gate)
        return Opinion(source="there", allowed=self.allows, reason="because", answer=None)


def test_an_outside_no_before_the_ticket_blocks_and_is_recorded(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.opinions = there = Elsewhere()
            house.life()
            operation = await planned(house, change("one"))
            there.allows = False

            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.BLOCKED
            record = of_kind(house, operation, Decision)[-1].record
            assert isinstance(record, Decision) and record.opinion is not None
            assert record.reason == "`there` denies: because"
            assert there.asked == [Gate.TICKET] and house.reality.calls == []

    asyncio.run(story())


def test_an_outside_no_in_mid_run_stops_the_next_change(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.opinions = there = Elsewhere()
            house.life()
            operation = await planned(house, change("one"), change("two"))

            async def meanwhile() -> None:
                there.allows = False

            house.lane.during = meanwhile
            await house.lifecycle.start(operation)

            assert ended(house, operation).state is State.FAILED
            assert {step for _, step, _ in house.reality.effects} == {"one"}
            assert there.asked == [Gate.TICKET, Gate.CALL, Gate.CALL]

    asyncio.run(story())


def test_an_outside_yes_changes_nothing_and_a_no_of_ours_is_not_put_to_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with housed(tmp_path) as house:
            house.opinions = there = Elsewhere()
            house.life()
            operation = await planned(house, change("one"))
            house.authority.packs = (NO_CHANGES,)

            await house.lifecycle.start(operation)

            assert op_of(house, operation).state is State.BLOCKED
            assert there.asked == [] and kinds(house, operation)[-2:] == ["decision", "receipt"]

    asyncio.run(story())


def test_why_names_who_denied_and_that_no_approval_helps() -> None:
    blocked = Terms(verdict=Verdict.BLOCKED, approvals=(), obligations=NO_OBLIGATIONS)
    no = Opinion(source="there", allowed=False, reason="because")
    answer = Answer(terms=blocked, rules=(), packs=(), errors=(), reason="r", opinion=no)

    lines = of_answer(answer, request())

    assert "asked outside: `there` denies: because" in lines
    assert lines[-1] == "no approval overrides this; `there` has to agree"
