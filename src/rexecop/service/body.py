"""The body of `POST /execute`: bounded, strict JSON, every fault named by its place and never repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from starlette.requests import ClientDisconnect, Request

from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import Value, parse_payload

BODY_BYTES_MAX: Final = 64 * 1024  # As much as the demo actions may answer with.
BODY_SECONDS_MAX: Final = 10  # Such a body takes a second on the slowest line worth having.
ACTION_LENGTH_MAX: Final = 128  # Names people give; longer is no name.
NONCE_LENGTH_MAX: Final = 256  # Four times a digest in hex.
CONTENT_TYPE: Final = "application/json"

Fault: TypeAlias = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteRequest:
    """What somebody asks to have run."""

    action: str
    payload: dict[str, Value]
    nonce: str
    artifact: dict[str, Value] | None = None


class BodyRefused(Exception):
    """The body is not what the contract takes: `status` and `detail` answer it."""

    def __init__(self, status: int, detail: str | list[Fault]) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail


async def read_request(request: Request) -> ExecuteRequest:
    """Return what the body of `request` asks for.

    Raises:
        BodyRefused: as `read_body`, or not as the contract says (422).
    """
    return parse_request(await read_body(request))


async def read_body(request: Request, *types: str) -> bytes:
    """Return the body of `request`, which is JSON by its type, or one of `types`.

    Raises:
        BodyRefused: another content type (415), too long (413), too slow (408) or cut short (400).
    """
    given = request.headers.get("content-type", "")
    if given.split(";", 1)[0].strip().lower() not in (CONTENT_TYPE, *types):
        raise BodyRefused(415, f"Content-Type must be {' or '.join((CONTENT_TYPE, *types))}")
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            return await _read(request)
    except TimeoutError:
        raise BodyRefused(408, "the body did not arrive in time") from None
    except ClientDisconnect:
        raise BodyRefused(400, "the body ended early") from None


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > BODY_BYTES_MAX:
        raise _too_long()
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise _too_long()
        parts.append(part)
    return b"".join(parts)


def _too_long() -> BodyRefused:
    return BodyRefused(413, f"a request takes at most {BODY_BYTES_MAX} bytes")


def parse_request(body: bytes) -> ExecuteRequest:
    """Return what `body` asks for; fields the contract does not know are ignored, as it says.

    Raises:
        BodyRefused: with 422 and every fault.
    """
    fields = _object(body)
    faults = list(_faults(fields))
    if faults:
        raise BodyRefused(422, faults)
    action, nonce, payload = fields["action"], fields["nonce"], fields.get("payload")
    assert isinstance(action, str) and isinstance(nonce, str)
    brought = fields.get("approval_artifact")
    return ExecuteRequest(
        action=action,
        payload=payload if isinstance(payload, dict) else {},
        nonce=nonce,
        artifact=brought if isinstance(brought, dict) else None,
    )


def parse_receipt(body: bytes) -> tuple[str, str, str]:
    """Return execution, result and receipt that `body` asks about.

    Raises:
        BodyRefused: with 422 and every fault.
    """
    fields, names = _object(body), ("exec_id", "result", "receipt")
    faults = [
        fault(
            "missing" if name not in fields else "string_type",
            "Field required" if name not in fields else "Input should be a valid string",
            name,
        )
        for name in names
        if not isinstance(fields.get(name), str)
    ]
    if faults:
        raise BodyRefused(422, faults)
    found = [str(fields[name]) for name in names]
    return found[0], found[1], found[2]


def _object(body: bytes) -> dict[str, Value]:
    try:
        fields = parse_payload(body, bytes_max=BODY_BYTES_MAX)
    except NotCanonical as error:
        raise BodyRefused(422, [fault("json_invalid", error.message)]) from error
    if not isinstance(fields, dict):
        raise BodyRefused(422, [fault("dict_type", "Input should be a valid dictionary")])
    return fields


def _faults(fields: dict[str, Value]) -> Iterator[Fault]:
    for name, most in (("action", ACTION_LENGTH_MAX), ("nonce", NONCE_LENGTH_MAX)):
        value = fields.get(name)
        if name not in fields:
            yield fault("missing", "Field required", name)
        elif not isinstance(value, str):
            yield fault("string_type", "Input should be a valid string", name)
        elif len(value) > most:
            yield fault("string_too_long", f"String should have at most {most} characters", name)
    action = fields.get("action")
    if isinstance(action, str) and action and not action.isprintable():
        yield fault("string_pattern_mismatch", "String should hold printable characters only", "action")
    for name in ("payload", "approval_artifact"):
        if not isinstance(fields.get(name), dict | None):
            yield fault("dict_type", "Input should be a valid dictionary", name)


def fault(kind: str, message: str, *place: str) -> Fault:
    """Return what is wrong at a place of the body, in the form the contract's clients know."""
    return {"type": kind, "loc": ["body", *place], "msg": message}
