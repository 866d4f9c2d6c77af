"""Errors of the lanes.

LaneError
├── RequestRefused          nothing happened
│   ├── Unreachable
│   └── ClearanceRefused
├── SpawnerLost
├── ProgramFailed
├── BridgeLost
├── AddressRefused
├── Broken                  the exchange cannot go on
├── Stopped                 a stream ended as it was meant to
├── Lost, RedirectRefused
└── EventTooLarge, PayloadTooLarge, WireBroken
"""

from __future__ import annotations

from rexecop.lanes.failures import Failure, describe
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


class Unreachable(RequestRefused):
    """There is no connection to the host. Nothing of a call was sent."""

    code = "unreachable"


class ClearanceRefused(RequestRefused):
    """Fence, permit expiry or deadline said no right before the call. It has not happened."""

    code = "clearance-refused"


class ProgramFailed(LaneError):
    """A program of the operator's own did not start, took too long, or put out too much."""

    code = "program-failed"


class SpawnerLost(LaneError):
    """The helper that starts and ends processes is gone; it ended every tree it had started."""

    code = "spawner-lost"


class Broken(LaneError):
    """The exchange cannot go on. `answered` says that the other side said so itself."""

    code = "exchange-broken"

    def __init__(
        self, failure: Failure, message: str = "", *, answered: bool = False, status: int | None = None
    ) -> None:
        super().__init__(message or describe(failure), failure=failure.value)
        self.failure = failure
        self.answered = answered
        self.status = status


class EventTooLarge(LaneError):
    """An event, a line or a comment is longer than the limit."""

    code = "event-too-large"


class WireBroken(LaneError):
    """What came is not JSON-RPC 2.0 in the framing agreed upon."""

    code = "wire-broken"


class PayloadTooLarge(LaneError):
    """A message is larger than the limit."""

    code = "payload-too-large"


class Stopped(LaneError):
    """A stop condition holds: the stream ended as it was meant to."""

    code = "stream-stopped"

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class Lost(LaneError):
    """The connection is gone, though nobody said that the stream is at its end."""

    code = "stream-lost"


class RedirectRefused(LaneError):
    """The other side answered that the resource is elsewhere."""

    code = "redirect-refused"


class BridgeLost(LaneError):
    """A guest or node, or who asks it, closed the connection or does not speak the protocol."""

    code = "bridge-lost"


class AddressRefused(LaneError):
    """The socket or address cannot be listened on."""

    code = "address-refused"
