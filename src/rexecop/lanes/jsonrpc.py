"""The lane for JSON-RPC 2.0: asks a peer over HTTP, a Unix socket, or a program's standard streams.

The answer is one chunk of standard output, as canonical JSON. Notifications of the other side and a
program's diagnostics are chunks of standard error. MCP servers are peers that are greeted first.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import rexecop
from rexecop.lanes.errors import Broken, ClearanceRefused, PayloadTooLarge, RequestRefused, WireBroken
from rexecop.lanes.exchanging import DATA_BYTES_MAX, Exchange, ExchangeLane
from rexecop.lanes.failures import Failure
from rexecop.lanes.messages.jsonrpc import (
    MCP_VERSIONS,
    Ask,
    JsonRpcMessage,
    Mcp,
    pin_of,
    problems,
    reply_call,
)
from rexecop.lanes.port import Asks, Chunk, LaneEvent, Made
from rexecop.lanes.rpclinks import HttpLink, Link, UnixLink
from rexecop.lanes.rpcprogram import ProgramLink
from rexecop.lanes.rpcwire import (
    Answer,
    Asked,
    RpcError,
    framing_of,
    payload_of,
    read_payload,
    reply,
    request,
)
from rexecop.lanes.secrets import Secrets
from rexecop.lanes.spawning import Spawner
from rexecop.proof.canonical import Json, require_canonical
from rexecop.proof.errors import NotCanonical
from rexecop.proof.message import secrets_in
from rexecop.proof.vocabulary import Grade, Isolation

UNASKED_MAX: Final = 2_000  # Requests and notifications of the other side; more is a flood.
PAGES_MAX: Final = 64  # Of a list of tools.
NAME_LENGTH_MAX: Final = 100  # Of what a server calls itself.

_ERRORS: Final = {
    -32_700: Failure.REQUEST_INVALID,
    -32_600: Failure.REQUEST_INVALID,
    -32_601: Failure.UNSUPPORTED,
    -32_602: Failure.REQUEST_INVALID,
}
"""Codes that JSON-RPC gives a meaning; all others are an error that the other side reports."""


class JsonRpcLane(ExchangeLane[JsonRpcMessage]):
    """Takes `jsonrpc/1`. One instance per runner, because it owns the spawner of its programs."""

    name = "jsonrpc"
    message = JsonRpcMessage

    def __init__(
        self, *, secrets: Secrets, isolation: Mapping[Isolation, Grade], hidden: Sequence[str]
    ) -> None:
        super().__init__(secrets=secrets, isolation=isolation.keys(), grades=isolation.values())
        self._hidden = tuple(hidden)
        self.spawner = Spawner()

    def close(self) -> None:
        """End the spawner and everything that still runs."""
        self.spawner.close()

    def run(self, message: JsonRpcMessage, exchange: Exchange) -> _Run:
        """Return the run of `message`.

        Raises:
            ValueError, RequestRefused: it cannot be made.
        """
        for problem in problems(message, exchange.call.effect):
            raise ValueError(problem)
        if message.reply is not None:
            raise RequestRefused(Failure.UNSUPPORTED, "an answer is given when the other side asks for it")
        return _Run(message, exchange, self._link(message, exchange))

    def _link(self, message: JsonRpcMessage, exchange: Exchange) -> Link:
        """Return the one way to the peer that `message` names."""
        if message.program is not None:
            _refuse_secret_arguments(exchange)
            framing = framing_of(message.framing)
            return ProgramLink(exchange, framing, message.program, self.spawner, self._hidden)
        if exchange.isolation is not Isolation.NOT_APPLICABLE:
            raise RequestRefused(Failure.ISOLATION_UNAVAILABLE, "nothing runs here that could be isolated")
        if message.unix is not None:
            return UnixLink(exchange, framing_of(message.framing), message.unix)
        assert message.http is not None
        return HttpLink(exchange, message.http, mcp=message.mcp is not None)


def _refuse_secret_arguments(exchange: Exchange) -> None:
    """Return only if no argument of the program is a secret: every user can read the arguments."""
    program = getattr(exchange.call.request, "message", {}).get("program")
    if isinstance(program, Mapping) and any(secrets_in(program.get("argv"))):
        raise ValueError("`program.argv` holds a secret; secrets go into `env`")


class _Run:
    def __init__(self, message: JsonRpcMessage, exchange: Exchange, link: Link) -> None:
        self._message = message
        self._exchange = exchange
        self._link = link
        self._numbers = 0
        self._unasked = 0
        self._given: set[int] = set()  # Of what is prepared, what was asked for: each once.
        self._waiting: dict[int, int] = {}  # Id → place among the answers.
        self._answers: list[Answer | None] = []

    async def prepare(self) -> None:
        await self._link.prepare()

    async def close(self) -> None:
        await self._link.close()

    async def chunks(self) -> AsyncGenerator[LaneEvent]:
        message = self._message
        try:
            await self._link.open()
            work = self._asks(message.asks, message.batch) if message.mcp is None else self._mcp(message.mcp)
            async with aclosing(work) as chunks:
                async for chunk in chunks:
                    yield chunk
        except WireBroken as error:
            raise Broken(Failure.PROTOCOL_ERROR, error.message) from error
        except PayloadTooLarge as error:
            raise Broken(Failure.OUTPUT_LIMIT, error.message) from error
        finally:
            # What a program said last explains most failures.
            for said in self._link.said_beside():
                self._exchange.chunk(self._exchange.side, said)

    async def _asks(self, asks: Sequence[Ask], batch: bool) -> AsyncGenerator[LaneEvent]:
        async for chunk in self._converse(asks, batch):
            yield chunk
        answers = [answer for answer in self._answers if answer is not None]
        if not batch:
            for chunk in self._show(answers[0].error.value if answers[0].error else answers[0].result):
                yield chunk
        else:
            shown: list[Json] = [
                {"error": answer.error.value} if answer.error else {"result": answer.result}
                for answer in answers
            ]
            for chunk in self._show(shown):
                yield chunk
        if len(asks) > len(answers):
            self._exchange.facts["notified"] = len(asks) - len(answers)
        _raise_errors([answer.error for answer in answers])

    async def _mcp(self, mcp: Mcp) -> AsyncGenerator[LaneEvent]:
        """Greet the server, do what `mcp` says, and show its result."""
        self._exchange.preparing = True
        able = [one.reply.method for one in self._message.replies]
        async for chunk in self._converse([Ask(method="initialize", params=_hello(mcp, able))]):
            yield chunk
        greeting = self._result()
        version = greeting.get("protocolVersion")
        if version not in MCP_VERSIONS:
            raise Broken(Failure.UNSUPPORTED, f"the server speaks MCP `{version!s:.40}`")
        self._exchange.facts["mcp"] = version
        if isinstance(info := greeting.get("serverInfo"), Mapping):
            told = f"{info.get('name', '')} {info.get('version', '')}".strip()
            self._exchange.facts["server"] = self._exchange.redact(told)[:NAME_LENGTH_MAX]
        self._link.agree(str(version))
        async for chunk in self._converse([Ask(method="notifications/initialized", notify=True)]):
            yield chunk
        # Nothing has happened yet: looking whether it still is the tool that was accepted changes nothing.
        self._exchange.preparing = mcp.pin is not None
        tools: list[Json] = []
        if not mcp.tool or mcp.pin is not None:
            async for chunk in self._tools(tools):
                yield chunk
        if not mcp.tool:
            for chunk in self._show({"tools": tools}):
                yield chunk
            return
        if mcp.pin is not None:
            _require_pinned(mcp, tools)
        self._exchange.preparing = False
        params: dict[str, Json] = {"name": mcp.tool, "arguments": dict(mcp.arguments or {})}
        async for chunk in self._converse([Ask(method="tools/call", params=params)]):
            yield chunk
        result = self._result()
        if not isinstance(result.get("content", []), list) or not isinstance(
            result.get("isError", False), bool
        ):
            raise WireBroken("the result of a tool has no list of `content`, or `isError` is no truth value")
        for chunk in self._show(result):
            yield chunk
        if result.get("isError"):
            raise Broken(Failure.REMOTE_ERROR, f"tool `{mcp.tool:.80}` reports an error", answered=True)

    async def _tools(self, tools: list[Json]) -> AsyncGenerator[LaneEvent]:
        """Put every tool of the server into `tools`."""
        seen: set[str] = set()
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params: dict[str, Json] = {} if cursor is None else {"cursor": cursor}
            async for chunk in self._converse([Ask(method="tools/list", params=params)]):
                yield chunk
            page = self._result()
            found, following = page.get("tools"), page.get("nextCursor")
            if not isinstance(found, list) or not (following is None or isinstance(following, str)):
                raise WireBroken("a page of tools has no list of `tools`, or its `nextCursor` is no text")
            tools += found
            if following is None:
                return
            if following in seen:
                raise WireBroken("the pages of tools go round in a circle")
            seen.add(following)
            cursor = following
        raise Broken(Failure.OUTPUT_LIMIT, f"there are more than {PAGES_MAX} pages of tools")

    def _result(self) -> Mapping[str, Json]:
        """Return the one result, which is an object."""
        answer = self._answers[0]
        assert answer is not None
        if answer.error is not None:
            self._exchange.chunk(self._exchange.out, payload_of(self._exchange.scrub(answer.error.value)))
        _raise_errors([answer.error])
        if not isinstance(answer.result, Mapping):
            raise WireBroken("a result of an MCP server is no object")
        return answer.result

    async def _converse(self, asks: Sequence[Ask], batch: bool = False) -> AsyncGenerator[LaneEvent]:
        """Send `asks` and wait for all their answers; what comes in between is shown."""
        self._waiting, values = {}, []
        for ask in asks:
            number = None
            if not ask.notify:
                self._numbers += 1
                number = self._numbers
                self._waiting[number] = len(self._waiting)
            values.append(request(ask.method, ask.params, number))
        self._answers = [None] * len(self._waiting)
        payload = payload_of(values if batch else values[0])
        await self._exchange.in_time(lambda: self._link.send(payload))
        while self._waiting:
            messages, together = read_payload(await self._exchange.in_time(self._link.receive))
            if together and not batch:
                raise WireBroken("an array of messages came, though none was sent")
            for said in self._link.said_beside():
                if (chunk := self._exchange.chunk(self._exchange.side, said)) is not None:
                    yield chunk
            for message in messages:
                if isinstance(message, Answer):
                    self._answered(message)
                else:
                    async with aclosing(self._asked(message)) as events:
                        async for event in events:
                            yield event

    def _answered(self, answer: Answer) -> None:
        if answer.id is None and answer.error is not None:
            # The other side could not even read to whom it answers: that goes for all that was asked.
            for place in self._waiting.values():
                self._answers[place] = answer
            self._waiting = {}
            return
        place = self._waiting.pop(answer.id, -1) if isinstance(answer.id, int) else -1
        if place < 0:
            raise WireBroken(
                f"an answer came to `{answer.id!s:.40}`, which was not asked or is answered already"
            )
        self._answers[place] = answer

    async def _asked(self, asked: Asked) -> AsyncGenerator[LaneEvent]:
        """Answer a request of the other side where there is leave for that, else refuse it; show news."""
        self._unasked += 1
        if self._unasked > UNASKED_MAX:
            raise Broken(Failure.OUTPUT_LIMIT, f"the other side said more than {UNASKED_MAX} things unasked")
        replies = self._message.replies
        given = self._given
        n = next(
            (n for n, r in enumerate(replies) if r.reply.method == asked.method and n not in given), None
        )
        if asked.expects and n is not None:
            given.add(n)
            asks = Asks(reply_call(self._exchange.call, n))
            yield asks
            try:
                asks.clear()
            except ClearanceRefused:
                await self._exchange.in_time(lambda: self._link.send(reply(asked)))
                return
            began_ms, prepared = self._exchange.spent_ms, replies[n].reply.result
            await self._exchange.in_time(lambda: self._link.send(reply(asked, prepared)))
            yield Made(asks=asks, result=self._exchange.sent_alone(self._exchange.spent_ms - began_ms))
            return
        if asked.expects:
            alive: Json = {} if self._message.mcp is not None and asked.method == "ping" else None
            await self._exchange.in_time(lambda: self._link.send(reply(asked, alive)))
            return
        line = payload_of(self._exchange.scrub(asked.value)) + b"\n"
        if (chunk := self._exchange.chunk(self._exchange.side, line)) is not None:
            yield chunk

    def _show(self, value: Json) -> Iterator[Chunk]:
        """Show the answer, and keep it as data where evidence can hold it."""
        exchange = self._exchange
        value = exchange.scrub(value)
        piece = payload_of(value)
        try:
            require_canonical(value)
            if len(piece) <= DATA_BYTES_MAX:
                exchange.data = {"result": value}
        except NotCanonical:
            pass  # The text of the answer is kept all the same.
        if (chunk := exchange.chunk(exchange.out, piece)) is not None:
            yield chunk


def _require_pinned(mcp: Mcp, tools: Sequence[Json]) -> None:
    """Return only if the server describes the tool as it did when it was pinned, and once."""
    found = [tool for tool in tools if isinstance(tool, Mapping) and tool.get("name") == mcp.tool]
    if len(found) != 1 or pin_of(found[0]) != mcp.pin:
        raise Broken(Failure.DRIFTED, f"tool `{mcp.tool:.80}` is not what was accepted; it was not called")


def _hello(mcp: Mcp, able: Collection[str]) -> Json:
    """Return the greeting, which names what the server may ask for: `elicitation` of `elicitation/create`."""
    return {
        "protocolVersion": mcp.version,
        "capabilities": {method.split("/")[0]: {} for method in able},
        "clientInfo": {"name": "rexecop", "version": rexecop.__version__},
    }


def _raise_errors(errors: Collection[RpcError | None]) -> None:
    """Return only if nothing was answered by an error."""
    found = [error for error in errors if error is not None]
    if found:
        first = found[0]
        many = f"{len(found)} of {len(errors)} requests failed, the first with " if len(errors) > 1 else ""
        raise Broken(
            _ERRORS.get(first.code, Failure.REMOTE_ERROR),
            f"{many}error {first.code}: {first.message}",
            answered=True,
            status=first.code,
        )
