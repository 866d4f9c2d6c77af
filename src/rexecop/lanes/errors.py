"""Errors of the lanes.

LaneError
├── ClearanceRefused    the last look before acting said no; nothing happened
├── RequestRefused      a call that cannot be made as written; nothing happened
├── SpawnerLost         the spawner ended or does not answer
└── IsolationUnavailable  a class of isolation was not reached; nothing happened
"""

from __future__ import annotations

from rexecop.lanes.failures import Failure
from rexecop.proof.errors import RexecopError


class LaneError(RexecopError):
    """Something a lane could not do."""

    code = "lane-error"


class ClearanceRefused(LaneError):
    """Fence, permit expiry or deadline said no right before the call. It has not happened."""

    code = "clearance-refused"

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message, failure=failure.value)
        self.failure = failure


class RequestRefused(LaneError):
    """The call cannot be made as written. It has not happened."""

    code = "request-refused"

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message, failure=failure.value)
        self.failure = failure


class SpawnerLost(LaneError):
    """The helper that starts and ends processes is gone; it ended every tree it had started."""

    code = "spawner-lost"


class IsolationUnavailable(LaneError):
    """The isolation class asked for was not reached, and no other was tried."""

    code = "isolation-unavailable"
