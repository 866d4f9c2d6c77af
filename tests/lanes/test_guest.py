"""The guest lane against a real `rexecop guest` behind a real socket."""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rexecop.app.clock import SystemClock
from rexecop.app.guests import GrantFile
from rexecop.lanes.bridge.asking import attach
from rexecop.lanes.bridge.frames import (
    FRAME_BYTES_MAX,
    Attach,
    Attached,
    Frame,
    Interrupt,
    Output,
    Refused,
    Run,
    StreamChannel,
)
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.guest import GuestLane
from rexecop.lanes.port import LaneResult
from rexecop.lanes.targets import GUEST_SOCKET, GUEST_TLS
from rexecop.proof.base64text import decode_base64
from rexecop.proof.call import Call
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.vocabulary import Effect, Ended, Isolation
from tests.lanes.bridges import GRANT, BridgeContract, as_message, guest_call, program, token_of, until_end
from tests.lanes.contract import gone
from tests.lanes.support import LIMITS, NOON, call_lane, result_of, run, secrets_of, shell

SLEEP = ("/bin/sleep", "30")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guest")


@pytest.fixture(scope="module")
def token(folder: Path) -> str:
    return token_of(folder / "grants.json")


@pytest.fixture(scope="module")
def place(folder: Path, token: str) -> Iterator[dict[str, Json]]:
    path = folder / "guest.sock"
    with program("guest", "--socket", str(path), "--grants", str(folder / "grants.json"), ready="listening"):
        yield {"socket": str(path)}


@pytest.fixture
def lane(token: str) -> GuestLane:
    return lane_with(token)


def lane_with(token: str, **others: str) -> GuestLane:
    known = {GRANT: token, **others}
    return GuestLane(secrets_of(**{name: value.encode() for name, value in known.items()}))


def made(lane: GuestLane, call: Call) -> LaneResult:
    return result_of(call_lane(lane, call, isolation=Isolation.NOT_APPLICABLE))


class TestGuestContract(BridgeContract):
    isolation = Isolation.NOT_APPLICABLE

    @pytest.fixture(autouse=True)
    def _lane(self, place: dict[str, Json], lane: GuestLane, token: str) -> None:
        self.place, self.lane, self.token = place, lane, token

    def session(self, *needed: str) -> AbstractAsyncContextManager[StreamChannel]:
        return session(self.place, self.token, *needed)

    def private(self) -> Path:
        return Path(str(self.place["socket"])).with_name("grants.json")

    def program(self, *argv: str, **options: object) -> Call:
        return guest_call(self.place, *argv, effect=Effect.READ, peers=(), **as_message(options))

    def saying(self, text: str) -> Call:
        return guest_call(self.place, "/usr/bin/printf", "%s", text)

    def failing(self) -> Call:
        return guest_call(self.place, "/bin/false")

    def slow(self) -> Call:
        return guest_call(self.place, *SLEEP)

    def foreign(self) -> Call:
        return shell("true")


@asynccontextmanager
async def session(place: dict[str, Json], token: str, *needed: str) -> AsyncIterator[StreamChannel]:
    channel = StreamChannel(*await asyncio.open_unix_connection(str(place["socket"])))
    try:
        asked = Attach(versions=(1,), capabilities=needed or ("run",), target="box-1", grant=token)
        assert isinstance(await attach(channel, asked), Attached)
        yield channel
    finally:
        await channel.close()


def asking(place: dict[str, Json], *argv: Json, number: int = 0, effect: Effect = Effect.READ) -> Run:
    return Run(id=number, call=guest_call(place, *argv, effect=effect), limits=LIMITS, secrets={})


# --- who may attach ---


def test_without_the_token_of_a_grant_nothing_runs(place: dict[str, Json], tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    result = made(lane_with("0" * 64), guest_call(place, "/usr/bin/touch", str(witness)))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.AUTH_FAILED)
    assert not witness.exists()


def test_the_file_of_grants_holds_no_token(folder: Path, token: str) -> None:
    path = folder / "grants.json"

    assert token not in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_revoked_grant_is_refused_at_once_and_what_runs_by_it_ends(
    place: dict[str, Json], folder: Path, tmp_path: Path
) -> None:
    grants = folder / "grants.json"
    token, seen = token_of(grants, "passing"), tmp_path / "pid"

    async def revoked_meanwhile() -> Frame:
        async with session(place, token) as channel:
            await channel.send(asking(place, "/bin/sh", "-c", "echo $$; exec sleep 30"))
            first = await channel.receive()
            assert isinstance(first, Output)
            seen.write_bytes(decode_base64(first.data))
            GrantFile(grants).revoke("passing")
            return (await until_end(channel))[1]

    last = run(revoked_meanwhile())

    assert isinstance(last, Refused) and last.failure is Failure.AUTH_FAILED
    assert run(gone(int(seen.read_text())))
    after = made(lane_with(token), guest_call(place, "/bin/true"))
    assert (after.ended, after.failure) == (Ended.REFUSED, Failure.AUTH_FAILED)


def test_a_grant_gives_no_more_than_it_names(place: dict[str, Json], folder: Path) -> None:
    token = token_of(folder / "grants.json", "starter", 1, "start")

    result = made(lane_with(token), guest_call(place, "/bin/true"))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.UNSUPPORTED)


def test_what_a_grant_does_not_name_is_refused_also_to_who_did_not_ask_for_it_before(
    place: dict[str, Json], folder: Path
) -> None:
    token = token_of(folder / "grants.json", "runner", 1, "run")
    in_terminal = replace(
        asking(place), call=guest_call(place, "/bin/true", effect=Effect.READ, peers=(), tty={})
    )

    async def asked() -> tuple[Frame, Frame]:
        async with session(place, token) as channel:
            await channel.send(in_terminal)
            terminal = await channel.receive()
            await channel.send(asking(place, "/bin/sh", "-c", "echo on; exec sleep 30", number=1))
            await channel.receive()
            await channel.send(Interrupt(id=1))
            return terminal, (await until_end(channel))[1]

    terminal, interrupt = run(asked())

    assert isinstance(terminal, Refused) and terminal.failure is Failure.UNSUPPORTED
    assert isinstance(interrupt, Refused) and "`interrupt`" in interrupt.message


# --- what is said over the socket ---


def test_a_frame_of_an_unknown_kind_ends_the_session(place: dict[str, Json], token: str) -> None:
    async def nonsense() -> Frame:
        async with session(place, token) as channel:
            await channel.send_bytes(b'{"kind":"reboot/1"}')
            return await channel.receive()

    answer = run(nonsense())

    assert isinstance(answer, Refused) and "reboot/1" in answer.message


def test_a_frame_past_the_size_cap_is_refused_before_it_is_read(place: dict[str, Json], token: str) -> None:
    async def huge() -> Frame:
        async with session(place, token) as channel:
            channel.writer.write(struct.pack(">I", FRAME_BYTES_MAX + 1))
            return await channel.receive()

    answer = run(huge())

    assert isinstance(answer, Refused) and str(FRAME_BYTES_MAX + 1) in answer.message


def test_another_version_of_the_protocol_is_refused(place: dict[str, Json], token: str) -> None:
    async def newer() -> None:
        channel = StreamChannel(*await asyncio.open_unix_connection(str(place["socket"])))
        await attach(channel, Attach(versions=(2,), capabilities=(), target="box-1", grant=token))

    with pytest.raises(RequestRefused):
        run(newer())


def test_a_call_ends_with_the_connection_that_asked_for_it(place: dict[str, Json], token: str) -> None:
    async def left() -> int:
        async with session(place, token) as channel:
            await channel.send(asking(place, "/bin/sh", "-c", "echo $$; exec sleep 30"))
            first = await channel.receive()
            assert isinstance(first, Output)
            return int(decode_base64(first.data))

    assert run(gone(run(left())))


# --- what comes of a call ---


def test_secrets_are_filled_in_over_there_and_come_back_from_no_output(
    place: dict[str, Json], token: str
) -> None:
    lane = lane_with(token, door="correct horse battery")
    call = guest_call(
        place, "/bin/sh", "-c", 'echo "$KEY"; cat', env={"KEY": {"secret": "door"}}, stdin="tail"
    )

    result = made(lane, call)

    assert result.stdout == b"[redacted]\ntail"
    assert result.redactions == 1
    assert "horse" not in repr(result)


def test_a_secret_among_the_arguments_is_refused(place: dict[str, Json], token: str) -> None:
    result = made(
        lane_with(token, door="open sesame now"), guest_call(place, "/bin/echo", {"secret": "door"})
    )

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)


def test_the_outcome_says_what_was_seen_and_what_the_guest_says(
    place: dict[str, Json], lane: GuestLane
) -> None:
    result = made(lane, guest_call(place, "/bin/true", isolation="rlimits"))

    facts = result.measured.facts or {}
    assert facts["guest"] == {"class": GUEST_SOCKET, "socket": place["socket"], "uid": os.getuid()}
    there = facts["there"]
    assert isinstance(there, dict) and there["isolation"] == "rlimits"
    assert result.measured.network == "peers"


def test_a_guest_held_by_another_user_than_named_is_refused(place: dict[str, Json], lane: GuestLane) -> None:
    result = made(lane, guest_call({**place, "uid": os.getuid() + 1}, "/bin/true"))

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.TARGET_UNATTESTED)


def test_a_guest_that_is_not_there_was_not_asked(lane: GuestLane, tmp_path: Path) -> None:
    call = guest_call({"socket": str(tmp_path / "nobody.sock")}, "/bin/true", effect=Effect.CHANGE)

    result = made(lane, call)

    assert (result.ended, result.failure) == (Ended.REFUSED, Failure.TRANSIENT_CONNECTOR_ERROR)


def test_a_guest_that_dies_leaves_a_change_unknown_and_a_read_failed(folder: Path, token: str) -> None:
    path = folder / "dying.sock"
    place: dict[str, Json] = {"socket": str(path)}

    async def killed() -> list[LaneResult]:
        arguments = ("guest", "--socket", str(path), "--grants", str(folder / "grants.json"))
        with program(*arguments, ready="listening") as process:
            calls = [
                guest_call(place, "/bin/sh", "-c", "echo on; exec sleep 30", effect=effect)
                for effect in (Effect.CHANGE, Effect.READ)
            ]
            opened = [
                lane_with(token).open(call, LIMITS, Isolation.NOT_APPLICABLE, 1, lambda: None)
                for call in calls
            ]
            heard = [[await anext(events)] for events in opened]
            process.kill()
            for events, so_far in zip(opened, heard, strict=True):
                so_far += [event async for event in events]
            return [result_of(events) for events in heard]

    change, read = run(killed())

    assert (change.ended, change.failure) == (Ended.UNKNOWN, Failure.UNKNOWN_OUTCOME)
    assert (read.ended, read.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
    assert change.stdout == b"on\n"


def test_attesting_looks_at_the_guest_and_runs_nothing(
    place: dict[str, Json], lane: GuestLane, tmp_path: Path
) -> None:
    witness = tmp_path / "ran"

    seen = run(lane.attest(guest_call(place, "/usr/bin/touch", str(witness)), NOON))

    assert (seen.class_, seen.measured["uid"], seen.at) == (GUEST_SOCKET, os.getuid(), NOON)
    assert seen.expires > seen.at and not witness.exists()


# --- behind TLS ---


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate for `name` that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / f"{name}.pem", folder / f"{name}.key"
    cert.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return cert, private


def test_a_guest_behind_tls_is_known_by_its_certificate_and_by_no_other(
    folder: Path, token: str, tmp_path: Path
) -> None:
    cert, key = certificate(folder, "localhost")
    stranger, _ = certificate(tmp_path, "localhost")
    files = ("--certificate", str(cert), "--key", str(key), "--grants", str(folder / "grants.json"))
    said: list[str] = []
    with program("guest", "--listen", "localhost:0", *files, ready="listening", said=said):
        port = int(said[0].rpartition(":")[2])
        place: dict[str, Json] = {"host": "localhost", "port": port, "ca": cert.read_text()}
        lane, peers = lane_with(token), (f"localhost:{port}",)

        good = made(lane, guest_call(place, "/bin/echo", "hi", peers=peers))
        elsewhere = made(lane, guest_call(place, "/bin/echo", "hi", peers=("other:1",)))
        other = {**place, "ca": stranger.read_text()}
        forged = made(lane, guest_call(other, "/bin/echo", "hi", peers=peers))

    shown = ssl.PEM_cert_to_DER_cert(cert.read_text())
    facts = (good.measured.facts or {})["guest"]
    assert (good.ended, good.stdout) == (Ended.OK, b"hi\n")
    assert facts == {"class": GUEST_TLS, "certificate": digest_of(shown), "tls": "TLSv1.3"}
    assert (elsewhere.ended, elsewhere.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)
    assert (forged.ended, forged.failure) == (Ended.REFUSED, Failure.HOST_KEY_MISMATCH)
