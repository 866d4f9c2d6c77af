"""`stretch/1`: a part of what a call puts out, committed to while the call runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch(Record):
    """`length` kept bytes of `stream` of `attempt`, from byte `start` on, as they were when it was written.

    The `commitment` is under the key of the output that the outcome will name.
    """

    kind: ClassVar[str] = "stretch/1"

    attempt: Digest
    stream: str
    start: int
    length: int
    commitment: Digest
