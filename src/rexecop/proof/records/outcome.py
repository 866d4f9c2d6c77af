"""`outcome/1`: what was observed of an attempt, and nothing more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest, Json
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Ended

PEERS: Final = "peers"
EGRESS_LIST: Final = "egress-list"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """Kept output, named by a commitment over the stored, redacted bytes.

    `raw_bytes` counts what the other side sent, `kept_bytes` what is stored.
    """

    commitment: Digest
    raw_bytes: int
    kept_bytes: int
    media: str = "text/plain"
    truncated: bool = False
    redactions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was really in force around the call, as observed by the lane.

    `isolation` is the class reached; `facts` the values it was concluded from.
    `network` is `none`, `host`, `peers` (only the peers its call names), `egress-list` (single
    hosts through a proxy, named in `facts`), or `not-applicable`. `protection` names what
    bounds a runner that was thawed too late.
    """

    isolation: str
    network: str
    protection: str
    facts: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """How `attempt` of `step` ended; a derive step has no attempt."""

    kind: ClassVar[str] = "outcome/1"

    step: str
    attempt: Digest | None
    ended: Ended
    duration_ms: int
    error_class: str | None = None
    message: str | None = None
    status: int | None = None
    signal: int | None = None
    facts: Mapping[str, Json] | None = None
    blobs: Mapping[str, BlobRef] | None = None
    measured: Measured | None = None
