"""CloudEvents over HTTP: structured, binary, and several at once; each comes out as structured JSON."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

from starlette.requests import Request

from rexecop.proof.errors import NotCanonical
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.service.body import BODY_BYTES_MAX, BodyRefused, read_body

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
EVENTS_MAX: Final = 64  # Of one batch: as many as are decided about in a few seconds.
_PREFIX: Final = "ce-"
_JSON: Final = re.compile(r"[a-z0-9.-]+/(?:[a-z0-9.-]+\+)?json")
_ATTRIBUTE: Final = re.compile(r"[a-z0-9]{1,64}")
_OF_BODY: Final = ("data", "datacontenttype")  # What the body and its type say, and headers do not.


async def read_events(request: Request) -> tuple[tuple[bytes, ...], bool]:
    """Return the events that `request` tells, and whether they came as a batch.

    Raises:
        BodyRefused: as `body.read_body`, or it tells none (422).
    """
    given = request.headers.get("content-type", "")
    media, _, parameters = given.lower().partition(";")
    media, charset = media.strip(), re.search(r"charset\s*=\s*\"?([^\s\";]*)", parameters)
    if charset is not None and charset[1] not in ("utf-8", "utf8"):
        raise BodyRefused(415, f"events are UTF-8, not `{charset[1]:.40}`")
    names = [name for name in request.headers if name.startswith(_PREFIX)]
    binary = bool(names) and not media.startswith("application/cloudevents")
    own = (media,) if binary and _JSON.fullmatch(media) else ()
    body = await read_body(request, STRUCTURED, BATCH, *own)
    value = None if binary and not body else _parsed(body)
    if binary:
        return (payload_text(_from_headers(request, given, value, has_data=bool(body))).encode(),), False
    if media != BATCH:
        return (_event(value, "the body", body),), False
    if not isinstance(value, list) or not 0 < len(value) <= EVENTS_MAX:
        raise BodyRefused(422, f"a batch is a list of 1 to {EVENTS_MAX} events")
    return tuple(_event(one, f"event {n} of the batch") for n, one in enumerate(value)), True


def _event(value: Value, what: str, came: bytes | None = None) -> bytes:
    if not (isinstance(value, dict) and "specversion" in value):
        raise BodyRefused(422, f"{what} is no CloudEvent: it has no `specversion`")
    return payload_text(value).encode() if came is None else came


def _parsed(body: bytes) -> Value:
    try:
        return parse_payload(body, bytes_max=BODY_BYTES_MAX)
    except NotCanonical as error:
        raise BodyRefused(422, error.message) from error


def _from_headers(request: Request, media: str, data: Value, *, has_data: bool) -> dict[str, Value]:
    """Return the event whose attributes are headers and whose data are the body."""
    found: dict[str, Value] = {"datacontenttype": media}
    for header, value in request.headers.items():
        name = header.removeprefix(_PREFIX)
        if not header.startswith(_PREFIX):
            continue
        if not _ATTRIBUTE.fullmatch(name) or name in _OF_BODY:
            raise BodyRefused(422, f"header `{header:.60}` is no attribute of an event")
        if name in found:
            raise BodyRefused(422, f"header `{header:.60}` is there twice")
        found[name] = _text(header, value)
    if "specversion" not in found:
        raise BodyRefused(422, "the headers are of no CloudEvent: there is no `ce-specversion`")
    return {**found, "data": data} if has_data else found


def _text(header: str, value: str) -> str:
    """Return what a header says: percent-encoded where it is not printable ASCII, and perhaps quoted."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    try:
        if not value.isascii():
            raise UnicodeError
        return unquote(value, errors="strict")
    except UnicodeError:
        raise BodyRefused(422, f"header `{header:.60}` is not ASCII with percent-encoded UTF-8") from None
