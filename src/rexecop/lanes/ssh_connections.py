"""Connections over SSH: made to known hosts only, shared by calls, closed when nobody needs them.

Nothing of the runner's own SSH is used: no configuration, no default keys, no known hosts beside
those of the message. This is the one module of the lanes, with what it serves, that loads asyncssh.
"""

from __future__ import annotations

import asyncio
import os
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import asyncssh

from rexecop.lanes.errors import RequestRefused, Unreachable
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.ssh import ANY_KEY, Host
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.codec import encode

CONNECT_SECONDS: Final = 10.0  # For the whole way; a host that takes longer is not well.
WAIT_SECONDS: Final = 60.0  # For a place on a connection: no permit lasts longer.
CONNECTIONS_MAX: Final = 256  # Kept open at a time, as far as nobody uses them; each is a descriptor.
IDLE_SECONDS: Final = 60.0  # Between the steps of an operation, and not over a coffee.
KEEPALIVE_SECONDS: Final = 15.0  # Three unanswered ones and the connection counts as broken.

_RSA: Final = {"ssh-rsa": ("rsa-sha2-256", "rsa-sha2-512", "ssh-rsa")}  # One key, three ways to sign by it.
_PLAIN: Final = (
    "ssh-ed25519",
    *(f"ecdsa-sha2-nistp{bits}" for bits in (521, 384, 256)),
    *_RSA["ssh-rsa"],
)
_CERTIFIED: Final = tuple(f"{name}-cert-v01@openssh.com" for name in _PLAIN)


class Link:
    """One connection, ready for sessions; `facts` say what the host proved itself by."""

    def __init__(self, connection: asyncssh.SSHClientConnection, facts: Mapping[str, Json]) -> None:
        self.connection = connection
        self.facts = facts

    @property
    def broken(self) -> bool:
        return self.connection.is_closed()


class Connections:
    """The connections of one runner: one for each way, each for so many calls at a time."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._shared: dict[Digest, _Shared] = {}

    @asynccontextmanager
    async def link(self, route: Sequence[Host], sessions: int) -> AsyncIterator[Link]:
        """Give a connection along `route` while the caller makes one call on it.

        Raises:
            Unreachable: there is none, or no place on it. RequestRefused: an identity cannot be used.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            # Connections belong to their loop; those of one that ended are gone with it.
            self._loop, self._shared = loop, {}
        key = digest_of(b"\n".join((str(sessions).encode(), *map(encode, route))))
        shared = self._shared.get(key)
        if shared is None:
            self._make_room()
            shared = self._shared[key] = _Shared(tuple(route), sessions, lambda: self._shared.pop(key, None))
        async with shared.place():
            yield await shared.link()

    def _make_room(self) -> None:
        """Close connections that nobody uses until there is room for one more, the oldest first."""
        for shared in [shared for shared in self._shared.values() if not shared.users]:
            if len(self._shared) < CONNECTIONS_MAX:
                break
            shared.close()

    def close(self) -> None:
        """Close all connections, where their loop still runs; else it closed them."""
        if self._loop is not None and not self._loop.is_closed():
            for shared in list(self._shared.values()):
                shared.close()
        self._shared = {}


class _Shared:
    """One way that calls share."""

    def __init__(self, route: tuple[Host, ...], sessions: int, forget: Callable[[], object]) -> None:
        self.users = 0
        self._route = route
        self._forget = forget
        self._places = asyncio.Semaphore(sessions)
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._idle: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        self.users += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await self._places.acquire()
            except TimeoutError:
                what = f"no place on the connection to `{self._route[-1].peer}` within {WAIT_SECONDS:.0f} s"
                raise Unreachable(Failure.TRANSIENT_CONNECTOR_ERROR, what) from None
            try:
                yield
            finally:
                self._places.release()
        finally:
            self.users -= 1
            if not self.users:
                self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self.close)

    async def link(self) -> Link:
        """Return the connection, made anew where it broke; who asks meanwhile waits for the same one."""
        if self._link is None or self._link.broken:
            if self._connecting is None or self._connecting.done():
                self._connecting = asyncio.create_task(_connect(self._route))
                # Somebody who gave up waiting does not ask how it ended.
                self._connecting.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._link = await asyncio.shield(self._connecting)
        return self._link

    def close(self) -> None:
        self._forget()
        if self._idle is not None:
            self._idle.cancel()
        if self._link is not None:
            self._link.connection.close()
            self._link = None


async def _connect(route: tuple[Host, ...]) -> Link:
    hop = route[0]
    made: list[_Hop] = []
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            for hop in route:
                made.append(await _reach(hop, made[-1].connection if made else None))
    except (RequestRefused, asyncssh.Error, OSError) as error:
        if made:
            made[-1].connection.close()
        raise _why(error, hop) from None
    facts = dict(made[-1].facts)
    if len(made) > 1:
        facts["via"] = [f"{hop.host.peer} {hop.facts['host_key']}" for hop in made[:-1]]
    return Link(made[-1].connection, facts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hop:
    host: Host
    connection: asyncssh.SSHClientConnection
    facts: Mapping[str, Json]


class _Known(asyncssh.SSHClient):
    """Knows a host by the fingerprint of its key; whole keys are compared by asyncssh."""

    def __init__(self, host: Host) -> None:
        self._fingerprints = frozenset(key for key in host.host_keys if key.startswith("SHA256:"))
        self.below: asyncssh.SSHClientConnection | None = None

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return key.get_fingerprint() in self._fingerprints

    def connection_lost(self, exc: Exception | None) -> None:
        if self.below is not None:
            self.below.close()


async def _reach(host: Host, below: asyncssh.SSHClientConnection | None) -> _Hop:
    """Connect to `host`, through the connection `below` where there is one."""
    pinned = [_public(key) for key in host.host_keys if not key.startswith("SHA256:")]
    authorities = [_public(key) for key in host.authorities]
    known = (pinned, authorities, [_public(key) for key in host.revoked])
    client = _Known(host)
    agent = await _agent(host) if host.agent else None
    try:
        keys = [_private(host)] if agent is None else await _offered(agent, host)
        connection = await asyncssh.connect(
            host.host,
            host.port,
            tunnel=below,
            client_factory=lambda: client,
            config=None,
            username=host.user,
            client_keys=keys,
            agent_path=None,
            agent_forwarding=False,
            known_hosts=known,
            server_host_key_algs=_algorithms(pinned, bool(authorities)),
            x509_trusted_certs=None,
            preferred_auth=("publickey",),
            password=None,
            gss_host=None,
            compression_algs=None,
            keepalive_interval=KEEPALIVE_SECONDS,
        )
    finally:
        if agent is not None:
            agent.close()
    client.below = below
    return _Hop(host=host, connection=connection, facts=_seen(connection, host, pinned))


def _algorithms(pinned: Sequence[asyncssh.SSHKey], certificates: bool) -> list[str]:
    """Return what a host may prove itself by: what is known of it first, so that it shows that one.

    The others follow, because a host that shows another key than the one known shall be seen to do so.
    """
    names = [
        *(_CERTIFIED if certificates else ()),
        *(name for key in pinned for name in _RSA.get(key.get_algorithm(), (key.get_algorithm(),))),
        *_PLAIN,
    ]
    return [*dict.fromkeys(names)]


def _seen(
    connection: asyncssh.SSHClientConnection, host: Host, pinned: Sequence[asyncssh.SSHKey]
) -> dict[str, Json]:
    """Return what the host was known by, and how the connection is protected."""
    key = connection.get_server_host_key()
    assert key is not None
    by_key = key in pinned or key.get_fingerprint() in host.host_keys
    return {
        "host_key": key.get_fingerprint(),
        "host_key_type": key.get_algorithm(),
        "host_key_trust": "pinned" if by_key else "certified",
        "server": str(connection.get_extra_info("server_version"))[:255],
        "cipher": str(connection.get_extra_info("send_cipher")),
        "mac": str(connection.get_extra_info("send_mac")),
    }


def _public(key: str) -> asyncssh.SSHKey:
    try:
        return asyncssh.import_public_key(key)
    except (asyncssh.KeyImportError, ValueError) as error:
        raise RequestRefused(Failure.REQUEST_INVALID, f"`{key:.60}` is no public key: {error}") from None


def _private(host: Host) -> asyncssh.SSHKey | tuple[asyncssh.SSHKey, asyncssh.SSHCertificate]:
    try:
        key = asyncssh.import_private_key(host.identity)
        return (key, asyncssh.import_certificate(host.certificate)) if host.certificate else key
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
        what = f"the identity of `{host.user}` is no key without a passphrase: {type(error).__name__}"
        raise RequestRefused(Failure.SECRET_UNUSABLE, what) from None


async def _agent(host: Host) -> asyncssh.SSHAgentClient:
    path = os.environ.get("SSH_AUTH_SOCK", "")
    try:
        if path:
            return await asyncssh.connect_agent(path)
    except OSError:
        pass
    raise RequestRefused(Failure.SECRET_UNAVAILABLE, f"no agent answers, and `{host.user}` needs one")


async def _offered(agent: asyncssh.SSHAgentClient, host: Host) -> list[asyncssh.SSHKeyPair]:
    """Return the keys of the agent that may be offered to `host`."""
    pairs = await agent.get_keys()
    found = [pair for pair in pairs if host.agent in (ANY_KEY, _fingerprint(pair))]
    if not found:
        raise RequestRefused(Failure.SECRET_UNAVAILABLE, f"the agent does not hold the key `{host.agent}`")
    return found


def _fingerprint(pair: asyncssh.SSHKeyPair) -> str:
    digest = digest_of(pair.public_data).removeprefix("sha256:")
    found = b64encode(bytes.fromhex(digest)).decode()
    return f"SHA256:{found.rstrip('=')}"


def _why(error: Exception, host: Host) -> RequestRefused:
    """Return what kept `host` from being reached, as one of our own errors."""
    where = f"`{host.peer}`"
    match error:
        case RequestRefused():
            return error
        case asyncssh.HostKeyNotVerifiable():
            found = Failure.HOST_KEY_MISMATCH, f"{where} does not show a key it is known by: {error.reason}"
        case asyncssh.PermissionDenied():
            found = Failure.AUTH_FAILED, f"{where} did not let `{host.user}` in"
        case TimeoutError():
            found = Failure.TIMEOUT, f"no connection to {where} within {CONNECT_SECONDS:.0f} s"
        case socket.gaierror():
            found = Failure.TRANSIENT_CONNECTOR_ERROR, f"the name of {where} does not resolve"
        case OSError() | asyncssh.ConnectionLost() | asyncssh.ChannelOpenError():
            found = Failure.TRANSIENT_CONNECTOR_ERROR, f"no connection to {where}: {error}"
        case _:
            found = Failure.UNSUPPORTED, f"{where} and this runner find no common terms: {error}"
    return Unreachable(*found)
