"""Errors of the lanes.

LaneError
├── RequestRefused          nothing happened
│   └── ClearanceRefused
├── SpawnerLost
├── BridgeLost
├── AddressRefused
└── ProgramFailed
"""

from __future__ import annotations

from rexecop.lanes.failures import Failure
from rexecop.proof.errors import RexecopError


class LaneError(RexecopError):
    """Something a lane could not do."""

    code = "lane-error"


class RequestRefused(LaneError):
    """The call cannot be made as written. It has not happened."""

    code = "request-refused"

    def __init__(self, failure: Failure, message: str) -> None:
        super().__init__(message, failure=failure.value)
        self.failure = failure


class ClearanceRefused(RequestRefused):
    """Fence, permit expiry or deadline said no right before the call. It has not happened."""

    code = "clearance-refused"


class ProgramFailed(LaneError):
    """A program of the operator's own did not start, took too long, or put out too much."""

    code = "program-failed"


class SpawnerLost(LaneError):
    """The helper that starts and ends processes is gone; it ended every tree it had started."""

    code = "spawner-lost"


class BridgeLost(LaneError):
    """A guest or node, or who asks it, closed the connection or does not speak the protocol."""

    code = "bridge-lost"


class AddressRefused(LaneError):
    """The socket or address cannot be listened on."""

    code = "address-refused"
