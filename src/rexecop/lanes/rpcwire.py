"""JSON-RPC 2.0 on the wire: framing, strict reading, writing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from rexecop.lanes.errors import PayloadTooLarge, WireBroken
from rexecop.lanes.messages.jsonrpc import BATCH_MAX
from rexecop.proof.canonical import Json, load_foreign, trusted_bytes
from rexecop.proof.errors import NotCanonical

VERSION: Final = "2.0"
PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024  # Of one message; what is larger is a transfer, not an answer.
HEADER_BYTES_MAX: Final = 1_024  # Two short header fields.

METHOD_NOT_FOUND: Final = -32_601

Id = int | str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RpcError:
    """The error of an answer."""

    code: int
    message: str
    value: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response: `result`, or an `error`."""

    id: Id
    result: Json = None
    error: RpcError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request of the other side; a notification has no `id` (`expects` is false)."""

    method: str
    id: Id
    expects: bool
    value: Json


class Framing(Protocol):
    """Where one message ends and the next begins."""

    def frame(self, payload: bytes) -> bytes:
        """Return `payload` as it is sent."""
        ...

    def feed(self, data: bytes) -> list[bytes]:
        """Return the payloads that `data` completes.

        Raises:
            WireBroken, PayloadTooLarge: there is no next message.
        """
        ...


class NewlineFraming:
    """One message a line."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def frame(self, payload: bytes) -> bytes:
        return payload + b"\n"  # Canonical JSON holds no line feed.

    def feed(self, data: bytes) -> list[bytes]:
        self._rest += data
        lines: list[bytes] = []
        if b"\n" in data:
            *whole, rest = self._rest.split(b"\n")
            lines, self._rest = [bytes(line) for line in whole], bytearray(rest)
        if max(map(len, [*lines, self._rest])) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(f"a line is longer than {PAYLOAD_BYTES_MAX} bytes")
        return lines


class LengthFraming:
    """Header fields before each message, of which `Content-Length` counts its bytes (as in LSP)."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted: int | None = None

    def frame(self, payload: bytes) -> bytes:
        return b"Content-Length: %d\r\n\r\n%b" % (len(payload), payload)

    def feed(self, data: bytes) -> list[bytes]:
        self._rest += data
        payloads: list[bytes] = []
        while True:
            if self._wanted is None and not self._head():
                return payloads
            if self._wanted is None or len(self._rest) < self._wanted:
                return payloads
            payloads.append(bytes(self._rest[: self._wanted]))
            del self._rest[: self._wanted]
            self._wanted = None

    def _head(self) -> bool:
        """Take the header fields off, if they are whole."""
        end = self._rest.find(b"\r\n\r\n", 0, HEADER_BYTES_MAX)
        if end < 0:
            if len(self._rest) >= HEADER_BYTES_MAX:
                raise WireBroken("there is no header with `Content-Length` before a message")
            return False
        lengths: list[bytes] = []
        for line in bytes(self._rest[:end]).split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if not colon or name.lower() not in (b"content-length", b"content-type"):
                raise WireBroken("a header field before a message is none of the framing")
            if name.lower() == b"content-length":
                lengths.append(value.strip())
        if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > 10:
            raise WireBroken("`Content-Length` does not stand once with a number before a message")
        if int(lengths[0]) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(f"a message of {int(lengths[0])} bytes, at most {PAYLOAD_BYTES_MAX}")
        del self._rest[: end + 4]
        self._wanted = int(lengths[0])
        return True


def framing_of(name: str) -> Framing:
    """Return a new `newline` or `content-length` framing."""
    return NewlineFraming() if name == "newline" else LengthFraming()


def read_payload(payload: bytes) -> tuple[list[Answer | Asked], bool]:
    """Return the messages in `payload`, and whether they came as one array.

    Raises:
        WireBroken: it is not strict JSON, an array is empty or too long, or a message is none.
        PayloadTooLarge: it is.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise PayloadTooLarge(f"a message of {len(payload)} bytes, at most {PAYLOAD_BYTES_MAX}")
    try:
        value = load_foreign(payload, bytes_max=PAYLOAD_BYTES_MAX)
    except NotCanonical as error:
        raise WireBroken(error.message) from error
    if not isinstance(value, list):
        return [_message(value)], False
    if not 0 < len(value) <= BATCH_MAX:
        raise WireBroken(f"an array of {len(value)} messages, not 1 to {BATCH_MAX}")
    return [_message(item) for item in value], True


def _message(value: Json) -> Answer | Asked:
    if not isinstance(value, Mapping) or value.get("jsonrpc") != VERSION:
        raise WireBroken("a message is no object that says `jsonrpc` is `2.0`")
    names = value.keys()
    found = value.get("id")
    # A truth value is a number to Python only.
    if found is not None and (not isinstance(found, int | str) or isinstance(found, bool)):
        raise WireBroken("an `id` is neither text nor a whole number nor null")
    if "method" in names:
        method = value["method"]
        if not isinstance(method, str) or names - {"jsonrpc", "method", "params", "id"}:
            raise WireBroken("a request has members that none may have")
        if not isinstance(value.get("params", []), Mapping | list):
            raise WireBroken("the `params` of a request are neither object nor array")
        return Asked(method=method, id=found, expects="id" in names, value=value)
    if names == {"jsonrpc", "id", "result"}:
        return Answer(id=found, result=value["result"])
    if names == {"jsonrpc", "id", "error"}:
        return Answer(id=found, error=_error(value["error"]))
    raise WireBroken("a message is neither a request nor an answer with either `result` or `error`")


def _error(value: Json) -> RpcError:
    if isinstance(value, Mapping) and value.keys() <= {"code", "message", "data"}:
        code, message = value.get("code"), value.get("message")
        if isinstance(code, int) and not isinstance(code, bool) and isinstance(message, str):
            return RpcError(code=code, message=message, value=value)
    raise WireBroken("an `error` has no whole `code` and `message`, or more than those and `data`")


def request(method: str, params: Json, number: int | None) -> dict[str, Json]:
    """Return a request; a notification without a `number`."""
    value: dict[str, Json] = {"jsonrpc": VERSION, "method": method}
    if params is not None:
        value["params"] = params
    if number is not None:
        value["id"] = number
    return value


def reply(asked: Asked, result: Json = None) -> bytes:
    """Return the answer to `asked`: `result`, or that there is no such method."""
    value: dict[str, Json] = {"jsonrpc": VERSION, "id": asked.id}
    if result is not None:
        value["result"] = result
    else:
        value["error"] = {"code": METHOD_NOT_FOUND, "message": "method not found"}
    return payload_of(value)


def payload_of(value: Json) -> bytes:
    """Return `value` as it is sent.

    Raises:
        ValueError: it holds what no JSON text can.
    """
    try:
        return trusted_bytes(value)
    except NotCanonical as error:
        raise ValueError(error.message) from error
