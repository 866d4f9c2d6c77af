"""Frames of the bridge: canonical JSON behind a length, each of one kind, and nothing else is taken.

On a stream a frame is four bytes of length, big-endian, and that many bytes of JSON. Whoever
asks begins with `attach/1`; calls have numbers of their own within a session.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from rexecop.lanes.errors import BridgeLost
from rexecop.lanes.failures import Failure
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import Json, parse_json
from rexecop.proof.codec import encode, from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Ended, Isolation

VERSION: Final = 1
FRAME_BYTES_MAX: Final = 1024 * 1024  # A call of 128 KiB with its secrets; output comes in pieces.
PIECE_BYTES: Final = 128 * 1024  # Of output or input in one frame; in base64 it is a third longer.
CLOSE_SECONDS_MAX: Final = 1.0  # The other side may be gone, and nobody waits for its goodbye.
HEAD: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Ask to make calls: which `versions` are understood and which `capabilities` are needed.

    `grant` is the token of an attach grant, `challenge` what a node has to sign.
    """

    kind: ClassVar[str] = "attach/1"

    versions: tuple[int, ...]
    capabilities: tuple[str, ...]
    target: str
    grant: str = ""
    challenge: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """The session stands. `classes` are the isolation classes measured there; `proof` answers a challenge."""

    kind: ClassVar[str] = "attached/1"

    version: int
    capabilities: tuple[str, ...]
    classes: tuple[Isolation, ...]
    proof: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run the process of `call`, whose places for secrets are filled from `secrets` over there.

    `permit` is the DSSE envelope a node asks for.
    """

    kind: ClassVar[str] = "run/1"

    id: int
    call: Call
    limits: Limits
    secrets: Mapping[str, str]
    permit: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(Run):
    """As `Run`, for a `live` program: more standard input comes while it runs."""

    kind: ClassVar[str] = "start/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stdin:
    """A piece of standard input, in base64, for a call that was started."""

    kind: ClassVar[str] = "stdin/1"

    id: int
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Eof:
    """The standard input of a call is at its end."""

    kind: ClassVar[str] = "eof/1"

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Interrupt:
    """Interrupt what is in the foreground of a call, as Ctrl-C does; it goes on or ends as it decides."""

    kind: ClassVar[str] = "interrupt/1"

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """How this call ended was heard; if it still runs, it ends with all it started, without a word."""

    kind: ClassVar[str] = "close/1"

    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A piece of output in base64; `n` counts the events of the call from 0."""

    kind: ClassVar[str] = "output/1"

    id: int
    n: int
    stream: str
    data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a call ended, as seen where it ran."""

    ended: Ended
    duration_ms: int
    measured: Measured
    failure: Failure | None = None
    message: str | None = None
    status: int | None = None
    signal: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    redactions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a node signed about a call, a DSSE envelope, and the keys (hex) of its commitments to outputs."""

    envelope: Json
    keys: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """The last event of a call; a node signs it."""

    kind: ClassVar[str] = "exit/1"

    id: int
    n: int
    end: End
    signed: Statement | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The session, or the call `id`, is refused; nothing was run for it."""

    kind: ClassVar[str] = "refused/1"

    failure: Failure
    message: str
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A node connects: its public key (an OpenSSH line) and a nonce."""

    kind: ClassVar[str] = "hello/1"

    version: int
    public: str
    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """One side proves itself: its public key, its nonce, and its signature over `NodeHello` (SSHSIG)."""

    kind: ClassVar[str] = "proved/1"

    public: str
    nonce: str
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Late:
    """A statement of a node about a call that nobody had heard of the end of when the node ended."""

    kind: ClassVar[str] = "late/1"

    nonce: str
    envelope: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """A late statement is kept where it belongs; with an empty `nonce`: the node is welcome."""

    kind: ClassVar[str] = "heard/1"

    nonce: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Holds:
    """What a node that connects still holds: calls on all other channels are lost."""

    kind: ClassVar[str] = "holds/1"

    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """Whoever was at the other end of `channel` is gone."""

    kind: ClassVar[str] = "gone/1"

    channel: int


Link = Hello | Proved | Late | Heard | Holds | Gone
Frame = Attach | Attached | Run | Start | Stdin | Eof | Interrupt | Close | Output | Exit | Refused | Link
_KINDS: Final[Mapping[str, type[Frame]]] = {
    cls.kind: cls
    for cls in (
        *(Attach, Attached, Run, Start, Stdin, Eof, Interrupt, Close, Output, Exit, Refused),
        *(Hello, Proved, Late, Heard, Holds, Gone),
    )
}


def read_frame(data: bytes) -> Frame:
    """Return the frame that `data` spells.

    Raises:
        BridgeLost: it is no frame; whoever sent it speaks something else.
    """
    try:
        value = parse_json(data, bytes_max=FRAME_BYTES_MAX)
        kind = value.get("kind") if isinstance(value, Mapping) else None
        cls = _KINDS.get(kind) if isinstance(kind, str) else None
        if cls is None:
            raise BridgeLost(f"a frame of kind `{kind!s:.40}`, which nobody knows")
        return from_json(cls, value)
    except ProofError as error:
        raise BridgeLost(f"a frame that cannot be read: {error.message}") from error


class Channel(Protocol):
    """Frames to and from one other side."""

    async def send(self, frame: Frame) -> None:
        """Send `frame`, waiting for room. Raises BridgeLost: the other side is gone."""
        ...

    async def receive(self) -> Frame:
        """Return the next frame. Raises BridgeLost: the other side is gone, or speaks something else."""
        ...

    async def close(self) -> None:
        """Close both directions."""
        ...


class StreamChannel:
    """Frames over a socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer: Final = writer

    async def send(self, frame: Frame) -> None:
        """As `Channel.send`."""
        await self.send_bytes(encode(frame))

    async def send_bytes(self, data: bytes) -> None:
        """Send a frame already written."""
        if len(data) > FRAME_BYTES_MAX:
            raise BridgeLost(f"a frame of {len(data)} bytes, at most {FRAME_BYTES_MAX} are sent")
        try:
            self.writer.write(HEAD.pack(len(data)) + data)
            await self.writer.drain()
        except (OSError, RuntimeError) as error:
            raise BridgeLost("the other side closed the connection") from error

    async def receive(self) -> Frame:
        """As `Channel.receive`."""
        return read_frame(await self.receive_bytes())

    async def receive_bytes(self) -> bytes:
        """Return the next frame unread."""
        try:
            (length,) = HEAD.unpack(await self._reader.readexactly(HEAD.size))
            if length > FRAME_BYTES_MAX:
                raise BridgeLost(f"a frame of {length} bytes, at most {FRAME_BYTES_MAX} are taken")
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError) as error:
            raise BridgeLost("the other side closed the connection") from error

    async def close(self) -> None:
        """As `Channel.close`."""
        self.writer.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                await self.writer.wait_closed()
        except (OSError, TimeoutError):
            self.writer.transport.abort()  # What is unsent would wait for ever for who does not read.
