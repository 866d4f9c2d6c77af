"""The one table of error classes: what each means, and whether trying again can help.

`retryable` says that a *read*, or a change that provably did not happen, may be tried
again. It never overrules an `unknown` end: what may have happened is settled by looking.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Failure(StrEnum):
    """Why a call did not end well; the `error_class` of an outcome."""

    _value_: str
    _words: str
    _retryable: bool

    def __new__(cls, value: str, words: str = "", retryable: bool = False) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member._words = words
        member._retryable = retryable
        return member

    TIMEOUT = "timeout", "the call ran out of time", True
    TRANSIENT_CONNECTOR_ERROR = "transient_connector_error", "the other side was not reachable or busy", True
    POLICY_DENIED = "policy_denied", "policy says no"
    CAPABILITY_UNDECLARED = "capability_undeclared", "the connector does not declare this action"
    AUTH_FAILED = "auth_failed", "the other side did not accept the credentials"
    DRIFTED = "drifted", "the facts it rests on are not what they were when it was planned"
    VALIDATION_FAILED = "validation_failed", "the answer is not what the profile expects"
    NOT_YET = "not_yet", "the answer is not yet what the step waits for", True
    CONNECTOR_DISABLED = "connector_disabled", "the connector is switched off in the environment"
    UNSUPPORTED = "unsupported", "the other side or the lane cannot do this"
    HOST_KEY_MISMATCH = "host_key_mismatch", "the host shows another key than the one pinned"
    ISOLATION_UNAVAILABLE = "isolation_unavailable", "the isolation class the plan fixed was not reached"
    OUTPUT_LIMIT = "output_limit", "the call sent far more output than its limit"
    UNKNOWN_OUTCOME = "unknown_outcome", "the call may have happened and no answer came"
    REQUEST_INVALID = "request_invalid", "the call cannot be made as written"
    TEMPLATE_MISMATCH = "template_mismatch", "the call is not what its template and values yield"
    PERMIT_MISMATCH = "permit_mismatch", "the permit was given for another call"
    PERMIT_EXPIRED = "permit_expired", "the permit expired before the call was made", True
    FENCE_LOST = "fence_lost", "another runner took the operation over"
    DEADLINE_PASSED = "deadline_passed", "the time to start this call has passed"
    EFFECT_REFUSED = "effect_refused", "the mode allows reads only"
    TARGET_UNKNOWN = "target_unknown", "the call names a target the plan does not hold"
    TARGET_UNATTESTED = "target_unattested", "the target was not shown to be what it has to be"
    QUOTA_EXCEEDED = "quota_exceeded", "as many calls as may be are under way already", True
    LANE_UNAVAILABLE = "lane_unavailable", "no lane here takes this kind of call"
    SECRET_UNAVAILABLE = "secret_unavailable", "a secret the call needs could not be read"
    SECRET_MISSING = "secret_missing", "a secret the call needs resolves nowhere, or is not there"
    SECRET_UNREADABLE = "secret_unreadable", "the place of a secret cannot be read, or is not in its form"
    SECRET_PERMISSIONS = "secret_permissions", "others could read or change the place of a secret"
    SECRET_UNUSABLE = (
        "secret_unusable",
        "a secret is empty, too long, valid for too long, or too short to be taken out of outputs",
    )
    SECRET_SOURCE_DOWN = "secret_source_down", "the service that holds a secret did not answer", True
    SECRET_REFUSED = "secret_refused", "the service that holds a secret refused to give it"
    SECRET_EXPIRED = "secret_expired", "a secret was there and was deleted or destroyed"
    NOT_FOUND = "not_found", "the program does not exist on the target"
    NOT_EXECUTABLE = "not_executable", "the file is not a program that this system can execute"
    INTERPRETER_MISSING = "interpreter_missing", "the interpreter that the program names does not exist"
    PERMISSION_DENIED = "permission_denied", "the system did not permit the program to start"
    NONZERO_EXIT = "nonzero_exit", "the program ended with another status than 0"
    PROCESS_LIMIT = "process_limit", "the call started more processes than its limit"
    MEMORY_LIMIT = "memory_limit", "the call used more memory than its limit"
    KILLED = "killed", "the program was ended by a signal that was not ours"
    NAME_UNRESOLVED = "name_unresolved", "the name of the other side does not resolve to an address", True
    TLS_FAILED = "tls_failed", "the other side could not prove over TLS who it is"
    ADDRESS_REFUSED = "address_refused", "the name leads to an address that may not be connected to"
    PROTOCOL_ERROR = "protocol_error", "the other side broke the protocol"
    REDIRECTED = "redirected", "the other side pointed elsewhere, and that was not followed"
    REMOTE_ERROR = "remote_error", "the other side answered with an error"
    STREAM_ENDED = "stream_ended", "the stream ended or fell silent before what it was to end by", True
    CANCELLED = "cancelled", "the call was cancelled while it ran"
    INTERNAL = "internal", "the lane itself failed before it acted"


def retryable(failure: Failure) -> bool:
    """Return whether the same call, tried again, may end better."""
    return failure._retryable


def describe(failure: Failure) -> str:
    """Return one line for operators, lower case, no full stop."""
    return failure._words
