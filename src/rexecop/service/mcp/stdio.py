"""`rexecop mcp`: the protocol over this process's standard streams, for one agent."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio
import mcp_types as types
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from pydantic import ValidationError

from rexecop.app.agents import agent_caller
from rexecop.app.build import open_instance
from rexecop.app.door import Act, Caller, Matter
from rexecop.app.errors import CallerUnknown, Forbidden
from rexecop.app.gateways import Relays
from rexecop.app.settings import Settings
from rexecop.service.mcp.answers import OUTPUT_LETTERS_MAX
from rexecop.service.mcp.desk import GRACE_SECONDS, Desk
from rexecop.service.mcp.server import RELAYED_LETTERS_MAX, server_of

LINE_BYTES_MAX: Final = 4 << 20  # One message; as large as over HTTP.
WRITES_MAX: Final = 1 << 16  # As much as a pipe takes at one time.
CANCELLED: Final = "notifications/cancelled"  # What it names gets no answer.
STOP_SECONDS: Final = 1  # For what runs when somebody says stop; two seconds later clients kill.
_ACTS: Final = frozenset({Act.VIEW, Act.PLAN, Act.RUN})

Incoming = MemoryObjectSendStream[SessionMessage | Exception]
Outgoing = MemoryObjectSendStream[SessionMessage]


class AgentDoor:
    """The door of one agent on this machine: it looks, asks and runs, and nothing else."""

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Let nobody in: who asks here was established before."""
        raise CallerUnknown("callers are named when this is started")

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        """Return only if agents may do `act`. Raises Forbidden: people do that."""
        if act not in _ACTS:
            raise Forbidden(f"an agent may not `{act}`")


def serve(
    settings: Settings,
    *,
    agent: str,
    sponsor: str | None,
    wait_seconds: int,
    relays: Relays | None,
    catalog: Path | None = None,
) -> None:
    """Answer `agent` on standard input and output until the input ends or a signal says stop.

    With `relays` the tools are those of others, whose answers are handed on as they are; with `catalog`
    their targets are its entries.

    Raises:
        AgentRefused: no pack names the agent, or somebody else answers for it.
        OperationsError, FileMissing: profile, environment or catalog cannot be read.
        RootMissing, RootUnsafe, StoreError: as `open_instance`.
    """
    with open_instance(settings) as instance:
        caller = agent_caller(instance, agent, sponsor)
        letters = RELAYED_LETTERS_MAX if relays else OUTPUT_LETTERS_MAX
        desk = Desk(instance, AgentDoor(), wait_seconds=wait_seconds, letters=letters, catalog=catalog)
        asyncio.run(_serve(desk, caller, relays))


async def _serve(desk: Desk, caller: Caller, relays: Relays | None) -> None:
    await desk.listed(caller)  # What cannot be read is said here, to whoever starts this.
    server, stopped = server_of(desk, caller, relays=relays), False
    into, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    outgoing, out_of = anyio.create_memory_object_stream[SessionMessage](0)
    wire = Wire(*await _streams())
    async with anyio.create_task_group() as group:

        def stop() -> None:
            nonlocal stopped
            stopped = True
            group.cancel_scope.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop)
        group.start_soon(wire.read, into, outgoing.clone())
        group.start_soon(wire.write, out_of)
        await server.run(incoming, outgoing, server.create_initialization_options())
        group.cancel_scope.cancel()
    await desk.close(STOP_SECONDS if stopped else GRACE_SECONDS)


async def _streams() -> tuple[asyncio.StreamReader, int]:
    """Return the wire's two ends, and leave nothing of it to the children and to stray output."""
    ours, wire = os.dup(0), os.dup(1)
    sys.stdout.flush()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    os.close(nowhere)
    reader, file = asyncio.StreamReader(limit=LINE_BYTES_MAX), os.fdopen(ours, "rb", buffering=0)
    mode = os.fstat(ours).st_mode
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(ours):
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    else:  # A file, or nothing: it is all there already.
        reader.feed_data(file.read())
        reader.feed_eof()
    return reader, wire


class Wire:
    """Messages as lines: each that is one is handed on, each that is none is answered."""

    def __init__(self, reader: asyncio.StreamReader, out: int) -> None:
        self._reader = reader
        self._out = out
        self._asked: set[str | int] = set()  # What is not answered yet.
        self._answered = asyncio.Event()

    async def read(self, into: Incoming, outgoing: Outgoing) -> None:
        """Hand on what comes in until it ends and all of it is answered."""
        async with into, outgoing:
            while (line := await self._line()) is not None:
                if len(line) > LINE_BYTES_MAX:
                    words = f"a message takes at most {LINE_BYTES_MAX} bytes"
                    await outgoing.send(_fault(types.INVALID_REQUEST, words))
                elif line.strip():
                    try:
                        message = types.jsonrpc_message_adapter.validate_json(line, by_name=False)
                    except (ValidationError, RecursionError) as error:
                        await outgoing.send(_why_not(error))
                        continue
                    if isinstance(message, types.JSONRPCRequest):
                        self._asked.add(message.id)
                    elif isinstance(message, types.JSONRPCNotification) and message.method == CANCELLED:
                        self._asked.discard((message.params or {}).get("requestId", ""))
                    await into.send(SessionMessage(message))
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_SECONDS):
                    while self._asked:
                        self._answered.clear()
                        await self._answered.wait()

    async def _line(self) -> bytes | None:
        """Return the next line, None after the last; one that is too long comes as long as it is too much."""
        long = False
        while True:
            try:
                line = await self._reader.readuntil(b"\n")
            except asyncio.IncompleteReadError as error:
                line = error.partial
            except asyncio.LimitOverrunError as error:
                long = bool(await self._reader.readexactly(error.consumed))
                continue
            return bytes(LINE_BYTES_MAX + 1) if long else line or None

    async def write(self, out_of: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write each message as a line; a client that went away is told nothing more."""
        async with out_of:
            async for one in out_of:
                message = one.message
                line = message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
                with suppress(BrokenPipeError):
                    await asyncio.to_thread(_write_all, self._out, line)
                if isinstance(message, types.JSONRPCResponse | types.JSONRPCError) and message.id is not None:
                    self._asked.discard(message.id)
                    self._answered.set()


def _why_not(error: Exception) -> SessionMessage:
    no_json = isinstance(error, RecursionError) or any(
        found["type"] == "json_invalid" for found in getattr(error, "errors", list)()
    )
    code, words = (
        (types.PARSE_ERROR, "not JSON") if no_json else (types.INVALID_REQUEST, "no JSON-RPC message")
    )
    return _fault(code, words)


def _fault(code: int, words: str) -> SessionMessage:
    error = types.ErrorData(code=code, message=words)
    return SessionMessage(types.JSONRPCError(jsonrpc="2.0", id=None, error=error))


def _write_all(wire: int, data: bytes) -> None:
    while data:
        data = data[os.write(wire, data[:WRITES_MAX]) :]
