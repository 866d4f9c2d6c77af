"""`reconciliation/1`: how an unknown outcome was settled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation(Record):
    """`attempt` is taken as having had its effect (`happened`) or none, for `reason`.

    `probe` is the digest of the probe's outcome that showed it; without one `by` says so on their
    word. The engine's own word is never that it had one: only that doing it again changes nothing more.
    """

    kind: ClassVar[str] = "reconciliation/1"

    attempt: Digest
    happened: bool
    reason: str
    probe: Digest | None = None
