"""What a browser sends: bounded, strict, every field once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from email import message_from_bytes
from email.policy import HTTP
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from rexecop.service.body import BodyRefused

FORM_BYTES_MAX: Final = (
    512 * 1024
)  # Parameters are 64 KiB at most, thrice that when encoded; answers are smaller.
FIELDS_MAX: Final = 128  # Twice the parameters of an intent.
SECONDS_MAX: Final = 20  # A form takes a second on the slowest line worth having.
URLENCODED: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of the form that `request` sends; of one name, the last that says anything.

    Raises:
        BodyRefused: no form (415), too long (413), too slow (408), cut short or not UTF-8 (400).
    """
    kind = request.headers.get("content-type", "")
    media = kind.split(";", 1)[0].strip().lower()
    if media not in (URLENCODED, MULTIPART):
        raise BodyRefused(415, "a form is expected")
    try:
        async with asyncio.timeout(SECONDS_MAX):
            body = await _read(request)
        pairs = _encoded(body) if media == URLENCODED else _parts(kind, body)
    except TimeoutError:
        raise BodyRefused(408, "the form did not arrive in time") from None
    except ClientDisconnect:
        raise BodyRefused(400, "the form ended early") from None
    except ValueError:
        raise BodyRefused(400, "the form cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        found[name] = value or found.get(name, "")
    return found


async def _read(request: Request) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > FORM_BYTES_MAX:
            raise BodyRefused(413, f"a form takes at most {FORM_BYTES_MAX} bytes")
        parts.append(part)
    return b"".join(parts)


def _encoded(body: bytes) -> list[tuple[str, str]]:
    # Browsers end lines with CR LF in what is typed over several.
    pairs = parse_qsl(
        body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
    )
    return [(name, value.replace("\r\n", "\n")) for name, value in pairs]


def _parts(kind: str, body: bytes) -> list[tuple[str, str]]:
    """Return the parts of a form with a file in it."""
    if "\n" in kind or "\r" in kind or body.count(b"\n--") > 2 * FIELDS_MAX:
        raise ValueError
    message = message_from_bytes(b"Content-Type: " + kind.encode("ascii") + b"\r\n\r\n" + body, policy=HTTP)
    found = []
    for part in message.iter_parts():
        name, data = part.get_param("name", header="content-disposition"), part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(data, bytes):
            raise ValueError
        found.append((name, data.decode("utf-8").replace("\r\n", "\n")))
    return found
