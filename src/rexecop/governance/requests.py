"""Approvals asked for and given in files, for approvers who trust no server.

A request holds intent, plan and terms whole, so whoever reads it makes preview and
digests again and signs what they saw. An answer holds the signed statement and grants
nothing by itself: the instance judges it like one given at its own door.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from rexecop.governance.approvals import APPROVAL_VALID_MAX
from rexecop.governance.errors import AnswerUnfit, ApprovalNotAsked, RequestMalformed
from rexecop.governance.obligations import approvals_in_words, conflicts_in_words
from rexecop.governance.why import obligations_in_words
from rexecop.proof import sshsig
from rexecop.proof.call import Call
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed, seal
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX, decode, encode
from rexecop.proof.errors import ProofError
from rexecop.proof.plaintext import escape, quote
from rexecop.proof.preview import call_text, preview
from rexecop.proof.records.approval import APPROVAL_NAMESPACE, ApprovalStatement
from rexecop.proof.records.decision import Terms, terms_digest
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import Verdict

REQUEST_BYTES_MAX: Final = PLAN_RECORD_BYTES_MAX + 8 * 1024 * 1024  # A plan and its terms.


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedApprover:
    """A key that may answer, whose it is, and the answer of theirs that stands, if there is one."""

    person: str
    fingerprint: str
    given: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRequest:
    """What instance `instance` asks its approvers; the one file that an approver needs.

    With `step` it is about `call`, the exact call of that step, which waits for it.
    """

    kind: ClassVar[str] = "approval-request/1"

    instance: str
    intent: Intent
    plan: Plan
    terms: Terms
    approvers: tuple[RequestedApprover, ...]
    step: str | None = None
    call: Call | None = None

    @property
    def sealed(self) -> tuple[Sealed, Sealed]:
        """The intent and the plan, with their digests."""
        return seal(self.intent), seal(self.plan)

    @property
    def preview(self) -> str:
        """The plan as text, and the call, made from what is in the request and from nothing else."""
        shown = preview(*self.sealed)
        if self.step is None or self.call is None:
            return shown
        return f"{shown}\nstep {quote(self.step)}, its exact call\n{call_text(self.call)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAnswer:
    """A statement and the approver's signature over it (armored SSHSIG)."""

    kind: ClassVar[str] = "approval-answer/1"

    statement: ApprovalStatement
    signature: str


def read_request(data: bytes) -> ApprovalRequest:
    """Return the request that `data` is.

    Raises:
        RequestMalformed: it is none, or its plan is not the one made for its intent.
        ApprovalNotAsked: its terms ask nobody.
    """
    try:
        request = decode(ApprovalRequest, data.rstrip(b"\n"), bytes_max=REQUEST_BYTES_MAX)
        _ = request.preview
    except ProofError as error:
        steps = ("rexecop show @ --request FILE",)
        raise RequestMalformed(f"not a request for approval: {error.message}", next_steps=steps) from error
    if request.step is None and request.terms.verdict is not Verdict.APPROVAL_REQUIRED:
        raise ApprovalNotAsked(f"the operation is `{request.terms.verdict}`; there is nothing to approve")
    return request


def read_answer(data: bytes) -> ApprovalAnswer:
    """Return the answer that `data` is.

    Raises:
        RequestMalformed: it is none.
    """
    try:
        return decode(ApprovalAnswer, data.rstrip(b"\n"))
    except ProofError as error:
        steps = ("rexecop approve --request FILE --key FILE",)
        raise RequestMalformed(f"not an answer to a request: {error.message}", next_steps=steps) from error


def terms_in_words(terms: Terms) -> str:
    """Return whose approval is asked and what must be kept to, in one line."""
    asked = (f"approval by {approvals_in_words(terms.approvals)}", *conflicts_in_words(terms))
    return escape("; ".join((*asked, *obligations_in_words(terms.obligations))))


def signed_in_words(request: ApprovalRequest, said: ApprovalStatement) -> str:
    """Return every field of what is about to be signed, as lines of plain text."""
    word = "yes" if said.approves else "no" if said.refuses else f"take back {said.withdraws}"
    fields = (
        ("answer", word),
        ("of instance", quote(request.instance)),
        ("operation", quote(said.operation)),
        ("plan", said.plan),
        ("preview", f"{said.preview}, made again from this plan"),
        ("terms", f"{said.terms}: {terms_in_words(request.terms)}"),
        *((("step", f"{quote(said.step)}, its call {said.call}"),) if said.step is not None else ()),
        ("as", f"{quote(said.approver.person)} with key {said.approver.credential}"),
        *(
            (("for", f"{quote(said.on_behalf_of)}, whose vote it is"),)
            if said.on_behalf_of is not None
            else ()
        ),
        ("reason", "(none)" if said.reason is None else quote(said.reason)),
        ("good until", format_time(said.expires)),
        ("nonce", quote(said.nonce)),
    )
    return "".join(f"  {label:<13}{text}\n" for label, text in fields)


def require_fits(
    answer: ApprovalAnswer,
    *,
    plan: Sealed,
    terms: Terms,
    shown: Digest,
    given: Sequence[Sealed],
    at: datetime,
    call: Digest | None = None,
) -> None:
    """Return only if `answer` is about this plan, its terms and its preview, in time, new and signed.

    Raises:
        AnswerUnfit: it is not, naming what differs.
    """
    said, latest = answer.statement, at + APPROVAL_VALID_MAX
    wrong = next(
        (
            words
            for words, differs in (
                ("is about another operation", said.operation != plan.record.operation),
                ("is about another plan", said.plan != plan.digest),
                ("is about another call of the step", said.call != call),
                ("is about terms that are no longer asked", said.terms != terms_digest(terms)),
                ("is about another preview", said.preview != shown),
                (f"was good until {format_time(said.expires)}", at >= said.expires),
                (f"is good for longer than {APPROVAL_VALID_MAX.days} days", said.expires > latest),
                ("has no nonce", not said.nonce),
                ("says yes and takes something back", said.approves and said.withdraws is not None),
                ("was taken already", any(_same(answer, one) for one in given)),
            )
            if differs
        ),
        None,
    )
    if wrong is not None:
        anew = (f"rexecop show {plan.record.operation} --request FILE",)
        raise AnswerUnfit(f"the answer {wrong}", next_steps=anew)
    try:
        key = sshsig.verify(answer.signature, encode(said), APPROVAL_NAMESPACE).public.fingerprint
    except ProofError as error:
        raise AnswerUnfit(f"the answer is not signed: {error.message}") from error
    if key != said.approver.credential:
        raise AnswerUnfit(f"the answer is signed by key `{key}`, which is not the one it names")


def _same(answer: ApprovalAnswer, other: Sealed) -> bool:
    return getattr(other.record, "statement", None) == answer.statement
