"""A real server for the HTTP lane that answers as it is told, over TCP or TLS, and certificates for it."""

import asyncio
import datetime
import ipaddress
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rexecop.lanes.port import LaneResult
from rexecop.proof.call import Call, ExchangeRequest
from rexecop.proof.canonical import Json, digest_of
from rexecop.proof.vocabulary import Effect


@dataclass(frozen=True)
class Asked:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


@dataclass
class Web:
    """A server in a thread of its own. `routes` answer by path: with bytes for the wire, or by writing."""

    port: int = 0
    routes: dict[str, "Route"] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    certificates: list[bytes] = field(default_factory=list)  # Of clients, DER.


Route = bytes | Callable[[Asked], bytes] | Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


def reply(body: bytes = b"", status: int = 200, **headers: str) -> bytes:
    """A whole answer; header names take `_` for `-`."""
    lines = [f"HTTP/1.1 {status} Said"]
    if "Content_Length" not in headers:
        lines += [f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def json_reply(text: str, status: int = 200, **headers: str) -> bytes:
    """A whole answer of JSON."""
    return reply(text.encode(), status, Content_Type="application/json", **headers)


@contextmanager
def serving(context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> Iterator[Web]:
    """A server on a free port of loopback, gone afterwards."""
    web, loop, ready = Web(), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        web.connections += 1
        number = web.connections
        shown = writer.get_extra_info("ssl_object")
        if shown is not None and (der := shown.getpeercert(binary_form=True)):
            web.certificates.append(der)
        try:
            while await _one(web, reader, writer, number):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if context is None else writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(handle, host, 0, ssl=context)
        web.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()

    def run() -> None:
        asyncio.set_event_loop(loop)
        main = loop.create_task(serve())
        loop.run_until_complete(main)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield web
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(60)


async def _one(web: Web, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> bool:
    """Answer one request; False when the connection is over."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:-2])}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    asked = Asked(method, target, headers, body, connection)
    web.asked.append(asked)
    route = web.routes.get(target.partition("?")[0], web.routes.get("*", reply(b"nothing here", 404)))
    if callable(route):
        made = route(asked, writer) if route.__code__.co_argcount == 2 else route(asked)  # type: ignore[call-arg]
        if not isinstance(made, bytes):
            await made
            return False
        route = made
    writer.write(route)
    await writer.drain()
    return True


def http_call(
    port: int,
    path: str | Sequence[str] = "/",
    *,
    method: str = "GET",
    effect: Effect | None = None,
    peers: tuple[str, ...] = (),
    host: str = "127.0.0.1",
    scheme: str = "http",
    **message: Json,
) -> Call:
    """A call of `path`; a read where its method is one."""
    origin: dict[str, Json] = {"scheme": scheme, "host": host, "port": port}
    segments: list[Json] = [*(part for part in path.split("/") if part)] if isinstance(path, str) else [*path]
    whole: dict[str, Json] = {
        "method": method,
        "origin": origin,
        "path": segments,
        "addresses": {"private": True},
        **message,
    }
    reads = Effect.READ if method in ("GET", "HEAD", "OPTIONS") else Effect.CHANGE
    request = ExchangeRequest(
        protocol="http/1",
        message=whole,
        peers=(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", *peers),
    )
    return Call(target="web-1", connector="api", action="call", effect=effect or reads, request=request)


def facts_of(result: LaneResult) -> Mapping[str, Json]:
    return result.measured.facts or {}


@dataclass(frozen=True)
class Authority:
    """A certificate authority of the test's own."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, PEM, and its fingerprint."""

    pem: str
    fingerprint: str


_NOW: Final = datetime.datetime.now(datetime.UTC)
_DAY: Final = datetime.timedelta(days=1)


def authority(name: str = "test CA") -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - 2 * _DAY)
        .not_valid_after(_NOW + _DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, True, True, False, False), critical=True
        )
    )
    return Authority(key, builder.sign(key, hashes.SHA256()))


def issue(by: Authority, *names: str, expired: bool = False, days: int = 1) -> Issued:
    """A certificate for `names`, which are host names or addresses, that is good for `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    alternatives: list[x509.GeneralName] = []
    for name in names:
        try:
            alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            alternatives.append(x509.DNSName(name))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]))
        .issuer_name(by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_NOW - 2 * _DAY)
        .not_valid_after(_NOW - _DAY if expired else _NOW + days * _DAY)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.key.public_key()), critical=False
        )
        .sign(by.key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM) + private
    return Issued(pem.decode(), digest_of(certificate.public_bytes(serialization.Encoding.DER)))


def server_context(folder: Path, issued: Issued, clients: Authority | None = None) -> ssl.SSLContext:
    """What a server with the certificate `issued` needs; with `clients` it asks them for theirs."""
    file = folder / f"{issued.fingerprint[7:20]}.pem"
    file.write_text(issued.pem)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=clients.pem)
    return context
