"""How the service faces callers and whoever keeps it: limits, TLS, proxies, systemd, the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rexecop.app.serving import Serving, open_serving
from rexecop.app.settings import Settings, load_settings
from rexecop.cli.main import run
from rexecop.service import body
from rexecop.service.connections import HEAD_BYTES_MAX, HEADERS_MAX, Connection
from rexecop.service.errors import AddressUnavailable, DemoExposed, PeerRefused, TlsRefused
from rexecop.service.server import PLAIN, Facing, listen, serve
from rexecop.service.supervised import Supervisor, handed_over
from rexecop.service.tls import Tls
from tests.house.source import ROOT
from tests.service.conftest import fresh_root
from tests.service.running import Running, running

WAIT_SECONDS: Final = 60.0
HEAD: Final = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_SECONDS)


def to_the_end(client: socket.socket) -> bytes:
    """Everything the service still sends until it ends the connection."""
    parts = []
    try:
        while part := client.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def settings_of(root: str) -> Settings:
    here = Path(root).parent
    return load_settings({"root": root}, {}, here, here)


# --- clients that are slow, long-winded or too many ---


def hurried(root: str) -> None:
    """A service with little patience."""
    Connection.head_seconds = 1.0
    body.BODY_SECONDS_MAX = 0.3  # type: ignore[misc,assignment]
    serve(settings_of(root), host="127.0.0.1", port=0)


def narrow(root: str) -> None:
    """A service with room for two connections."""
    Connection.connections_max = 2
    serve(settings_of(root), host="127.0.0.1", port=0)


@pytest.fixture(scope="module")
def hurry(settings: Settings) -> Iterator[Running]:
    with running(settings.root, hurried) as found:
        yield found


@pytest.fixture(scope="module")
def narrowed(settings: Settings) -> Iterator[Running]:
    with running(settings.root, narrow) as found:
        yield found


def test_who_says_nothing_is_not_waited_for(hurry: Running) -> None:
    with connected(hurry.port) as client:
        assert to_the_end(client) == b""


@pytest.mark.parametrize("said", [b"G", HEAD, HEAD + b"X: y"])
def test_a_head_that_does_not_end_is_not_waited_for(hurry: Running, said: bytes) -> None:
    with connected(hurry.port) as client:
        client.sendall(said)
        assert to_the_end(client).startswith(b"HTTP/1.1 408 ")


def test_the_second_head_on_a_connection_is_not_waited_for_either(hurry: Running) -> None:
    with connected(hurry.port) as client:
        client.sendall(HEAD + b"\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /")
        assert b"HTTP/1.1 408 " in to_the_end(client)


def test_a_body_that_does_not_come_is_not_waited_for(hurry: Running) -> None:
    with connected(hurry.port) as client:
        client.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        client.sendall(b'Content-Length: 99\r\nConnection: close\r\n\r\n{"action"')
        assert to_the_end(client).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"X: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n",
        HEAD + b"X: y\r\n" * HEADERS_MAX + b"\r\n",
        b"GET /" + b"y" * HEAD_BYTES_MAX + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_head_that_is_too_long_is_refused(narrowed: Running, head: bytes) -> None:
    with connected(narrowed.port) as client:
        client.sendall(head)
        assert to_the_end(client).startswith(b"HTTP/1.1 431 ")


def test_a_head_without_an_end_is_cut_off(narrowed: Running) -> None:
    with connected(narrowed.port) as client:
        client.sendall(HEAD)
        with pytest.raises(OSError):  # How much it takes is the system's.
            for _ in range(1000):
                client.sendall(b"X: " + b"y" * 60_000)
            raise AssertionError("it took everything")


def test_one_connection_too_many_is_told_when_to_come_again(narrowed: Running) -> None:
    with connected(narrowed.port) as first, connected(narrowed.port) as second:
        for client in (first, second):  # Both are there once they were answered.
            client.sendall(HEAD + b"\r\n")
            assert client.recv(65_536).startswith(b"HTTP/1.1 200 ")
        with connected(narrowed.port) as third:
            third.sendall(HEAD + b"\r\n")
            found = to_the_end(third)

    assert found.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1\r\n" in found.lower()


# --- names, and proxies ---


def told_scheme(root: str, proxy: str) -> None:
    """A service that answers to one more name, behind a proxy."""
    facing = Facing(names=("Ops.Example",), proxy=proxy)
    serve(settings_of(root), host="127.0.0.1", port=0, facing=facing, allow_remote_demo=True)


@pytest.mark.parametrize("proxy", ["127.0.0.0/8", "192.0.2.1"])
def test_only_the_proxy_that_is_named_is_believed(settings: Settings, proxy: str) -> None:
    asked = {"action": "echo", "nonce": f"behind-{proxy}"}
    with running(settings.root, told_scheme, proxy) as service:
        reply = service.call(
            "POST",
            "/execute",
            json.dumps(asked).encode(),
            Host="ops.example",
            Origin="https://ops.example",
            Content_Type="application/json",
            X_Forwarded_Proto="https",
        )
        foreign = service.call(
            "POST", "/execute", b"{}", Host="other.example", Content_Type="application/json"
        )

    # Its own origin is https only if the proxy's word for that counts.
    assert (reply.status, foreign.status) == (200 if "127" in proxy else 403, 421)


@pytest.mark.parametrize("proxy", ["proxy.example", "192.0.2.1/24", "*", ""])
def test_a_proxy_is_named_by_its_address(settings: Settings, proxy: str) -> None:
    with pytest.raises(PeerRefused):
        serve(settings, host="127.0.0.1", port=0, facing=Facing(proxy=proxy))


@pytest.mark.parametrize("facing", [Facing(proxy="127.0.0.1"), Facing(names=("ops.example",))])
def test_demo_mode_is_not_for_others_through_a_proxy_or_by_a_name(settings: Settings, facing: Facing) -> None:
    with pytest.raises(DemoExposed):
        serve(settings, host="127.0.0.1", port=0, facing=facing)


# --- TLS ---


class Authority:
    """An authority of this test, and the certificates it gives out."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self._folder = folder
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._signed(self._name, self._key, authority=True))

    def _signed(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool = False) -> bytes:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        )
        made = made.serial_number(x509.random_serial_number())
        made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        signed = made.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM)

    def give(self, name: str) -> tuple[Path, Path]:
        """A new certificate for `name`, and its key, in the files of that name."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert, private = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert.write_bytes(self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key))
        pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, plain))
        return cert, private


def secured(root: str, cert: str, key: str, authority: str) -> None:
    """A service over TLS for clients of one authority."""
    shown = Tls(cert=Path(cert), key=Path(key), client_ca=Path(authority))
    serve(settings_of(root), host="127.0.0.1", port=0, facing=Facing(tls=shown))


def shown(port: int, authority: Path, own: tuple[Path, Path] | None) -> tuple[bytes, bytes]:
    """The certificate shown on `port`, and what is answered there."""
    context = ssl.create_default_context(cafile=str(authority))
    if own is not None:
        context.load_cert_chain(*own)
    with context.wrap_socket(connected(port), server_hostname="localhost") as client:
        cert = client.getpeercert(binary_form=True)
        assert cert is not None
        try:
            client.sendall(HEAD + b"Connection: close\r\n\r\n")
            return cert, to_the_end(client)
        except OSError:
            return cert, b""


def test_over_tls_clients_show_theirs_and_a_renewed_certificate_is_shown_after_a_signal(
    settings: Settings, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.give("service")
    client = authority.give("client")
    with running(settings.root, secured, str(cert), str(key), str(authority.file)) as service:
        first, answered = shown(service.port, authority.file, client)
        assert shown(service.port, authority.file, None)[1] == b""
        authority.give("service")
        cert.with_suffix(".kept").write_bytes(cert.read_bytes())
        cert.write_bytes(b"half a fi")
        service.process.send_signal(signal.SIGHUP)
        assert "the old one is still shown" in service.process.stderr.readline()
        assert shown(service.port, authority.file, client)[0] == first
        cert.write_bytes(cert.with_suffix(".kept").read_bytes())
        service.process.send_signal(signal.SIGHUP)
        second = first
        for _ in range(600):  # The signal is heard soon; each look takes some milliseconds.
            if (second := shown(service.port, authority.file, client)[0]) != first:
                break
        assert service.stop() == 0

    assert answered.startswith(b"HTTP/1.1 200 ") and second != first


def test_files_that_are_no_certificate_are_one_clear_error(settings: Settings, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.give("one")
    _, other = authority.give("other")
    wrong = [(tmp_path / "none", key, None), (cert, other, None), (key, key, None), (cert, key, other)]
    for chain, private, clients in wrong:
        with pytest.raises(TlsRefused) as found:
            facing = Facing(tls=Tls(cert=chain, key=private, client_ca=clients))
            serve(settings, host="127.0.0.1", port=0, facing=facing)
        assert str(tmp_path) in found.value.message and "\n" not in found.value.message


@pytest.mark.parametrize("words", ["--tls-cert x", "--tls-key x", "--tls-client-ca x"])
def test_half_of_what_tls_takes_is_one_clear_error(capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert run(("serve", *words.split())) == 2
    assert "--tls-cert" in capsys.readouterr().err


# --- whoever started it ---


@contextmanager
def told_of(folder: Path) -> Iterator[socket.socket]:
    """A socket that a supervisor hears on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as found:
        found.bind(str(folder / "notify"))
        found.settimeout(WAIT_SECONDS)
        yield found


def watched(root: str, notify: str, broken: str) -> None:
    """A service that a supervisor started with a socket; with `broken` its ledger cannot be written."""
    with listen("127.0.0.1", 0) as given:
        os.dup2(given.fileno(), 3)
    environ = {"NOTIFY_SOCKET": notify, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": str(os.getpid())}
    os.environ.update(environ, LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="http")
    if broken:

        async def problem(self: object) -> str:
            return "the disk is full"

        Serving.ledger_problem = problem  # type: ignore[method-assign]
    serve(settings_of(root), host="192.0.2.1", port=1, facing=Facing(drain_seconds=600))


def test_whoever_started_it_hears_when_it_serves_that_it_is_well_and_when_it_ends(
    settings: Settings, tmp_path: Path
) -> None:
    with told_of(tmp_path) as hears, running(settings.root, watched, str(tmp_path / "notify"), "") as service:
        first = {hears.recv(100) for _ in range(3)}
        assert service.get("/readyz").status == 200
        service.process.send_signal(signal.SIGTERM)
        while hears.recv(100) != b"STOPPING=1":
            pass
        assert [service.get(path).status for path in ("/readyz", "/health")] == [503, 200]
        assert service.stop() == 0  # Told once more it ends at once.

    assert first == {b"READY=1", b"WATCHDOG=1"}


def test_a_service_whose_ledger_cannot_be_written_does_not_say_that_it_is_well(
    settings: Settings, tmp_path: Path
) -> None:
    with (
        told_of(tmp_path) as hears,
        running(settings.root, watched, str(tmp_path / "notify"), "y") as service,
    ):
        assert hears.recv(100) == b"READY=1"
        for _ in range(20):
            assert service.get("/healthz").status == 200
        service.process.send_signal(signal.SIGTERM)
        assert hears.recv(100) == b"STOPPING=1"
        assert service.stop() == 0


def test_what_a_supervisor_says_to_others_is_nothing_to_this_process(tmp_path: Path) -> None:
    environ = {"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1", "LISTEN_PID": "1", "LISTEN_FDS": "1"}
    assert Supervisor(environ).look_seconds is None and handed_over(environ) is None
    assert environ == {}
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell("READY=1")
    mine = Supervisor({"WATCHDOG_USEC": "3000000"})
    assert mine.look_seconds == 1


def test_what_is_handed_over_must_be_one_socket_that_listens() -> None:
    with pytest.raises(AddressUnavailable):
        handed_over({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"})


def test_a_root_that_is_served_plainly_faces_nobody_else(tmp_path: Path) -> None:
    assert (PLAIN.tls, PLAIN.names, PLAIN.proxy) == (None, (), None)
    with open_serving(fresh_root(tmp_path)) as serving:
        assert serving.log is None


# --- files that go with it ---

UNITS: Final = ROOT / "examples" / "systemd"


def test_the_units_are_what_systemd_takes(tmp_path: Path) -> None:
    for unit in UNITS.iterdir():
        text = unit.read_text()
        # The machine that checks has no program there.
        (tmp_path / unit.name).write_text(re.sub(r"^(Exec\w+=)\S+", r"\1/bin/true", text, flags=re.MULTILINE))
    for command in re.findall(
        r"^ExecStart=\S+/rexecop (.+)$", "\n".join(u.read_text() for u in UNITS.iterdir()), re.M
    ):
        assert command.split()[0] in ("serve", "worker", "schedule", "--root")
    if shutil.which("systemd-analyze") is not None:
        units = sorted(str(path) for path in tmp_path.iterdir())
        ran = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, ran.stderr) == (0, "")
