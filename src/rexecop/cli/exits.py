"""Exit codes. The table is frozen: scripts rest on it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What a command's exit code says."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    NEEDS_APPROVAL = 4
    QUEUED = 5
    UNKNOWN = 6
    EVIDENCE = 7
    UNAVAILABLE = 8
    TIMEOUT = 9
    INTERRUPTED = 130


MEANINGS: Final[Mapping[Exit, str]] = {
    Exit.DONE: "the command did what was asked; also `plan` that waits for approval, and every reading "
    "command",
    Exit.FAILED: "the operation or check ended failed (`start`, `resume`, `retry`, `rollback`, `validate`, "
    "`doctor`, `lint`)",
    Exit.USAGE: "usage or input; nothing was done",
    Exit.DENIED: "denied (`plan`, `start`, `approve`)",
    Exit.NEEDS_APPROVAL: "`start` needs approval first",
    Exit.QUEUED: "`start`, `resume`, `retry` or `rollback` queued the operation: a lock, the capacity or a "
    "window says wait",
    Exit.UNKNOWN: "an outcome is unknown; `reconcile` settles it",
    Exit.EVIDENCE: "evidence does not verify",
    Exit.UNAVAILABLE: "the store, a key, a service or an optional part is unavailable",
    Exit.TIMEOUT: "`--timeout` passed and the operation still runs",
    Exit.INTERRUPTED: "interrupted",
}

# What a state means for a command that drives an operation, and for `--exit-code`.
STATE_EXITS: Final[Mapping[str, Exit]] = {
    "created": Exit.QUEUED,
    "planned": Exit.QUEUED,
    "waiting_for_approval": Exit.NEEDS_APPROVAL,
    "approved": Exit.QUEUED,
    "blocked": Exit.DENIED,
    "running": Exit.TIMEOUT,
    "paused": Exit.QUEUED,
    "resuming": Exit.TIMEOUT,
    "retrying": Exit.TIMEOUT,
    "validating": Exit.TIMEOUT,
    "completed": Exit.DONE,
    "failed": Exit.FAILED,
    "cancelled": Exit.FAILED,
    "escalated": Exit.FAILED,
    "indeterminate": Exit.UNKNOWN,
    "undoing": Exit.TIMEOUT,
    "undone": Exit.DONE,
}
