"""A mail server on loopback that takes what it is given, with TLS from the start, on demand or not at all."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class Mails:
    """What the server saw: `lines` as they came, `mails` whole. `answers` by line or verb replace its own."""

    port: int = 0
    lines: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def login(self) -> str:
        """User and password as they were given."""
        given = next(line for line in self.lines if line.startswith("AUTH PLAIN "))
        return base64.b64decode(given.split()[2]).decode().replace("\0", " ").strip()


@asynccontextmanager
async def mail_server(tls: ssl.SSLContext | None = None, *, at_once: bool = False) -> AsyncIterator[Mails]:
    """A server that offers STARTTLS with `tls`, or speaks it `at_once`."""
    mails = Mails()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _talk(mails, reader, writer, None if at_once else tls)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls if at_once else None)
    mails.port = server.sockets[0].getsockname()[1]
    try:
        yield mails
    finally:
        server.close()


async def _talk(
    mails: Mails, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, tls: ssl.SSLContext | None
) -> None:
    writer.write(b"220 here\r\n")
    while line := (await reader.readline()).decode().rstrip("\r\n"):
        mails.lines.append(line)
        verb = line.split(" ")[0].upper()
        offers = "250-here\r\n250-STARTTLS\r\n250 AUTH PLAIN" if tls else "250-here\r\n250 AUTH PLAIN"
        own = {"EHLO": offers, "STARTTLS": "220 go on", "AUTH": "235 known", "DATA": "354 go on"}
        answer = mails.answers.get(line, mails.answers.get(verb, own.get(verb, "250 fine")))
        if answer == "nothing":
            await asyncio.Event().wait()
        writer.write(f"{answer}\r\n".encode())
        if verb == "STARTTLS" and tls is not None:
            await writer.start_tls(tls)
        if verb == "DATA" and answer.startswith("354"):
            mails.mails.append((await reader.readuntil(b"\r\n.\r\n")).decode())
            writer.write(mails.answers.get("mail", "250 taken").encode() + b"\r\n")
        if verb == "QUIT":
            return
