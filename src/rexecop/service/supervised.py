"""Being started and watched by systemd: the socket it hands over, and what it is told."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Final

from rexecop.service.errors import AddressUnavailable

FIRST: Final = 3  # The first file that is handed over.
TCP: Final = (socket.AF_INET, socket.AF_INET6)


class Supervisor:
    """Whoever started this process and wants to hear of it; nobody, where `environ` names no socket.

    What it names is taken out of it: the programs that operations run have nothing to tell there.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        watched = environ.pop("WATCHDOG_USEC", "")
        mine = environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        # Two looks within the time, and one that is late is no reason to be ended.
        self.look_seconds: Final = int(watched) / 3_000_000 if watched.isdigit() and mine else None

    def tell(self, *facts: str) -> None:
        """Tell `facts`, such as `READY=1`; one that cannot be told changes nothing."""
        if self._address:
            address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
            with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
                to.setblocking(False)
                to.sendto("\n".join(facts).encode(), address)

    async def reassure(self, is_well: Callable[[], Awaitable[bool]]) -> None:
        """Tell, until cancelled, that all is well whenever `is_well` says so in time."""
        while self.look_seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.look_seconds):
                    if await is_well():
                        self.tell("WATCHDOG=1")
            await asyncio.sleep(self.look_seconds)


def handed_over(environ: MutableMapping[str, str]) -> socket.socket | None:
    """Return the socket to listen on that this process was started with, None where there is none.

    Raises:
        AddressUnavailable: there are several, or it is no TCP socket that listens.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count:
        return None
    with suppress(OSError):
        found = socket.socket(fileno=FIRST) if count == "1" else None
        if (
            found is not None
            and found.family in TCP
            and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            found.set_inheritable(False)
            return found
    raise AddressUnavailable("what was handed over is not one TCP socket that listens")
