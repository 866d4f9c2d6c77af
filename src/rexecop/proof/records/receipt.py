"""`receipt/1`: exactly one per terminal state; it says no more than the outcomes do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import State


@dataclass(frozen=True, slots=True, kw_only=True)
class ObligationMet:
    """How one obligation was met, or that it was not."""

    name: str
    met: bool
    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Record):
    """The operation reached `state`. `head` is the digest of the record before this one."""

    kind: ClassVar[str] = "receipt/1"

    state: State
    head: Digest
    attempts: int
    outcomes: Mapping[str, int]
    reason: str
    facts: Digest | None = None
    obligations: tuple[ObligationMet, ...] = ()
