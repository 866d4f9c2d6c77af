"""Connections of the HTTP lane: checked addresses and certificates, and leave right before writing.

Proxies, cookies and credentials from the surroundings are never used.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextvars import ContextVar
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from aiohttp import (
    ClientConnectorError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    ServerDisconnectedError,
    TCPConnector,
)
from aiohttp.abc import AbstractResolver, ResolveResult

from rexecop.lanes.addresses import NEVER, embedded
from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.http import Addresses, Origin, Tls
from rexecop.lanes.port import Clearance
from rexecop.lanes.spawning import memory_file
from rexecop.proof.canonical import Json, digest_of

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

CONNECTIONS_MAX: Final = 64  # Open ones of one pool; calls past that wait their turn.
KEEP_SECONDS: Final = 10.0  # Shorter than what servers usually keep, so that few connections go stale.
LINE_BYTES_MAX: Final = 16 * 1024  # Of the status line and of one header.
READ_BYTES: Final = 1 << 16

# Machines of clouds answer there with the credentials they run under. No connection ever needs that.


@dataclass(slots=True, kw_only=True)
class Leave:
    """One call on its way: whether it may be written, whether it was, and what was seen of the other side.

    `again` says that a request lost on a kept connection may be written once more: that of a read.
    """

    clearance: Clearance
    again: bool
    given: bool = False
    phase: str = "connecting"
    facts: dict[str, Json] = field(default_factory=dict)
    scope: asyncio.Timeout | None = None  # Of the request; moved once there is a connection.
    until: float = 0.0
    first_byte_seconds: float = 0.0
    _kept: bool | None = None  # Whether the last connection of this request had been used before.

    def begin(self) -> None:
        """Begin a further request of the same call."""
        self.phase, self._kept = "connecting", None

    def may_connect(self) -> None:
        """Return only if this is the first connection of the request, or the first of a read was stale."""
        if self._kept is None:
            return
        if not (self._kept and self.again):
            raise ServerDisconnectedError
        self.again = False

    def connected(self, *, kept: bool) -> None:
        """Ask for leave, once in the call, as the last thing before writing.

        Raises:
            ClearanceRefused: there is none; nothing was written.
        """
        if not self.given:
            self.clearance()
            self.given = True
        self._kept = kept
        self.phase = "waiting for the first byte"
        if self.scope is not None:
            first = asyncio.get_running_loop().time() + self.first_byte_seconds
            self.scope.reschedule(min(self.until, first) if self.first_byte_seconds else self.until)


LEAVE: Final[ContextVar[Leave]] = ContextVar("leave")


def check_address(text: str, policy: Addresses) -> None:
    """Return only if `policy` lets a call connect to the address `text`.

    Raises:
        RequestRefused: with `address_refused`.
    """
    written = ip_address(text.partition("%")[0])
    address = embedded(written)
    listed = {embedded(ip_address(item)) for item in policy.only}
    wrong = None
    if address in NEVER or written in NEVER:
        wrong = "hands out credentials of the machine"
    elif address.is_multicast or address.is_unspecified:
        wrong = "is no single machine"
    elif listed and address not in listed:
        wrong = "is not among those listed"
    elif not (address.is_global or policy.private or listed):
        wrong = "is not public; `allow_private` or `addresses` of the connection says which may be reached"
    if wrong is not None:
        raise RequestRefused(Failure.ADDRESS_REFUSED, f"address `{text:.60}` {wrong}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What connections are made by; those of equal rules are kept together, with `keep` for the next call."""

    secure: bool
    tls: Tls | None
    addresses: Addresses
    keep: bool


class _Resolver(AbstractResolver):
    """Resolves a name once per connection and yields only addresses that were checked."""

    def __init__(self, policy: Addresses) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of `host`; one among them that is not allowed refuses them all."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        for *_, place in found:
            check_address(str(place[0]), self._policy)
        return [
            ResolveResult(
                hostname=host,
                host=str(place[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST,
            )
            for kind, _, protocol, _, place in found
        ]

    async def close(self) -> None:
        """There is nothing to close."""


class CheckedConnector(TCPConnector):
    """Connects to checked addresses, looks at certificates, and asks for leave before anything is written."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(
            resolver=_Resolver(rules.addresses),
            use_dns_cache=False,
            ssl=_context(rules.tls or Tls()) if rules.secure else False,
            limit=CONNECTIONS_MAX,
            force_close=not rules.keep,
            keepalive_timeout=KEEP_SECONDS if rules.keep else None,
        )
        self._pinned = rules.tls.fingerprint if rules.tls is not None else None
        self._policy = rules.addresses
        self._names: set[str] = set()  # Of hosts, of which a pool has few: names, and addresses checked.
        self._seen: WeakSet[asyncio.BaseProtocol] = WeakSet()

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout) -> Connection:
        """Return a connection that may be written to.

        Raises:
            RequestRefused: address or certificate is not the right one, or leave is gone.
        """
        leave = LEAVE.get()
        leave.may_connect()
        host = req.url.raw_host or ""
        if host not in self._names and (":" in host or host.rpartition(".")[2].isdigit()):
            check_address(host, self._policy)
        self._names.add(host)
        connection = await super().connect(req, traces, timeout)
        try:
            protocol = connection.protocol
            kept = protocol in self._seen
            if protocol is not None and not kept:
                self._look(connection, leave.facts)
                self._seen.add(protocol)
            leave.connected(kept=kept)
        except BaseException:
            connection.close()
            raise
        return connection

    def drop(self) -> None:
        """Close everything now, also where the loop is over and nobody could wait for it."""
        self._close()

    def _look(self, connection: Connection, facts: dict[str, Json]) -> None:
        """Take down whom a new connection leads to; refuse another certificate than the one pinned."""
        transport = connection.transport
        if transport is None:
            raise ServerDisconnectedError
        peer = transport.get_extra_info("peername")
        facts["address"] = str(peer[0]) if peer else "unknown"
        found = transport.get_extra_info("ssl_object")
        if found is None:
            return
        facts["tls"] = str(found.version())
        seen = digest_of(found.getpeercert(binary_form=True) or b"")
        facts["certificate"] = seen
        if self._pinned is not None and seen != self._pinned:
            raise RequestRefused(
                Failure.TLS_FAILED, f"the certificate is `{seen}`, not the pinned `{self._pinned}`"
            )


def session(rules: Rules) -> ClientSession:
    """Return a session whose calls go over connections checked by `rules`.

    Raises:
        RequestRefused: what the TLS settings name cannot be used.
    """
    return ClientSession(
        connector=CheckedConnector(rules),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=ClientTimeout(total=None, sock_connect=None),
        read_bufsize=READ_BYTES,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=LINE_BYTES_MAX,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )


def discard(opened: ClientSession) -> None:
    """Close the connections of `opened` now; nobody waits for the other side to notice."""
    if isinstance(opened.connector, CheckedConnector):
        opened.connector.drop()


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cadata=tls.ca) if tls.ca else ssl.create_default_context()
        if not tls.verify or (tls.fingerprint and not tls.ca):
            # The fingerprint alone says who it is; without either the outcome says that nobody looked.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.identity is not None:
            opened = memory_file(tls.identity.encode())
            try:
                context.load_cert_chain(f"/proc/self/fd/{opened}")
            finally:
                os.close(opened)
    except (ssl.SSLError, ValueError, OSError) as error:
        what = "our own certificate" if tls.identity is not None else "the CA"
        raise RequestRefused(
            Failure.REQUEST_INVALID, f"{what} cannot be read: {type(error).__name__}"
        ) from None
    return context


def reason_of(error: ClientConnectorError, origin: Origin) -> tuple[Failure, str]:
    """Return the class of a connection that was not made, and one line about it."""
    told = error.os_error
    certificate = getattr(error, "certificate_error", None) or told
    if isinstance(certificate, ssl.SSLCertVerificationError):
        return Failure.TLS_FAILED, f"`{origin.peer}` is not trusted: {certificate.verify_message}"
    if isinstance(certificate, ssl.SSLError | ssl.CertificateError):
        reason = getattr(certificate, "reason", None) or type(certificate).__name__
        return Failure.TLS_FAILED, f"TLS with `{origin.peer}` failed: {reason}"
    if isinstance(told, socket.gaierror):
        return Failure.NAME_UNRESOLVED, f"`{origin.host}` cannot be resolved: {told.strerror}"
    reason = told.strerror or type(told).__name__
    return Failure.TRANSIENT_CONNECTOR_ERROR, f"no connection to `{origin.peer}`: {reason}"
