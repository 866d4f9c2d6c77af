"""Messages of the stream lanes: `sse/1` and `websocket/1`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

from rexecop.lanes.messages.http import HttpMessage
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.vocabulary import Effect

RECONNECTS_MAX: Final = 100  # Beyond that the peer is down, and somebody should look.
DELAY_MS_MAX: Final = 600_000
EVENT_BYTES_MAX: Final = 1 << 20  # Both sides of a larger one are doing something else than events.
TOTAL_BYTES_MAX: Final = 1 << 30
ID_LENGTH_MAX: Final = 1_024  # It goes back in a header.
FRAMES_MAX: Final = 256  # What one person can still review as one call.
SUBPROTOCOLS_MAX: Final = 16

_SUBPROTOCOL: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What ends a stream well, whichever comes first; at least one of them.

    `count` events; `after_ms` milliseconds; the peer's own clean end (`closed`); or an event of
    type `event` (a frame's is `text` or `binary`) whose data is JSON that holds `equals` at the
    JSON pointer `pointer`. Each of the two halves of that may stand alone.
    """

    count: int = 0
    after_ms: int = 0
    closed: bool = False
    event: str = ""
    pointer: str | None = None
    equals: str | int | bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """Up to `count` further connections; before each as long as the peer says, at most `delay_ms_max`."""

    count: int
    delay_ms_max: int = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much is read: of one event or frame, and in all; more ends the call."""

    event_bytes: int = 64 * 1024
    total_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class SseMessage:
    """Listen at what `http` names (`GET`).

    Without a byte for `heartbeat_ms` the connection counts as lost (0: never).
    """

    protocol: ClassVar[str] = "sse/1"

    http: HttpMessage
    stop: Stop
    reconnect: Reconnect | None = None
    heartbeat_ms: int = 0
    last_event_id: str = ""
    bounds: Bounds = Bounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame to send: `text`, `json` as canonical text, or the bytes that `base64` holds."""

    text: str | None = None
    json: Json = None
    base64: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketMessage:
    """Connect to what `http` names (`GET`), send `frames` in their order, and listen.

    The peer has to choose one of `subprotocols` where there are any. It is pinged every
    `heartbeat_ms`; no answer in half that time and the connection counts as lost (0: no pings).
    """

    protocol: ClassVar[str] = "websocket/1"

    http: HttpMessage
    stop: Stop
    frames: tuple[Frame, ...] = ()
    subprotocols: tuple[str, ...] = ()
    reconnect: Reconnect | None = None
    heartbeat_ms: int = 0
    bounds: Bounds = Bounds()


def problems(message: SseMessage | WebSocketMessage, effect: Effect) -> Iterator[str]:
    """Yield what keeps a call of `effect` by `message` from being made, without showing any of its values."""
    yield from _problems_of_stop(message.stop, effect)
    bounds, reconnect = message.bounds, message.reconnect
    if not (0 < bounds.event_bytes <= EVENT_BYTES_MAX and 0 < bounds.total_bytes <= TOTAL_BYTES_MAX):
        yield f"`bounds` are 1 to {EVENT_BYTES_MAX} bytes of an event, {TOTAL_BYTES_MAX} in all"
    if message.heartbeat_ms < 0:
        yield "`heartbeat_ms` is below 0"
    frames = message.frames if isinstance(message, WebSocketMessage) else ()
    if reconnect is not None:
        if effect is not Effect.READ or frames:
            yield "`reconnect` would send again what may have been done already"
        if not (1 <= reconnect.count <= RECONNECTS_MAX and 0 <= reconnect.delay_ms_max <= DELAY_MS_MAX):
            yield f"`reconnect` counts 1 to {RECONNECTS_MAX}, at most {DELAY_MS_MAX} ms apart"
    if isinstance(message, SseMessage):
        if not fits_header(message.last_event_id):
            yield "`last_event_id` fits no header"
        return
    if len(frames) > FRAMES_MAX or any([f.text, f.json, f.base64].count(None) != 2 for f in frames):
        yield f"there are more than {FRAMES_MAX} frames, or one is not either `text`, `json` or `base64`"
    names = message.subprotocols
    if len(names) > SUBPROTOCOLS_MAX or not all(map(_SUBPROTOCOL.fullmatch, names)):
        yield f"`subprotocols` are at most {SUBPROTOCOLS_MAX} tokens"


def _problems_of_stop(stop: Stop, effect: Effect) -> Iterator[str]:
    by_peer = stop.count or stop.closed or stop.event or stop.pointer is not None
    if not by_peer and not stop.after_ms:
        yield "`stop` names no condition, so the stream could not end well"
    if effect is not Effect.READ and not by_peer:
        yield "a change ends by what the other side says, not by time alone"
    if not (0 <= stop.count <= INTEGER_MAX and stop.after_ms >= 0):
        yield "`stop` counts below nothing"
    if (stop.pointer is None) != (stop.equals is None) or (stop.pointer or "/")[0] != "/":
        yield "`pointer`, which begins with `/`, and `equals` of a `stop` go together"


def fits_header(text: str) -> bool:
    """Return whether the id of an event can be sent back."""
    return len(text) <= ID_LENGTH_MAX and (text == "" or text.isprintable())
