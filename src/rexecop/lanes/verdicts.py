"""From what the keeper saw to how the call ended: the rules of honesty of the process lane.

A program that exited has answered. One that was ended (by us or by a signal) has not:
a read then failed, a change may have happened and is unknown.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from typing import Final

from rexecop.lanes import wire
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.port import LaneResult
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Effect, Ended, Isolation

SHELL_SIGNAL_BASE: Final = 128  # How wrappers report a death by signal; a program may exit like that too.
MESSAGE_LENGTH_MAX: Final = 300

_REASONS: Final = {
    "timeout": Failure.TIMEOUT,
    "processes": Failure.PROCESS_LIMIT,
    "output": Failure.OUTPUT_LIMIT,
    "cancelled": Failure.CANCELLED,
}
# What never reached the program: the target or the profile is wrong, so the call failed, and did not happen.
_FAILED_BEFORE: Final = frozenset({Failure.NOT_FOUND, Failure.PERMISSION_DENIED})


def not_started(failure: Failure, message: str, facts: Mapping[str, Json] | None = None) -> LaneResult:
    """Return the result of a call whose program was not executed."""
    return LaneResult(
        ended=Ended.FAILED if failure in _FAILED_BEFORE else Ended.REFUSED,
        duration_ms=0,
        measured=Measured(
            isolation=Isolation.NOT_APPLICABLE.value,
            network="not-applicable",
            protection="not-executed",
            facts=dict(facts) if facts else None,
        ),
        failure=failure,
        message=message[:MESSAGE_LENGTH_MAX],
    )


def unanswered(effect: Effect, message: str, measured: Measured) -> LaneResult:
    """Return the result of a call that may have happened and gave no answer."""
    read = effect is Effect.READ
    return LaneResult(
        ended=Ended.FAILED if read else Ended.UNKNOWN,
        duration_ms=0,
        measured=measured,
        failure=Failure.KILLED if read else Failure.UNKNOWN_OUTCOME,
        message=message[:MESSAGE_LENGTH_MAX],
    )


def end_of(
    fields: list[bytes],
    effect: Effect,
    isolation: Isolation,
    stderr: bytes,
    facts: dict[str, Json],
    measured: Callable[[], Measured],
) -> LaneResult:
    """Return how the call ended by the keeper's last frame; `facts` gains what it measured."""
    if fields[0] == wire.REFUSED:
        return _refused_at_the_gate(fields, facts)
    seen = wire.from_pairs(fields[1:])
    if seen.get("executed") == "false":
        text = stderr[:MESSAGE_LENGTH_MAX].decode("utf-8", "replace").strip()
        return not_started(Failure.NOT_FOUND, text or describe(Failure.NOT_FOUND), facts)
    facts["left"] = int(seen["left"])
    facts["tree_empty"] = seen["tree_empty"] == "true"
    status = int(seen["status"]) if "status" in seen else None
    number = int(seen["signal"]) if "signal" in seen else None
    failure = _REASONS.get(seen["reason"])
    message = describe(failure) if failure is not None else None
    answered = failure is None and number is None
    if answered and status != 0:
        failure = Failure.NONZERO_EXIT
        message = f"the program ended with status {status}"
        if isolation is Isolation.BUBBLEWRAP and status is not None and status > SHELL_SIGNAL_BASE:
            message += f", which under bubblewrap may also be signal {status - SHELL_SIGNAL_BASE}"
    elif number is not None and failure is None:
        failure, message = Failure.KILLED, f"the program was ended by signal {number}"
    if failure is None:
        ended = Ended.OK
    else:
        ended = Ended.FAILED if answered or effect is Effect.READ else Ended.UNKNOWN
    return LaneResult(
        ended=ended,
        duration_ms=0,
        measured=measured(),
        failure=failure,
        message=message,
        status=status,
        signal=number,
    )


def _refused_at_the_gate(fields: list[bytes], facts: Mapping[str, Json]) -> LaneResult:
    _, stage, number, reason = (field.decode("utf-8", "replace") for field in fields)
    if stage == "exec":
        failure = _EXECUTE.get(int(number), Failure.UNSUPPORTED)
        return not_started(failure, f"the program could not be executed: {reason}", facts)
    if stage == "late":
        return not_started(Failure.DEADLINE_PASSED, "the word to start came too late", facts)
    return not_started(Failure.INTERNAL, f"the program was not started at `{stage}`: {reason}", facts)


_EXECUTE: Final = {
    errno.ENOENT: Failure.NOT_FOUND,
    errno.EACCES: Failure.PERMISSION_DENIED,
    errno.EPERM: Failure.PERMISSION_DENIED,
    errno.E2BIG: Failure.REQUEST_INVALID,
}
