"""The one table of error classes: what each means, and whether trying again can help.

`retryable` says that a *read*, or a change that provably did not happen, may be tried
again. It never overrules an `unknown` end: what may have happened is settled by looking.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Failure(StrEnum):
    """Why a call did not end well; the `error_class` of an outcome."""

    TIMEOUT = "timeout"
    TRANSIENT_CONNECTOR_ERROR = "transient_connector_error"
    POLICY_DENIED = "policy_denied"
    CAPABILITY_UNDECLARED = "capability_undeclared"
    AUTH_FAILED = "auth_failed"
    VALIDATION_FAILED = "validation_failed"
    CONNECTOR_DISABLED = "connector_disabled"
    UNSUPPORTED = "unsupported"
    HOST_KEY_MISMATCH = "host_key_mismatch"
    ISOLATION_UNAVAILABLE = "isolation_unavailable"
    OUTPUT_LIMIT = "output_limit"
    UNKNOWN_OUTCOME = "unknown_outcome"
    REQUEST_INVALID = "request_invalid"
    TEMPLATE_MISMATCH = "template_mismatch"
    PERMIT_MISMATCH = "permit_mismatch"
    PERMIT_EXPIRED = "permit_expired"
    FENCE_LOST = "fence_lost"
    DEADLINE_PASSED = "deadline_passed"
    EFFECT_REFUSED = "effect_refused"
    TARGET_UNKNOWN = "target_unknown"
    LANE_UNAVAILABLE = "lane_unavailable"
    SECRET_UNAVAILABLE = "secret_unavailable"
    NOT_FOUND = "not_found"
    PERMISSION_DENIED = "permission_denied"
    NONZERO_EXIT = "nonzero_exit"
    PROCESS_LIMIT = "process_limit"
    KILLED = "killed"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


_TABLE: Final[Mapping[Failure, tuple[bool, str]]] = {
    Failure.TIMEOUT: (True, "the call ran out of time"),
    Failure.TRANSIENT_CONNECTOR_ERROR: (True, "the other side was not reachable or busy"),
    Failure.POLICY_DENIED: (False, "policy says no"),
    Failure.CAPABILITY_UNDECLARED: (False, "the connector does not declare this action"),
    Failure.AUTH_FAILED: (False, "the other side did not accept the credentials"),
    Failure.VALIDATION_FAILED: (False, "the answer is not what the profile expects"),
    Failure.CONNECTOR_DISABLED: (False, "the connector is switched off in the environment"),
    Failure.UNSUPPORTED: (False, "the other side or the lane cannot do this"),
    Failure.HOST_KEY_MISMATCH: (False, "the host shows another key than the one pinned"),
    Failure.ISOLATION_UNAVAILABLE: (False, "the isolation class the plan fixed was not reached"),
    Failure.OUTPUT_LIMIT: (False, "the call sent far more output than its limit"),
    Failure.UNKNOWN_OUTCOME: (False, "the call may have happened and no answer came"),
    Failure.REQUEST_INVALID: (False, "the call cannot be made as written"),
    Failure.TEMPLATE_MISMATCH: (False, "the call is not what its template and values yield"),
    Failure.PERMIT_MISMATCH: (False, "the permit was given for another call"),
    Failure.PERMIT_EXPIRED: (True, "the permit expired before the call was made"),
    Failure.FENCE_LOST: (False, "another runner took the operation over"),
    Failure.DEADLINE_PASSED: (False, "the time to start this call has passed"),
    Failure.EFFECT_REFUSED: (False, "the mode allows reads only"),
    Failure.TARGET_UNKNOWN: (False, "the call names a target the plan does not hold"),
    Failure.LANE_UNAVAILABLE: (False, "no lane here takes this kind of call"),
    Failure.SECRET_UNAVAILABLE: (False, "a secret the call needs could not be read"),
    Failure.NOT_FOUND: (False, "the program does not exist on the target"),
    Failure.PERMISSION_DENIED: (False, "the system did not permit the program to start"),
    Failure.NONZERO_EXIT: (False, "the program ended with another status than 0"),
    Failure.PROCESS_LIMIT: (False, "the call started more processes than its limit"),
    Failure.KILLED: (False, "the program was ended by a signal that was not ours"),
    Failure.CANCELLED: (False, "the call was cancelled while it ran"),
    Failure.INTERNAL: (False, "the lane itself failed before it acted"),
}


def retryable(failure: Failure) -> bool:
    """Return whether the same call, tried again, may end better."""
    return _TABLE[failure][0]


def describe(failure: Failure) -> str:
    """Return one line for operators, lower case, no full stop."""
    return _TABLE[failure][1]
