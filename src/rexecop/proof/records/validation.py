"""`validation/1`: every rule, its verdict, and what it looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from rexecop.proof.canonical import Digest, Json
from rexecop.proof.records.base import Record


class RuleVerdict(StrEnum):
    """What a validation rule, or all of them together, concluded."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_EVALUATED = "not_evaluated"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleResult:
    """One rule's verdict; `found` is the value it looked at under `path`."""

    rule: str
    verdict: RuleVerdict
    path: str
    expected: Json = None
    found: Json = None
    details: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation(Record):
    """All rules of the intent over the operation's facts; one failure fails all."""

    kind: ClassVar[str] = "validation/1"
    bytes_max: ClassVar[int] = 8 * 1024 * 1024  # As many results as are told one by one, with what they saw.

    verdict: RuleVerdict
    rules: tuple[RuleResult, ...]
    facts: Digest
