"""The lane port: one way of touching the outside world.

A lane makes the call it is given once and never raises for what the other side
did: a refusal, a crash or a timeout ends in a `LaneResult`. If the call may have
happened and no answer came, it ended `unknown`, never `failed`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from rexecop.lanes.errors import ClearanceRefused
from rexecop.lanes.failures import Failure
from rexecop.proof.call import Call, Limits
from rexecop.proof.canonical import Json
from rexecop.proof.permit import Permit
from rexecop.proof.records.outcome import Measured
from rexecop.proof.vocabulary import Ended, Grade, Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A piece of output while the call runs; `n` counts the events of the call from 0."""

    n: int
    stream: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneResult:
    """The one end of a call: what the lane observed.

    `stdout` and `stderr` are cut to the limit; `stdout_bytes` and `stderr_bytes` count
    everything the other side sent. `data` is a structured answer, where the lane has one.
    `keys` are those under which the other side has committed to an output.
    """

    ended: Ended
    duration_ms: int
    measured: Measured
    failure: Failure | None = None
    message: str | None = None
    status: int | None = None
    signal: int | None = None
    stdout: bytes = b""
    stderr: bytes = b""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    redactions: int = 0
    data: Mapping[str, Json] | None = None
    keys: Mapping[str, bytes] | None = None


Clearance = Callable[[], None]
"""Called by the lane right before exec or write; raises `lanes.errors.ClearanceRefused` when fence,
permit expiry or deadline say no. What it refuses has not happened."""


class Asks:
    """A call that a lane wants to make in the course of another: exactly `call`, once, if there is leave.

    Whoever reads the events answers before reading on, by `allow` or `refuse`; silence refuses.
    """

    def __init__(self, call: Call) -> None:
        self.call = call
        self._clearance: Clearance | None = None
        self._refused = "nobody gave leave for it"

    def allow(self, clearance: Clearance) -> None:
        """Give leave; `clearance` is asked right before the call is made."""
        self._clearance = clearance

    def refuse(self, why: str) -> None:
        """Give no leave, because of `why`."""
        self._refused = why

    def clear(self) -> None:
        """Return only if the call may be made now.

        Raises:
            ClearanceRefused: it may not; its message says why.
        """
        if self._clearance is None:
            raise ClearanceRefused(Failure.POLICY_DENIED, self._refused)
        self._clearance()


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """How a call ended that the lane had leave for by `asks`."""

    asks: Asks
    result: LaneResult


LaneEvent = Chunk | Asks | Made | LaneResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a lane can do: the routes it takes, and whether it touches anything at all.

    Of a lane that `streams` what it puts out is committed to in the ledger while it comes.
    `placement` is where its calls act, as attempts name it.
    """

    requests: frozenset[str]
    simulated: bool
    isolation: frozenset[Isolation]
    grades: frozenset[Grade]
    streams: bool = False
    placement: str = "local"


class Lane(Protocol):
    """One way of touching the outside world."""

    @property
    def name(self) -> str:
        """The lane's name in attempts."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this lane can do here, measured and not assumed."""
        ...

    def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Make `call` once; yield chunks, then exactly one `LaneResult`, the last event.

        Where it needs leave for another call it yields `Asks`, and after it made that, `Made`.

        Closing the iterator early cancels the call and ends everything it started.
        """
        ...


@runtime_checkable
class UnderPermit(Protocol):
    """A lane whose other side checks the permit itself, and so has to be shown it."""

    def under(self, permit: Permit) -> Lane:
        """Return the lane that makes the call of `permit`."""
        ...
