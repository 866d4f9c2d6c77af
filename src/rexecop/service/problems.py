"""Problem details (RFC 9457): refusals, with the stable code of the error behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

from rexecop.proof.errors import RexecopError
from rexecop.service.errors import Asked

TYPE: Final = "urn:rexecop:code:"  # What each code means is in docs/reference/codes.md.
MEDIA: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
INTERNAL: Final = "internal-error"

HEADERS: Final[Mapping[str, str]] = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

# By the nearest code in the error's own line of ancestors; what stands nowhere is the ledger's or a file's.
STATUS: Final[Mapping[str, int]] = {
    "caller-unknown": 401,
    "caller-throttled": 429,
    "forbidden": 403,
    "operation-unknown": 404,
    "record-unknown": 404,
    "not-offered": 404,
    "input-refused": 422,
    "plan-refused": 422,
    "proof-error": 422,
    "size-refused": 422,
    "request-malformed": 422,
    "halt-refused": 422,
    "request-conflict": 409,
    "append-conflict": 409,
    "claim-taken": 409,
    "lock-held": 409,
    "lease-held": 409,
    "runner-busy": 409,
    "budget-spent": 409,
    "plan-drifted": 409,
    "illegal-move": 409,
    "nothing-to-undo": 409,
    "nothing-to-settle": 409,
    "not-waiting": 409,
    "too-early": 409,
    "not-yet": 409,
    "not-now": 409,
    "approval-not-asked": 409,
    "nothing-to-withdraw": 409,
    "ticket-refused": 409,
    "answer-unfit": 422,
    "approval-refused": 403,
    "lift-refused": 403,
    "identity-refused": 403,
    "request-refused": 422,
}
# What may be otherwise in a moment, without anybody doing anything.
AGAIN: Final = frozenset(
    {"append-conflict", "claim-taken", "lock-held", "lease-held", "runner-busy", "too-early", "capacity-full"}
)
# What whoever runs the service can type for callers that it does not know, or lets do less than they ask.
HELP: Final[Mapping[str, tuple[str, ...]]] = {
    "caller-unknown": ("rexecop token new NAME --role viewer",),
    "forbidden": ("rexecop token new NAME --role operator",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a request was refused: `code` never changes its meaning, `next` are commands that may help."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    facts: Mapping[str, str | int]
    next: tuple[str, ...]


def status_of(error: RexecopError) -> int:
    """Return the status that answers `error`; 503 where nothing that was asked is to blame."""
    if isinstance(error, Asked):
        return error.status
    if error.facts.get("hidden"):
        return 404
    codes = (getattr(cls, "code", "") for cls in type(error).__mro__)
    return next((STATUS[code] for code in codes if code in STATUS), 503)


def problem(error: RexecopError, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer to a request that ended with `error`, and when to ask again where that may help."""
    status = status_of(error)
    more = dict(headers or {})
    if status == 401:
        more["www-authenticate"] = "Bearer"
    if status in (429, 503) or error.code in AGAIN:
        more["retry-after"] = str(error.facts.get("seconds", RETRY_SECONDS))
    # To whom a thing does not exist, nothing about it is a fact.
    facts = {} if error.facts.get("hidden") else dict(error.facts)
    steps = error.next_steps or (() if error.facts.get("hidden") else HELP.get(error.code, ()))
    return answer(status, error.message, error.code, facts, steps, more)


def defect() -> Response:
    """Return the answer where a defect of ours is to blame; the operator is told elsewhere."""
    return answer(500, "the service failed; its operator was told", INTERNAL, {}, (), {})


def answer(
    status: int,
    detail: str,
    code: str,
    facts: Mapping[str, str | int],
    steps: tuple[str, ...],
    headers: Mapping[str, str],
) -> Response:
    """Return problem details."""
    found = Problem(
        type=TYPE + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        facts=facts,
        next=steps,
    )
    return Response(msgspec.json.encode(found), status, {**HEADERS, **headers, "content-type": MEDIA})
