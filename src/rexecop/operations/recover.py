"""What a restart makes of a half-done operation.

An attempt without an outcome may have happened. It is written down as unknown, and
settled by a probe or a person, not before nothing of it can still be running.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from rexecop.operations.course import Progress
from rexecop.operations.fold import Operation
from rexecop.proof.chain import Sealed
from rexecop.proof.records.attempt import Attempt
from rexecop.proof.records.plan import CallStep
from rexecop.proof.vocabulary import Effect

DEFAULT_MARGIN: Final = timedelta(seconds=2)  # Clock granularity and the reaping of a killed tree.


def settle_after(op: Operation, margin: timedelta) -> datetime | None:
    """Return the moment from which unsettled attempts may be settled, or None without any.

    That is permit expiry plus call timeout and grace plus `margin`, for the latest of them.
    """
    moments = [_quiet_at(sealed, progress) + margin for sealed, progress in unsettled(op)]
    return max(moments, default=None)


def unsettled(op: Operation) -> list[tuple[Sealed, Progress]]:
    """Return every attempt that has no outcome, or only an unknown one."""
    running = ((progress.in_flight, progress) for progress in op.in_flight.values())
    found = [(attempt, progress) for attempt, progress in running if attempt is not None]
    return found + [(op.unsettled[digest], progress) for digest, progress in op.unknown.items()]


def harmless(progress: Progress) -> bool:
    """Return whether a lost attempt of the step can be settled without looking: it only read."""
    return isinstance(progress.step, CallStep) and progress.step.call.effect is Effect.READ


def _quiet_at(sealed: Sealed, progress: Progress) -> datetime:
    attempt = sealed.record
    if not isinstance(attempt, Attempt) or not isinstance(progress.step, CallStep):
        raise LookupError("only attempts of calls are settled")
    limits = progress.step.limits
    return attempt.permit.expires + timedelta(milliseconds=limits.timeout_ms + limits.grace_ms)
