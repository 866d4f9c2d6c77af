"""`command/1`: what a person told an operation to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from rexecop.proof.records.base import Record


class Verb(StrEnum):
    """Commands that change the course of an operation, or what is known of it."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"
    ESCALATE = "escalate"
    UNDO = "undo"
    BREAK_GLASS = "break-glass"
    REVIEW = "review"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Record):
    """`by` orders `verb`, for `reason`."""

    kind: ClassVar[str] = "command/1"

    verb: Verb
    reason: str | None = None
