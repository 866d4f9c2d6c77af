"""Permits: leave to make one call, once.

A permit grants nothing by itself. The gate checks it against the call it is about
to make, so a permit copied to another call is worthless. Only
`governance.permits.mint` makes one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rexecop.proof.canonical import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """Leave to make `call` as attempt number `attempt` of `step`, until `expires`.

    It rests on `ticket`; `fence` is the lease generation of the runner it was given to.
    """

    ticket: Digest
    call: Digest
    step: str
    attempt: int
    fence: int
    expires: datetime
