"""Answers as the service gives them: JSON, and problem details with our stable codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.responses import Response

from rexecop.service.problems import answer

HEADERS: Final[Mapping[str, str]] = {
    "content-type": "application/json",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}

encode = msgspec.json.encode


def json_answer(
    status: int, body: Mapping[str, object], headers: Mapping[str, str] | None = None
) -> Response:
    """Return `body` as JSON."""
    return Response(encode(body), status, {**HEADERS, **(headers or {})})


def problem(status: int, detail: object, code: str, headers: Mapping[str, str]) -> Response:
    """Return problem details (RFC 9457), with the stable `code` beside what the standard has."""
    return answer(status, str(detail), code, {}, (), headers)
