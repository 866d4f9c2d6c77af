"""What all records share: their place in an operation, when, and by whom."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.codec import RECORD_BYTES_MAX
from rexecop.proof.principal import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Record `n` of `operation`, resting on the record whose digest is `prev`."""

    kind: ClassVar[str]
    bytes_max: ClassVar[int] = RECORD_BYTES_MAX

    operation: str
    n: int
    prev: Digest | None
    at: datetime
    by: Principal
