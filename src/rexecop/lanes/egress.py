"""The one way out of a sandbox whose call may reach single hosts: a proxy of the lane's own.

The sandbox has a network with nothing in it but a port, where this side listens. It takes
HTTP CONNECT (RFC 9110 §9.3.6) to exactly the hosts and ports listed, looks their addresses
up itself, once for the whole call, and refuses an address that is not of the public
internet unless that address is listed too: else a name could lead into the house.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TypeAlias

from rexecop.lanes import handover
from rexecop.lanes.addresses import is_public
from rexecop.lanes.scout import HELLO, PROXY
from rexecop.proof.canonical import Json
from rexecop.proof.egress import split

HEAD_BYTES_MAX: Final = 8 * 1024  # Of a request to connect; it says a host, a port and little more.
SECONDS_MAX: Final = 10.0  # To ask, to look a name up, to connect; what takes longer is not reached.
CONNECTIONS_MAX: Final = 64  # At one time, as many as a call may have processes.
COPY_BYTES: Final = 1 << 16
ENVIRONMENT: Final = dict.fromkeys(
    ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), f"http://{PROXY[0]}:{PROXY[1]}"
)
_CONNECT: Final = re.compile(rb"CONNECT ([A-Za-z0-9.\-:\[\]]{1,255}) HTTP/1\.[01]\r\n")
_REASONS: Final = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    502: "Bad Gateway",
    503: "Service Unavailable",
}

Opened: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _plain(host: str) -> str:
    """Return an address in its one spelling; a name as it is."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host


class Egress:
    """The proxy of one call that may reach the hosts in `entries`."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._listed = frozenset((_plain(host), port) for host, port in map(split, entries))
        self._canary: tuple[tuple[str, int], ...] = ()  # What goes through until `open`, and what does not.
        self._pinned: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._links: tuple[socket.socket, ...] = ()
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._reached: dict[str, Json] = {}
        self._refused = 0
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> tuple[int, int]:
        """Return the ports of the canary: the first goes through the proxy until `open`, the second never."""
        for _ in range(2):
            self._servers.append(await asyncio.start_server(_hello, "127.0.0.1", 0))
        listed, unlisted = (server.sockets[0].getsockname()[1] for server in self._servers)
        self._canary = (("127.0.0.1", listed), ("127.0.0.1", unlisted))
        self._links = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._links[0].setblocking(False)
        asyncio.get_running_loop().add_reader(self._links[0].fileno(), self._listen)
        return listed, unlisted

    def link(self) -> int:
        """Return a descriptor through which the keeper hands out the port inside."""
        return os.dup(self._links[1].fileno())

    def open(self) -> None:
        """The canary has sung: from now on only what is listed goes through."""
        self._canary, self._refused, self._reached = (), 0, {}
        for server in self._servers[:2]:
            server.close()

    @property
    def facts(self) -> dict[str, Json]:
        """Return what was listed, which addresses it was reached at, and how many requests were refused."""
        listed: list[Json] = [_joined(*entry) for entry in sorted(self._listed)]
        return {"egress": listed, "egress_reached": self._reached, "egress_refused": self._refused}

    async def close(self) -> None:
        """End every connection and listen no more."""
        if self._links:
            asyncio.get_running_loop().remove_reader(self._links[0].fileno())
        for link in self._links:
            link.close()
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.transport.abort()
        for looked_up in self._pinned.values():
            looked_up.cancel()

    def _listen(self) -> None:
        """The port inside was handed out."""
        asyncio.get_running_loop().remove_reader(self._links[0].fileno())
        if (received := handover.receive(self._links[0], 1)) is not None:
            self._listening = asyncio.create_task(self._serve(socket.socket(fileno=received[1][0])))

    async def _serve(self, inside: socket.socket) -> None:
        inside.setblocking(False)
        self._servers.append(await asyncio.start_server(self._answer, sock=inside, limit=HEAD_BYTES_MAX))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        # Whoever breaks off knows it; the program sees the end of its connection.
        with suppress(OSError):
            status, other = await self._connect(reader)
            if other is None:
                self._refused += 1
                writer.write(b"HTTP/1.1 %d %s\r\n\r\n" % (status, _REASONS[status].encode()))
                await writer.drain()
            else:
                ends.append(other[1])
                self._writers.add(other[1])
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_copy(reader, other[1]), _copy(other[0], writer))
        for end in ends:
            self._writers.discard(end)
            end.close()

    async def _connect(self, reader: asyncio.StreamReader) -> tuple[int, Opened | None]:
        """Return the connection that was asked for, or the status to refuse it with."""
        if len(self._writers) > 2 * CONNECTIONS_MAX:
            return 503, None
        try:
            async with asyncio.timeout(SECONDS_MAX):
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"CONNECT "):
                    return 405, None
                asked = _CONNECT.match(head)
                wanted = split(asked[1].decode("ascii").lower()) if asked is not None else None
        except (ValueError, TimeoutError, asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            wanted = None
        if wanted is None:
            return 400, None
        wanted = (_plain(wanted[0]), wanted[1])
        if wanted not in self._listed and wanted not in self._canary[:1]:
            return 403, None
        return await self._reach(wanted)

    async def _reach(self, wanted: tuple[str, int]) -> tuple[int, Opened | None]:
        if wanted not in self._pinned:
            self._pinned[wanted] = asyncio.create_task(_addresses(*wanted))
        try:
            async with asyncio.timeout(SECONDS_MAX):
                found = await asyncio.shield(self._pinned[wanted])
        except (OSError, TimeoutError):
            return 502, None
        allowed = [address for address in found if self._admits(address, wanted[1])]
        for address in allowed:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(SECONDS_MAX):
                    opened = await asyncio.open_connection(address, wanted[1])
                self._reached[_joined(*wanted)] = address
                return 200, opened
        return (502 if allowed else 403), None

    def _admits(self, address: str, port: int) -> bool:
        literal = (_plain(address), port)
        # The canary is about the list: it must not be refused for lying in the house.
        return is_public(address) or literal in self._listed or literal in self._canary


async def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of `host`, each once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]).partition("%")[0] for *_, address in found))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(COPY_BYTES):
        sink.write(data)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()


async def _hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HELLO)
    writer.close()


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
