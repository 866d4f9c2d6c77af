"""Votes by session: what whom the identity provider vouches for may say unsigned, and about what."""

from __future__ import annotations

from dataclasses import dataclass

from rexecop.app.approver import Word
from rexecop.app.approving import Seen
from rexecop.app.instance import Instance
from rexecop.app.views import OperationView
from rexecop.proof.canonical import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class BallotView:
    """What who looks at an operation may say to it unsigned: whoever speaks names the digests they saw.

    They are those of preview and terms and, where one `step` waits, of its exact `call`; `allowed` says
    whether the terms take an unsigned yes of anybody. `yes`, `no` and `withdrawal` say why each would not
    be taken of this one now, None where it would.
    """

    preview: Digest
    terms: Digest
    step: str | None
    call: Digest | None
    allowed: bool
    yes: str | None
    no: str | None
    withdrawal: str | None

    @property
    def is_open(self) -> bool:
        """Whether anything would be taken."""
        return None in (self.yes, self.no, self.withdrawal)


def ballot(instance: Instance, operation: str) -> BallotView:
    """Return what whom `instance` acts as may say to an operation; nothing is recorded.

    Raises:
        ApprovalNotAsked: nothing was decided that anybody could be asked about.
    """
    op, approving = instance.operation(operation), instance.parts.approving
    seen, by = approving.seen(op), instance.identity()

    def why_not(*, approves: bool = False, withdraws: bool = False) -> str | None:
        word = Word(approves=approves, withdraws=withdraws, step=seen.step)
        refused = approving.vote_refused(op, by, word)
        return None if refused is None else f"{refused.message} ({refused.code})"

    return BallotView(
        preview=seen.preview,
        terms=seen.terms,
        step=seen.step,
        call=seen.call,
        allowed=approving.asked(op, seen).session_may_approve,
        yes=why_not(approves=True),
        no=why_not(),
        withdrawal=why_not(withdraws=True),
    )


async def vote(
    instance: Instance, operation: str, word: str, seen: Seen, reason: str | None
) -> OperationView:
    """Take `yes`, `no` or `withdrawal` of whom `instance` acts as, unsigned, about just what they saw.

    Raises:
        ApprovalRefused: they may not say it, or not so; the try is noted.
    """
    name = instance.resolve(operation)
    said = Word(approves=word == "yes", withdraws=word == "withdrawal", reason=reason, step=seen.step)
    await instance.parts.approving.vote(name, instance.identity(), said, seen)
    return instance.status(name)
