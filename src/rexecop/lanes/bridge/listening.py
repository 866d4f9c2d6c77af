"""Where a guest is asked: a Unix socket of this user's, or an address behind TLS."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from rexecop.lanes.bridge.frames import StreamChannel
from rexecop.lanes.errors import AddressRefused

SESSIONS_MAX: Final = 256  # Each holds a connection and up to `agent.CALLS_MAX` calls.
SOCKET_MASK: Final = 0o177  # Whoever may not be this user may not even connect.

Serve: TypeAlias = Callable[[StreamChannel], Awaitable[None]]


class Listening:
    """What listens; sessions are served by `serve`, `SESSIONS_MAX` at a time, and end with it."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._sessions: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def on_socket(self, path: Path) -> None:
        """Listen at `path`; a socket nobody listens on any more is replaced.

        Raises:
            AddressRefused: something else is there, or it cannot be made.
        """
        await self._clear(path)
        before = os.umask(SOCKET_MASK)
        try:
            self._server = await asyncio.start_unix_server(self._accept, path)
        except OSError as error:
            raise AddressRefused(f"`{path}`: {_words(error)}", path=str(path)) from error
        finally:
            os.umask(before)
        self._path = path

    async def on_address(self, host: str, port: int, certificate: Path, key: Path) -> int:
        """Listen at `host` and `port` (0: any free one) behind TLS 1.3; return the port.

        Raises:
            AddressRefused: it cannot be listened on, or certificate and key do not go together.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_cert_chain(certificate, key)
            self._server = await asyncio.start_server(self._accept, host, port, ssl=context)
        except (OSError, ValueError) as error:
            raise AddressRefused(f"`{host:.80}:{port}`: {_words(error)}") from error
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Listen no more and end all sessions."""
        if self._server is not None:
            self._server.close()
        for session in self._sessions:
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._sessions) >= SESSIONS_MAX:
            writer.close()
            return
        session = asyncio.ensure_future(self._serve(StreamChannel(reader, writer)))
        self._sessions.add(session)
        session.add_done_callback(self._sessions.discard)
        with suppress(asyncio.CancelledError):
            await asyncio.wait([session])

    @staticmethod
    async def _clear(path: Path) -> None:
        if not path.is_socket():
            return  # Listening says so if something else is there.
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            path.unlink(missing_ok=True)
            return
        writer.close()
        raise AddressRefused(f"`{path}` is listened on by another process", path=str(path))


def _words(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return (text or type(error).__name__).lower()
