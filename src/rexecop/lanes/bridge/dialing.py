"""A node's connection to its instance: a WebSocket that it opens, and opens again when it is lost."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rexecop.lanes.bridge.frames import FRAME_BYTES_MAX
from rexecop.lanes.bridge.node import CHANNEL_BYTES, GREETING_SECONDS_MAX, WAITS, Node
from rexecop.lanes.errors import AddressRefused, BridgeLost

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

MESSAGE_BYTES_MAX: Final = FRAME_BYTES_MAX + CHANNEL_BYTES
SCHEMES: Final = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
PATH: Final = "/v1/nodes"


def address_of(url: str) -> str:
    """Return where nodes connect at the service `url`.

    Raises:
        AddressRefused: it is no such address, or others could read what goes there.
    """
    parts = urlsplit(url)
    scheme = SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise AddressRefused(f"`{url:.80}` is no address like `https://HOST:PORT`")
    if scheme == "ws" and not _is_loopback(parts.hostname):
        raise AddressRefused(f"`{url:.80}` is not behind TLS, and secrets go there; use `https`")
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/') or ''}{PATH}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class SocketLink:
    """A `Link` over a WebSocket of the `websockets` library."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def send_bytes(self, data: bytes) -> None:
        """As `Link.send_bytes`."""
        from websockets.exceptions import ConnectionClosed

        try:
            await self._connection.send(data)
        except ConnectionClosed as error:
            raise BridgeLost("the instance closed the connection") from error

    async def receive_bytes(self) -> bytes:
        """As `Link.receive_bytes`."""
        from websockets.exceptions import ConnectionClosed

        try:
            data = await self._connection.recv()
        except ConnectionClosed as error:
            raise BridgeLost("the instance closed the connection") from error
        if isinstance(data, str):
            raise BridgeLost("text came where frames belong")
        return data


async def dial(node: Node, url: str, report: Callable[[str], None]) -> None:
    """Keep `node` connected to the service at `url`, for ever; `report` hears of each change.

    Raises:
        AddressRefused: see `address_of`.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import WebSocketException

    address, failures = address_of(url), 0
    while True:
        words = ""
        try:
            async with connect(
                address, max_size=MESSAGE_BYTES_MAX, compression=None, open_timeout=GREETING_SECONDS_MAX
            ) as connection:
                link = SocketLink(connection)
                await node.greet(link)
                report(f"rexecop: node connected to {url}")
                failures = 0
                await node.serve(link)
        except BridgeLost as lost:
            words = lost.message
        except TimeoutError:
            words = "the instance did not answer in time"
        except (OSError, WebSocketException) as error:
            words = str(error)[:120] or type(error).__name__
        if not failures:
            report(f"rexecop: node not connected: {words}")
        await asyncio.sleep(WAITS[min(failures, len(WAITS) - 1)])
        failures += 1
