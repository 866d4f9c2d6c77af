"""Errors of driving operations.

RexecopError
└── EngineError
    ├── ClockSteppedBack     the clock is before what is already recorded
    ├── JournalDamaged       a record cannot be read, so what is next cannot be known
    ├── InstanceKeyExpired   what would be done could not be vouched for
    ├── RunnerBusy           another live runner drives the operation
    ├── BudgetSpent          what may be done in a while was done
    ├── NotDelivered         a sender did not take a notice
    ├── NotFetched           a server did not give what is needed of it
    ├── NotWaiting           an operation does not wait in the queue
    ├── TooEarly             an unknown outcome may still be changing
    └── NothingToSettle      no attempt is unknown
"""

from __future__ import annotations

from datetime import datetime

from rexecop.proof.errors import RexecopError
from rexecop.proof.times import format_time


class EngineError(RexecopError):
    """An operation cannot be driven now."""

    code = "engine-error"


class ClockSteppedBack(EngineError):
    """The clock is more than the tolerance before the newest record; nothing changing is appended."""

    code = "clock-stepped-back"

    def __init__(self, *, now: datetime, newest: datetime) -> None:
        super().__init__(
            f"the clock says `{format_time(now)}`, but a record of `{format_time(newest)}` exists",
            now=format_time(now),
            newest=format_time(newest),
        )


class JournalDamaged(EngineError):
    """A record of the operation cannot be read: it can be looked at, and not go on."""

    code = "journal-damaged"


class InstanceKeyExpired(EngineError):
    """The instance's key has expired: nothing that changes something is begun under it."""

    code = "instance-key-expired"

    def __init__(self, fingerprint: str) -> None:
        super().__init__(
            f"the instance's key `{fingerprint}` has expired; nothing is changed until it is replaced",
            fingerprint=fingerprint,
            next_steps=("rexecop keys rotate",),
        )


class RunnerBusy(EngineError):
    """Another live runner drives the operation."""

    code = "runner-busy"


class BudgetSpent(EngineError):
    """A budget that policy gives has nothing left; the operation waits until it has."""

    code = "budget-spent"


class NotFetched(EngineError):
    """A server did not give what is needed of it."""

    code = "not-fetched"


class NotDelivered(EngineError):
    """A sender did not take a notice."""

    code = "not-delivered"


class NotWaiting(EngineError):
    """The operation does not wait in the queue to be started, so it cannot be taken out."""

    code = "not-waiting"


class TooEarly(EngineError):
    """What was lost may still be running; it is settled later."""

    code = "too-early"


class NothingToSettle(EngineError):
    """The operation has no attempt whose outcome is unknown."""

    code = "nothing-to-settle"
