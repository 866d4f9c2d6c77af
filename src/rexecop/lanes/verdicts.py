"""From what the keeper saw to how the call ended: the rules of honesty of the process lane.

A program that exited has answered. One that was ended (by us or by a signal) has not:
a read then failed, a change may have happened and is unknown.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from rexecop.lanes import wire
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.port import LaneResult
from rexecop.proof.canonical import Json
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import PRIVATE_NETWORK, Effect, Ended, Isolation

SHELL_SIGNAL_BASE: Final = 128  # How wrappers report a death by signal; a program may exit like that too.
MESSAGE_LENGTH_MAX: Final = 300

_REASONS: Final = {
    "timeout": Failure.TIMEOUT,
    "processes": Failure.PROCESS_LIMIT,
    "output": Failure.OUTPUT_LIMIT,
    "cancelled": Failure.CANCELLED,
}
# What never reached the program: the target or the profile is wrong, so the call failed, and did not happen.
_FAILED_BEFORE: Final = frozenset(
    {
        Failure.NOT_FOUND,
        Failure.PERMISSION_DENIED,
        Failure.NOT_EXECUTABLE,
        Failure.INTERPRETER_MISSING,
    }
)


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
        # Bubblewrap tells only in words why it could not execute.
        refused = next((known for known in _EXECUTE if text.endswith(os.strerror(known))), 0)
        missed = execution_failure(refused) if refused else Failure.NOT_FOUND
        return not_started(missed, text or describe(missed), facts)
    facts["left"] = int(seen["left"])
    facts["tree_empty"] = seen["tree_empty"] == "true"
    if "interrupts" in seen:
        facts["interrupts"] = int(seen["interrupts"])
    kills = int(seen.get("memory_kills", "0"))
    if "memory_kills" in seen:
        facts["memory_kills"] = kills
        facts["processes_refused"] = int(seen["processes_refused"])
    status = int(seen["status"]) if "status" in seen else None
    number = int(seen["signal"]) if "signal" in seen else None
    failure = _REASONS.get(seen["reason"])
    if failure is None and kills and (number is not None or status == SHELL_SIGNAL_BASE + signal.SIGKILL):
        failure = Failure.MEMORY_LIMIT
    message = describe(failure) if failure is not None else None
    answered = failure is None and number is None
    if answered and status != 0:
        failure = Failure.NONZERO_EXIT
        message = f"the program ended with status {status}"
        if isolation in PRIVATE_NETWORK and status is not None and status > SHELL_SIGNAL_BASE:
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
        failure = execution_failure(int(number))
        return not_started(failure, f"the program could not be executed: {reason}", facts)
    if stage == "late":
        return not_started(Failure.DEADLINE_PASSED, "the word to start came too late", facts)
    return not_started(Failure.INTERNAL, f"the program was not started at `{stage}`: {reason}", facts)


def execution_failure(number: int) -> Failure:
    """Return the class of the kernel's refusal `number` to execute a program that was found."""
    return _EXECUTE.get(number, Failure.UNSUPPORTED)


_EXECUTE: Final = {
    errno.ENOENT: Failure.INTERPRETER_MISSING,
    errno.ENOEXEC: Failure.NOT_EXECUTABLE,
    errno.ELIBBAD: Failure.NOT_EXECUTABLE,
    errno.ELOOP: Failure.NOT_EXECUTABLE,
    errno.EACCES: Failure.PERMISSION_DENIED,
    errno.EPERM: Failure.PERMISSION_DENIED,
    errno.E2BIG: Failure.REQUEST_INVALID,
}
