"""Messages of the JSON-RPC lane: `jsonrpc/1`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, cast

from rexecop.lanes.messages.http import HttpMessage
from rexecop.proof.call import Call, ExchangeRequest, Request
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.payload import Value, payload_text
from rexecop.proof.vocabulary import Effect

BATCH_MAX: Final = 64  # Requests abreast on one connection, and messages in one array.
UNIX_PATH_BYTES_MAX: Final = 107  # What the kernel has room for.
FRAMINGS: Final = ("newline", "content-length")
WAY: Final = ("http", "program", "unix", "framing")  # What of a message says whom it is for.
MCP_VERSIONS: Final = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program that speaks on its standard input and output; secrets go into `env` only."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    writable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnixSocket:
    """A socket in the file system; `uid` is whose process must be on the other side, where it is known."""

    path: str
    uid: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, or a notification (`notify`). `params` is an object, an array, or left out."""

    method: str
    params: Json = None
    notify: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What to answer when the other side asks for `method`: `result`."""

    method: str
    result: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An answer that is given as a call of its own: of `action`, with `effect`."""

    action: str
    effect: Effect
    reply: Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Mcp:
    """What to do with an MCP server: call `tool` with `arguments`, or list its tools if that is empty.

    With `pin` the tool is called only where the server still describes it so (see `pin_of`).
    """

    tool: str = ""
    arguments: Mapping[str, Json] | None = None
    version: str = MCP_VERSIONS[0]
    pin: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonRpcMessage:
    """Ask a peer over one of `http`, `program` and `unix`: `asks`, as one array if `batch`, or `mcp`.

    What the other side asks meanwhile is answered by one of `replies`, where there is leave for it. With
    `reply` alone the message is such an answer, which can be given in the course of another call only.
    """

    protocol: ClassVar[str] = "jsonrpc/1"

    http: HttpMessage | None = None
    program: Program | None = None
    unix: UnixSocket | None = None
    framing: str = FRAMINGS[0]
    asks: tuple[Ask, ...] = ()
    batch: bool = False
    mcp: Mcp | None = None
    replies: tuple[Prepared, ...] = ()
    reply: Reply | None = None


def pin_of(tool: Mapping[str, Json]) -> Digest:
    """Return the digest of everything a server says of a tool: its words, its schemas, its hints."""
    return digest_of(payload_text(cast("Value", tool)).encode())


def is_reply(request: Request) -> bool:
    """Return whether `request` is an answer, which is given only when the other side asks for it."""
    return (
        isinstance(request, ExchangeRequest)
        and request.protocol == JsonRpcMessage.protocol
        and request.message.get("reply") is not None
    )


def reply_call(call: Call, n: int) -> Call:
    """Return the call that gives the `n`-th answer that `call` has prepared."""
    request = call.request
    assert isinstance(request, ExchangeRequest)
    prepared = request.message["replies"]
    one = prepared[n] if isinstance(prepared, Sequence) else None
    assert isinstance(one, Mapping)
    way = {key: value for key, value in request.message.items() if key in WAY}
    return replace(
        call,
        action=str(one["action"]),
        effect=Effect(str(one["effect"])),
        request=replace(request, message={**way, "reply": one["reply"]}),
    )


def problems(message: JsonRpcMessage, effect: Effect) -> Iterator[str]:
    """Yield what keeps a call of `effect` by `message` from being made, without showing any of its values."""
    if [message.http, message.program, message.unix].count(None) != 2:
        yield "the peer is reached by one of `http`, `program` and `unix`"
    if message.framing not in FRAMINGS:
        yield f"framings are {', '.join(FRAMINGS)}"
    if message.unix is not None:
        path = message.unix.path
        if not path.startswith("/") or "\0" in path or len(path.encode()) > UNIX_PATH_BYTES_MAX:
            yield "the path of the socket is not absolute, or too long"
    program = message.program
    if program is not None:
        texts = (*program.argv, *(program.env or {}).values())
        if not program.argv or any("\0" in text for text in texts):
            yield "the program has no name, or a text with a NUL"
        if program.writable and effect is Effect.READ:
            yield "a read has `writable` paths; a read writes nothing"
    yield from _problems_of_asking(message)


def _problems_of_asking(message: JsonRpcMessage) -> Iterator[str]:
    asks, mcp = message.asks, message.mcp
    if [bool(asks), mcp is not None, message.reply is not None].count(True) != 1:
        yield "there is something to do by one of `asks`, `mcp` and `reply`"
    if message.reply is not None and message.replies:
        yield "an answer has no answers of its own"
    answers = [one.reply for one in message.replies] + ([message.reply] if message.reply else [])
    if any(not one.method or one.result is None for one in answers):
        yield "an answer has no `method`, or no `result`"
    if len(asks) > BATCH_MAX or (len(asks) > 1 and not message.batch):
        yield f"without `batch` there is one of `asks`, with it at most {BATCH_MAX}"
    if asks and all(ask.notify for ask in asks):
        yield "a notification alone has no answer, so nothing could be said of it"
    for ask in asks:
        if not ask.method or ask.method.startswith("rpc.") or not isinstance(ask.params, dict | list | None):
            yield "a method is nameless or begins with `rpc.`, or its params are neither object nor array"
    if mcp is None:
        return
    if mcp.version not in MCP_VERSIONS or (not mcp.tool and not (mcp.arguments is None and mcp.pin is None)):
        yield f"`mcp` has a version of {', '.join(MCP_VERSIONS)}, and a `tool` for `arguments` and `pin`"
    if message.framing != FRAMINGS[0] or message.batch:
        yield "MCP has its own framing and no batches"
