"""The closed sets of words that records, decisions and lanes share."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Mode(StrEnum):
    """How far an operation may go; `dry_run` is what is meant when nothing is said."""

    DRY_RUN = "dry_run"
    READ_ONLY = "read_only"
    OBSERVE = "observe"
    EMERGENCY_READONLY = "emergency_readonly"
    APPLY = "apply"
    RECOVERY = "recovery"


READ_MODES: Final = frozenset({Mode.DRY_RUN, Mode.READ_ONLY, Mode.OBSERVE, Mode.EMERGENCY_READONLY})


class Effect(StrEnum):
    """What a call may do to its target, from harmless to final."""

    READ = "read"
    CHANGE = "change"
    DESTROY = "destroy"


EFFECT_ORDER: Final = (Effect.READ, Effect.CHANGE, Effect.DESTROY)


def strongest(effects: list[Effect]) -> Effect:
    """Return the most far-reaching of `effects`; nothing at all is a read."""
    return max(effects, key=EFFECT_ORDER.index, default=Effect.READ)


class Grade(StrEnum):
    """How well a read is known to be one. Below `CONTAINED` it is a declaration."""

    CONTAINED = "contained"
    METHOD = "method"
    SHAPE = "shape"


class Isolation(StrEnum):
    """Classes of local isolation, weakest first. A class is reached or refused, never lowered."""

    NONE = "none"
    RLIMITS = "rlimits"
    LANDLOCK_SECCOMP = "landlock-seccomp"
    BUBBLEWRAP = "bubblewrap"
    BUBBLEWRAP_CGROUP = "bubblewrap-cgroup"
    GVISOR = "gvisor"
    NOT_APPLICABLE = "not-applicable"


PRIVATE_NETWORK: Final = frozenset({Isolation.BUBBLEWRAP, Isolation.BUBBLEWRAP_CGROUP})
"""The classes with a network of their own, which a proxy can open to single hosts."""

CONFINING: Final = PRIVATE_NETWORK | {Isolation.LANDLOCK_SECCOMP}
"""The classes that can back the grade `contained`; whether they do is measured at the call."""


class Ended(StrEnum):
    """How an attempt or a step ended.

    `UNKNOWN` may have happened; it is settled by looking. `SKIPPED` was not to be done, as planned.
    """

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    PREVIEWED = "previewed"
    SIMULATED = "simulated"
    SKIPPED = "skipped"


GOOD_ENDS: Final = frozenset({Ended.OK, Ended.SIMULATED, Ended.PREVIEWED})


class Verdict(StrEnum):
    """What policy answers to a request."""

    ALLOWED = "allowed"
    APPROVAL_REQUIRED = "approval_required"
    BLOCKED = "blocked"


class Established(StrEnum):
    """How we know who somebody is. A name typed into a flag is none of these."""

    KEY = "key"
    OIDC = "oidc"
    TOKEN = "token"
    OS_USER = "os-user"
    ENGINE = "engine"


class Gate(StrEnum):
    """At which point a decision was asked for."""

    PLAN = "plan"
    TICKET = "ticket"
    CALL = "call"


class Phase(StrEnum):
    """Why an attempt is made: the work itself, its undoing, or a look at what happened."""

    DO = "do"
    UNDO = "undo"
    PROBE = "probe"


class Role(StrEnum):
    """What an enrolled key may sign for."""

    INSTANCE = "instance"
    APPROVER = "approver"
    REQUESTER = "requester"
    WITNESS = "witness"
    NODE = "node"
    ISSUER = "issuer"
    PUBLISHER = "publisher"


class HaltScope(StrEnum):
    """What a halt stops: everything, or what has to do with one name."""

    ALL = "all"
    TARGET = "target"
    GROUP = "group"
    INTENT = "intent"
    ENVIRONMENT = "environment"
    REQUESTER = "requester"


class State(StrEnum):
    """States of an operation; all are derived from its records."""

    CREATED = "created"
    PLANNED = "planned"
    WAITING_FOR_APPROVAL = "waiting_for_approval"
    APPROVED = "approved"
    BLOCKED = "blocked"
    RUNNING = "running"
    PAUSED = "paused"
    RESUMING = "resuming"
    RETRYING = "retrying"
    VALIDATING = "validating"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ESCALATED = "escalated"
    INDETERMINATE = "indeterminate"
    UNDOING = "undoing"
    UNDONE = "undone"
