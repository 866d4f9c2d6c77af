"""A program as a JSON-RPC peer: started by the spawner, measured at its gate, ended with its whole tree."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from rexecop.lanes import proctree, wire
from rexecop.lanes.errors import Broken, RequestRefused, SpawnerLost
from rexecop.lanes.exchanging import Exchange
from rexecop.lanes.failures import Failure
from rexecop.lanes.handover import CONFINED, PLAIN
from rexecop.lanes.kernel import boot_ms
from rexecop.lanes.messages.jsonrpc import Program
from rexecop.lanes.output import Stream, raw_limit
from rexecop.lanes.process import GO_VALID_MS
from rexecop.lanes.rpclinks import SocketLink
from rexecop.lanes.rpcwire import Framing
from rexecop.lanes.sandbox import BASE_ENVIRONMENT, Given, grade_of, network_of, prepare, why_not_reached
from rexecop.lanes.spawning import Keeper, Spawner
from rexecop.proof.call import ProcessRequest
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import PRIVATE_NETWORK, Grade, Isolation

END_SECONDS: Final = 1.0  # From the end of its output to the keeper's word on how the program ended.


class ProgramLink(SocketLink):
    """The standard input and output of `program`, which are the two directions of one socket."""

    def __init__(
        self, exchange: Exchange, framing: Framing, program: Program, spawner: Spawner, hidden: Sequence[str]
    ) -> None:
        super().__init__(exchange, framing)
        self._program = program
        self._spawner = spawner
        self._hidden = hidden
        self._keeper: Keeper | None = None
        self._ours: socket.socket | None = None
        self._errors: Stream | None = None
        self._frame: asyncio.Task[list[bytes]] | None = None

    async def prepare(self) -> None:
        program, exchange = self._program, self.exchange
        if exchange.isolation is Isolation.NOT_APPLICABLE:
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "a program runs in an isolation class")
        env = {**BASE_ENVIRONMENT, **(program.env or {})}
        request = ProcessRequest(argv=program.argv, cwd=program.cwd, writable=program.writable)
        given = Given(
            argv=[os.fsencode(text) for text in program.argv],
            env={name.encode(): value.encode() for name, value in env.items()},
            hidden=self._hidden,
        )
        launch, known = prepare(exchange.call, request, given, exchange.isolation, exchange.limits)
        try:
            self._keeper = await self._hand_over()
            await self._keeper.send(launch.fields())
            fields = await self._keeper.receive()
        except (SpawnerLost, OSError) as error:
            raise RequestRefused(Failure.LANE_UNAVAILABLE, f"the program was not started: {error}") from error
        if fields[0] != wire.READY:
            stage, _, reason = (field.decode("utf-8", "replace") for field in fields[1:])
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, f"not started at `{stage}`: {reason}")
        self._measured(known, wire.from_pairs(fields[1:]))

    async def open(self) -> None:
        assert self._keeper is not None and self._ours is not None and self._errors is not None
        self.use(*await asyncio.open_connection(sock=self._ours))
        self._errors.start(lambda: None)
        self.exchange.take_leave()
        try:
            await self._keeper.send([wire.GO, str(boot_ms() + GO_VALID_MS).encode()])
        except SpawnerLost as error:
            raise Broken(Failure.KILLED, str(error)) from error
        self._frame = asyncio.create_task(self._keeper.receive())

    def said_beside(self) -> list[bytes]:
        return self._errors.take() if self._errors is not None else []

    async def ended(self) -> Exception:
        """Return how the program ended, which closed its output."""
        assert self._frame is not None
        await asyncio.wait([self._frame], timeout=END_SECONDS)
        if not self._frame.done() or self._frame.exception() is not None:
            return await super().ended()
        fields = self._frame.result()
        if fields[0] == wire.REFUSED:
            self.exchange.sent = False
            return Broken(Failure.NOT_FOUND, "the program could not be executed")
        seen = wire.from_pairs(fields[1:])
        if seen.get("reason") == "timeout":
            return TimeoutError()
        how = f"status {seen['status']}" if "status" in seen else f"signal {seen.get('signal', 'unknown')}"
        return Broken(Failure.STREAM_ENDED, f"the program ended with {how} before it answered")

    async def close(self) -> None:
        """Close the program's input, give it the grace to end by itself, and end what is left of it."""
        await super().close()
        if self._frame is not None:
            await asyncio.wait([self._frame], timeout=self.exchange.limits.grace_ms / 1000)
            self._frame.cancel()
        if self._keeper is not None:
            await self._keeper.end(self.exchange.limits.grace_ms / 1000)
        if self._errors is not None:
            self._errors.close()
        if self._ours is not None:
            with suppress(OSError):
                self._ours.close()

    async def _hand_over(self) -> Keeper:
        self._ours, theirs = socket.socketpair()
        read, write = os.pipe()
        limits = self.exchange.limits
        self._errors = Stream("stderr", read, limits.output_bytes, raw_limit(limits), self.exchange.secrets)
        try:
            kind = CONFINED if self.exchange.isolation in PRIVATE_NETWORK else PLAIN
            return await self._spawner.hand_over(kind, [theirs.fileno(), theirs.fileno(), write])
        finally:
            theirs.close()
            os.close(write)

    def _measured(self, known: Mapping[str, Json], measured: dict[str, str]) -> None:
        """Take down what the waiting program shows; refuse it if that is not its class."""
        exchange = self.exchange
        exchange.facts |= known
        exchange.facts |= dict(sorted(measured.items()))
        reason = why_not_reached(exchange.isolation, measured, proctree.namespaces_of("self"))
        if reason is not None:
            what = f"class `{exchange.isolation}` was not reached: {reason}"
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, what)
        grade: Grade = grade_of(exchange.isolation, None, exchange.facts)
        exchange.facts["grade"] = grade.value
        exchange.network = network_of(exchange.isolation, None)
        exchange.protection = "spawner-kills-tree"
