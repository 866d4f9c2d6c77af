"""Which hosts the SSH lane goes to, how it gets in, and how it shares connections; against real servers."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from rexecop.lanes import ssh_connections
from rexecop.lanes.failures import Failure, retryable
from rexecop.lanes.port import LaneResult
from rexecop.proof.call import Call
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, Ended
from tests.lanes.ssh_calls import command, exchange, facts, host, lane_for, result, result_in_loop
from tests.lanes.sshd import Sshd, fingerprint, free_port, make_key, public, sshd
from tests.lanes.support import run
from tests.needs import needs

pytestmark = needs("sshd", "ssh-keygen", "ssh-agent")

HELLO: Final[dict[str, Json]] = {"command": {"argv": ["echo", "hello"]}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with sshd(tmp_path_factory.mktemp("ssh") / "server") as running:
        yield running


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key that is nobody's."""
    return make_key(tmp_path_factory.mktemp("keys") / "other")


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server whose host key is vouched for by the authority in `ca`."""
    folder = tmp_path_factory.mktemp("ssh") / "certified"
    folder.mkdir()
    authority, key = make_key(folder / "ca"), make_key(folder / "its")
    sign = ["ssh-keygen", "-q", "-s", str(authority), "-I", "host", "-h", "-n", "127.0.0.1", f"{key}.pub"]
    subprocess.run(sign, check=True, capture_output=True)
    (folder / "its-cert.pub").rename(folder / "host-cert.pub")
    with sshd(folder, f"HostCertificate {folder / 'host-cert.pub'}", host_key=key) as running:
        yield running


def hello(server: Sshd, effect: Effect = Effect.CHANGE, **changes: Json) -> Call:
    return exchange([host(server, **changes)], HELLO, effect)


def said(found: LaneResult) -> tuple[Ended, bytes]:
    return found.ended, found.stdout


class TestKnownHosts:
    def test_the_key_that_was_seen_stands_in_the_facts(self, server: Sshd) -> None:
        seen = facts(result(lane_for(server), hello(server)))

        assert seen["host_key"] == fingerprint(server.folder / "host.pub")
        assert (seen["host_key_type"], seen["host_key_trust"]) == ("ssh-ed25519", "pinned")
        assert str(seen["server"]).startswith("SSH-2.0-OpenSSH")

    def test_a_fingerprint_is_enough_to_know_a_host(self, server: Sshd, other: Path) -> None:
        known = hello(server, host_keys=[fingerprint(other), fingerprint(server.folder / "host.pub")])
        wrong = hello(server, host_keys=[fingerprint(other)])

        assert said(result(lane_for(server), known)) == (Ended.OK, b"hello\n")
        assert result(lane_for(server), wrong).failure is Failure.HOST_KEY_MISMATCH

    @pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
    def test_a_host_with_another_key_is_told_nothing(self, tmp_path: Path, kind: str) -> None:
        asked: list[str] = []
        with sshd(tmp_path / "server") as server:
            call = hello(server, host_keys=[public(make_key(tmp_path / "pinned", kind))])
            found = result(lane_for(server), call, clearance=lambda: asked.append("asked"))

            assert (found.ended, found.failure) == (Ended.REFUSED, Failure.HOST_KEY_MISMATCH)
            assert asked == [] and server.user not in server.log

    def test_a_certificate_is_trusted_by_its_authority_only(self, certified: Sshd, other: Path) -> None:
        by = [public(certified.folder / "ca")]
        lane = lane_for(certified)
        good = result(lane, hello(certified, host_keys=[], authorities=by))
        bad = result(lane, hello(certified, host_keys=[], authorities=[public(other)]))

        assert (good.ended, facts(good)["host_key_trust"]) == (Ended.OK, "certified")
        assert bad.failure is Failure.HOST_KEY_MISMATCH

    def test_a_certificate_for_another_name_is_none(self, certified: Sshd) -> None:
        by = [public(certified.folder / "ca")]
        call = hello(certified, host="localhost", host_keys=[], authorities=by)

        assert result(lane_for(certified), call).failure is Failure.HOST_KEY_MISMATCH

    def test_a_key_taken_back_is_refused_whoever_vouches_for_it(self, certified: Sshd, server: Sshd) -> None:
        by = [public(certified.folder / "ca")]
        signed = hello(certified, host_keys=[], authorities=by, revoked=[certified.host_key])
        pinned = hello(server, revoked=[server.host_key])
        printed = hello(
            server, host_keys=[fingerprint(server.folder / "host.pub")], revoked=[server.host_key]
        )

        for at, call in ((certified, signed), (server, pinned), (server, printed)):
            assert result(lane_for(at), call).failure is Failure.HOST_KEY_MISMATCH

    def test_a_message_without_a_known_key_is_refused(self, server: Sshd) -> None:
        found = result(lane_for(server), hello(server, host_keys=[]))

        assert (found.ended, found.failure) == (Ended.REFUSED, Failure.REQUEST_INVALID)

    def test_a_host_that_is_no_peer_is_refused(self, server: Sshd) -> None:
        call = hello(server)
        request = type(call.request)(protocol="ssh/1", message=call.request.message, peers=("other:22",))  # type: ignore[union-attr,call-arg]
        found = result(
            lane_for(server),
            type(call)(target="db-1", connector="host", action="look", effect=Effect.READ, request=request),
        )

        assert found.failure is Failure.REQUEST_INVALID


class TestGettingIn:
    def test_an_identity_may_be_a_file_that_nobody_else_can_read(self, server: Sshd, tmp_path: Path) -> None:
        path = tmp_path / "identity"
        path.write_text(server.key.read_text())
        path.chmod(0o600)
        good = result(lane_for(server, key=str(path)), hello(server))
        path.chmod(0o640)
        bad = result(lane_for(server, key=str(path)), hello(server))

        assert said(good) == (Ended.OK, b"hello\n")
        assert (bad.ended, bad.failure) == (Ended.REFUSED, Failure.SECRET_PERMISSIONS)
        assert str(path) not in (bad.message or "")

    def test_an_identity_is_no_link(self, server: Sshd, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(server.key)
        found = result(lane_for(server, key=str(tmp_path / "link")), hello(server))

        assert found.failure is Failure.SECRET_UNREADABLE

    def test_a_certificate_of_a_ca_gets_in(self, tmp_path: Path, other: Path) -> None:
        ca = make_key(tmp_path / "ca")
        key = make_key(tmp_path / "fresh")
        with sshd(tmp_path / "server", f"TrustedUserCAKeys {ca}.pub") as server:
            sign = [
                "ssh-keygen",
                "-q",
                "-s",
                str(ca),
                "-I",
                "call",
                "-n",
                server.user,
                "-V",
                "+5m",
                f"{key}.pub",
            ]
            subprocess.run(sign, check=True, capture_output=True)
            signed = (tmp_path / "fresh-cert.pub").read_text()
            call = hello(server, certificate={"secret": "certificate"})
            good = result(lane_for(server, key=key.read_text(), certificate=signed), call)
            without = result(lane_for(server, key=key.read_text()), hello(server))

        assert said(good) == (Ended.OK, b"hello\n")
        assert without.failure is Failure.AUTH_FAILED

    def test_a_key_the_host_does_not_know_does_not_get_in(self, server: Sshd, other: Path) -> None:
        found = result(lane_for(server, key=other.read_text()), hello(server))

        assert (found.ended, found.failure) == (Ended.FAILED, Failure.AUTH_FAILED)

    def test_a_key_of_the_agent_gets_in_by_its_fingerprint(
        self, server: Sshd, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        agent = tmp_path / "agent"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", str(agent)], stdout=subprocess.DEVNULL)
        try:
            while not agent.exists():
                os.sched_yield()
            monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
            for key in (other, server.key):
                subprocess.run(["ssh-add", "-q", str(key)], check=True)
            own = hello(server, identity="", agent=fingerprint(server.key))
            wrong = hello(server, identity="", agent=fingerprint(other))

            assert said(result(lane_for(server), own)) == (Ended.OK, b"hello\n")
            assert result(lane_for(server), wrong).failure is Failure.AUTH_FAILED
        finally:
            process.terminate()
            process.wait()

    def test_without_an_agent_nobody_gets_in_by_one(
        self, server: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)

        found = result(lane_for(server), hello(server, identity="", agent="any"))

        assert found.failure is Failure.SECRET_UNAVAILABLE

    def test_the_key_does_not_come_out_again(self, server: Sshd) -> None:
        found = result(lane_for(server), command(server, "cat", str(server.key)))

        assert found.ended is Ended.OK and found.redactions > 0
        assert not any(len(line) > 40 for line in found.stdout.split(b"\n"))


class TestTheWay:
    def test_a_host_behind_another_is_reached_through_it(self, server: Sshd, tmp_path: Path) -> None:
        with sshd(tmp_path / "behind") as behind:
            lane = lane_for(server, inner=behind.key.read_text())
            inner = host(behind, identity={"secret": "inner"})
            found = result(lane, exchange([host(server), inner], HELLO))
            log = behind.log

        assert said(found) == (Ended.OK, b"hello\n")
        assert facts(found)["via"] == [f"127.0.0.1:{server.port} {fingerprint(server.folder / 'host.pub')}"]
        assert facts(found)["host_key"] == fingerprint(tmp_path / "behind" / "host.pub")
        assert "Accepted publickey" in log

    def test_a_wrong_key_on_the_way_stops_there(self, server: Sshd, tmp_path: Path, other: Path) -> None:
        with sshd(tmp_path / "behind") as behind:
            lane = lane_for(server, inner=behind.key.read_text())
            route = [host(server, host_keys=[public(other)]), host(behind, identity={"secret": "inner"})]
            found = result(lane, exchange(route, HELLO))

            assert (found.ended, found.failure) == (Ended.REFUSED, Failure.HOST_KEY_MISMATCH)
            assert f"127.0.0.1:{server.port}" in (found.message or "")
            assert behind.user not in behind.log

    def test_a_host_that_is_down_and_a_name_that_is_none_may_pass(self, server: Sshd) -> None:
        down = hello(server, port=free_port())
        unknown = hello(server, host="no-such-host.invalid")

        for call in (down, unknown):
            found = result(lane_for(server), call)
            assert (found.ended, found.failure) == (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
            assert found.failure is not None and retryable(found.failure)

    def test_a_host_that_never_answers_is_a_timeout_and_no_change(
        self, server: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh_connections, "CONNECT_SECONDS", 0.3)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            found = result(lane_for(server), hello(server, port=silent.getsockname()[1]))

        assert (found.ended, found.failure) == (Ended.FAILED, Failure.TIMEOUT)


class TestSharing:
    def test_calls_share_a_connection_and_one_that_broke_is_made_anew(self, tmp_path: Path) -> None:
        async def calls(server: Sshd) -> list[Ended]:
            lane = lane_for(server)
            first = await asyncio.gather(*(result_in_loop(lane, command(server, "true")) for _ in range(4)))
            server.drop_connections()
            again = await result_in_loop(lane, command(server, "true"))
            return [found.ended for found in (*first, again)]

        with sshd(tmp_path / "server") as server:
            assert run(calls(server)) == [Ended.OK] * 5
            assert server.log.count("Accepted publickey") == 2

    def test_a_connection_nobody_uses_is_closed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ssh_connections, "IDLE_SECONDS", 0.05)

        async def calls(server: Sshd) -> None:
            lane = lane_for(server)
            await result_in_loop(lane, command(server, "true"))
            while "disconnect" not in server.log.lower():
                await asyncio.sleep(0.01)
            assert (await result_in_loop(lane, command(server, "true"))).ended is Ended.OK

        with sshd(tmp_path / "server") as server:
            run(asyncio.wait_for(calls(server), 60))

    def test_calls_wait_for_a_place_and_a_host_with_fewer_says_so(self, tmp_path: Path) -> None:
        async def abreast(server: Sshd, sessions: int, seconds: str) -> list[LaneResult]:
            lane = lane_for(server)
            part: dict[str, Json] = {"command": {"argv": ["sleep", seconds]}}
            calls = [exchange([host(server)], part, sessions=sessions) for _ in range(5)]
            return await asyncio.gather(*(result_in_loop(lane, call) for call in calls))

        with sshd(tmp_path / "server", "MaxSessions 3") as server:
            waiting = run(abreast(server, 2, "0.05"))
            refused = run(abreast(server, 8, "2"))

        assert [found.ended for found in waiting] == [Ended.OK] * 5
        over = [found for found in refused if found.ended is not Ended.OK]
        assert len(over) == 2
        assert {(found.ended, found.failure) for found in over} == {
            (Ended.FAILED, Failure.TRANSIENT_CONNECTOR_ERROR)
        }


def test_without_the_library_the_refusal_names_the_extra(
    server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rexecop.lanes.ssh_command", None)

    found = result(lane_for(server), hello(server))

    assert (found.ended, found.failure) == (Ended.REFUSED, Failure.LANE_UNAVAILABLE)
    assert "rexecop[ssh]" in (found.message or "")
