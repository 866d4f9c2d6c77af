"""What every lane of exchanges shares: reading the message, and words for how a call ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure
from rexecop.lanes.port import LaneResult
from rexecop.lanes.secrets import Lease
from rexecop.proof.call import Call, ExchangeRequest
from rexecop.proof.canonical import Json
from rexecop.proof.codec import from_json
from rexecop.proof.errors import ProofError
from rexecop.proof.message import fill_secrets, secrets_in
from rexecop.proof.records.outcome import PEERS, Measured
from rexecop.proof.vocabulary import Effect, Ended, Isolation

MESSAGE_LENGTH_MAX: Final = 300  # One line for a person; what the other side said is in the output.

STAND_IN: Final = "secret"  # Shows whether a message is whole before any secret is read.

T = TypeVar("T")

NOT_SENT: Final = Measured(
    isolation=Isolation.NOT_APPLICABLE.value, network="not-applicable", protection="not-executed"
)


async def read_message(request: ExchangeRequest, cls: type[T], lease: Lease) -> tuple[T, tuple[bytes, ...]]:
    """Begin `lease`; return the message of `request` as a `cls`, secrets filled in, and their values.

    Raises:
        RequestRefused: a secret cannot be had, or the message is no `cls`. Nothing was sent.
    """
    message: dict[str, Json] = dict(request.message)
    try:
        names = frozenset(secrets_in(message))
        checked = from_json(cls, fill_secrets(message, dict.fromkeys(names, STAND_IN)) if names else message)
    except ProofError as error:
        what = f"not a message of `{request.protocol}`: {error.message}"
        raise RequestRefused(Failure.REQUEST_INVALID, what) from error
    if not names:
        return checked, ()
    values = await lease.begin()
    try:
        filled = from_json(
            cls, fill_secrets(message, {name: value.decode() for name, value in values.items()})
        )
    except (ProofError, UnicodeDecodeError):
        # What is wrong now is wrong with a secret, and an error may not show it.
        raise RequestRefused(Failure.SECRET_UNUSABLE, "a secret does not fit its place") from None
    return filled, tuple(values.values())


def refused(failure: Failure, message: str) -> LaneResult:
    """Return the result of a call of which nothing left this machine."""
    return LaneResult(
        ended=Ended.REFUSED,
        duration_ms=0,
        measured=NOT_SENT,
        failure=failure,
        message=message[:MESSAGE_LENGTH_MAX],
    )


def without_answer(call: Call, *, sent: bool) -> Ended:
    """Return how a call ended that has no answer: what may have happened is unknown, unless it is a read."""
    return Ended.FAILED if call.effect is Effect.READ or not sent else Ended.UNKNOWN


def measured(facts: Mapping[str, Json], protection: str) -> Measured:
    """Return what was in force around an exchange that connected to its peers and nothing else."""
    return Measured(
        isolation=Isolation.NOT_APPLICABLE.value, network=PEERS, protection=protection, facts=dict(facts)
    )
