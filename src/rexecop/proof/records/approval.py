"""`approval/1`: a signed yes or no to one plan under one set of terms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.principal import Principal
from rexecop.proof.records.base import Record

APPROVAL_NAMESPACE = "approval@rexecop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStatement:
    """What the approver signs; it names plan, terms and the preview that was shown.

    With `withdraws` it is neither yes nor no: it takes back the approval of that digest,
    which the same person gave, and `approves` is False.
    """

    kind: ClassVar[str] = "approval-statement/1"

    operation: str
    plan: Digest
    terms: Digest
    preview: Digest
    approves: bool
    nonce: str
    expires: datetime
    approver: Principal
    reason: str | None = None
    withdraws: Digest | None = None

    @property
    def refuses(self) -> bool:
        """Whether it is a no."""
        return not self.approves and self.withdraws is None

    @property
    def in_a_word(self) -> str:
        """What it is: a yes, a no, or one taken back."""
        return "no" if self.refuses else "yes" if self.approves else "withdrawal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Record):
    """`signature` (armored SSHSIG) over the canonical bytes of `statement`.

    `groups` are the groups the policy in force found the approver in; a verifier that
    has the pack checks them.
    """

    kind: ClassVar[str] = "approval/1"

    statement: ApprovalStatement
    signature: str
    groups: tuple[str, ...]
