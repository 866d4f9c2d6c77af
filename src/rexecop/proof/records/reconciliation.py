"""`reconciliation/1`: how an unknown outcome was settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation(Record):
    """`attempt` did (`happened`) or did not take effect, known by a probe or a statement.

    `probe` is the digest of the probe's outcome; without one `by` states it on their word.
    """

    kind: ClassVar[str] = "reconciliation/1"

    attempt: Digest
    happened: bool
    reason: str
    probe: Digest | None = None
