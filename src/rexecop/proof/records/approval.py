"""`approval/1`: a yes or no to one plan under one set of terms, signed or said by session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest
from rexecop.proof.message import Scalar
from rexecop.proof.principal import Principal
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Established, Mode

APPROVAL_NAMESPACE = "approval@rexecop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRange:
    """What `parameter` may be: one of these, or an integer between the two (each included, None is open)."""

    parameter: str
    one_of: tuple[Scalar, ...] = ()
    at_least: int | None = None
    at_most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What a standing approval covers: `uses` plans for exactly this intent, within these bounds.

    A plan may be for some of `targets` and has no parameter beside `parameters`.
    """

    kind: ClassVar[str] = "coverage/1"

    profile: Digest
    environment: Digest
    intent: str
    mode: Mode
    targets: tuple[str, ...]
    parameters: tuple[ParameterRange, ...]
    uses: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStatement:
    """What the approver signs; it names plan, terms and the preview that was shown.

    With `withdraws` it is neither yes nor no: it takes back the approval of that digest,
    which the same person gave, and `approves` is False. With `covers` it is a standing
    approval: `operation` is the instance, `plan` and `preview` the digest of what it covers.
    With `step` it is about that step of the plan alone, and `call` is the digest of its filled call.
    With `on_behalf_of` it is the vote of that person, who gave it to the approver.
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
    covers: Coverage | None = None
    step: str | None = None
    call: Digest | None = None
    on_behalf_of: str | None = None

    @property
    def voter(self) -> str:
        """The person whose vote it is."""
        return self.approver.person if self.on_behalf_of is None else self.on_behalf_of

    @property
    def speaker(self) -> str | None:
        """Who says it for another person; None where everybody speaks for themselves."""
        return None if self.on_behalf_of is None else self.approver.person

    @property
    def said_by(self) -> str:
        """Who says it and, where it is another's vote, for whom."""
        who = self.approver.person
        return who if self.on_behalf_of is None else f"{who} for {self.on_behalf_of}"

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
    """`signature` (armored SSHSIG) over the canonical bytes of `statement`; empty where nobody signed.

    `groups` are the groups the policy in force found the voter in, `delegate_groups` those of
    who says it for another person; a verifier that has the pack checks them. A standing approval
    is given in the instance's own chain and stands again in that of each operation it is used
    for, as its `use`, counted from 1.
    """

    kind: ClassVar[str] = "approval/1"

    statement: ApprovalStatement
    signature: str
    groups: tuple[str, ...]
    use: int | None = None
    delegate_groups: tuple[str, ...] = ()

    @property
    def by_session(self) -> bool:
        """Whether it is the unsigned word, for themselves, of whom an identity provider vouches for."""
        said = self.statement
        vouched = said.approver.established is Established.OIDC and self.by == said.approver
        return vouched and not self.signature and said.covers is None and said.on_behalf_of is None
