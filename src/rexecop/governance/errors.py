"""Errors of governance.

RexecopError
└── GovernanceError
    ├── PackRefused
    │   ├── PackFileUnknown  PackTooLarge  PackManifestWrong  PackUnsigned
    │   ├── LintFailed  CaseMalformed  CasesFailed  ImportRefused
    │   └── EntitiesWrong  WindowsWrong  PolicyMalformed  PolicyInvalid  AnnotationWrong
    ├── RequestMalformed
    ├── ApprovalRefused
    │   ├── SelfApproval  SponsorApproval  KeySharedWithRequester
    │   ├── KeyEnrolledByRequester  KeyEnrolledAfterPlan  ApproverKeyInvalid
    │   ├── ApproverUnknown  ApproverNotEstablished  ApproverNotInGroup  ApprovalNotAsked
    │   └── AgentApproval  ConflictOfInterest  NothingToWithdraw  AnswerUnfit  StandingRefused
    │       SessionMayNotApprove  DelegationMissing  DelegationSignatureWrong  DelegationRefused
    ├── NotNow
    │   └── WindowClosed  Halted
    ├── TicketRefused
    │   ├── DecisionBlocked  ApprovalDenied  ApprovalsMissing
    │   └── TermsStricter  ObligationUnmet  TicketUnfit
    ├── EvaluationRefused
    ├── ArtifactRefused
    ├── BearerRefused
    └── PermitRefused
        └── PermitOutsideScope  PermitModeMismatch  PermitTooLong  TicketNotYetValid  TicketExpired
"""

from __future__ import annotations

from rexecop.proof.errors import RexecopError


class GovernanceError(RexecopError):
    """Governance refuses, or cannot answer; nothing is allowed by it."""

    code = "governance-error"


class PackRefused(GovernanceError):
    """A policy pack cannot be used: the place (`source`, `line` from 1) and what is wrong there."""

    code = "pack-refused"

    def __init__(
        self, what: str, *, source: str, line: int | None = None, step: str = "rexecop policy check DIR"
    ) -> None:
        place = source if line is None else f"{source}:{line}"
        super().__init__(f"{place}: {what}", next_steps=(step,), source=source, line=line)


class PackFileUnknown(PackRefused):
    """A pack holds a file that would silently mean nothing."""

    code = "pack-file-unknown"


class PackTooLarge(PackRefused):
    """A pack, or a part of it, is over a limit."""

    code = "pack-too-large"


class PackManifestWrong(PackRefused):
    """`pack.yaml` is missing or wrong."""

    code = "pack-manifest-wrong"


class EntitiesWrong(PackRefused):
    """`entities.yaml` is wrong, or a policy names what it does not have."""

    code = "entities-wrong"


class WindowsWrong(PackRefused):
    """`windows.yaml` of a pack is wrong."""

    code = "windows-wrong"


class PolicyMalformed(PackRefused):
    """Text that is no policy, or a policy of a kind packs may not hold."""

    code = "policy-malformed"


class PolicyInvalid(PackRefused):
    """A policy that the schema refuses."""

    code = "policy-invalid"


class AnnotationWrong(PackRefused):
    """An annotation that is missing, repeated, unknown or malformed."""

    code = "policy-annotation-wrong"


class PackUnsigned(PackRefused):
    """The root asks for signed packs, and this one is not signed by an issuer whose key counts."""

    code = "pack-unsigned"


class LintFailed(PackRefused):
    """A pack with an error that lint finds is not put in force."""

    code = "policy-lint-failed"


class CaseMalformed(PackRefused):
    """A golden case of a pack breaks the format."""

    code = "policy-case-malformed"


class CasesFailed(PackRefused):
    """A pack that does not answer as its own golden cases say is not put in force."""

    code = "policy-cases-failed"


class ImportRefused(PackRefused):
    """A pack of another system says what cannot be said here."""

    code = "policy-import-refused"


class ApprovalRefused(GovernanceError):
    """This person, with this key, may not decide about this operation."""

    code = "approval-refused"


class SelfApproval(ApprovalRefused):
    """The requester never approves his own operation."""

    code = "self-approval"


class SponsorApproval(ApprovalRefused):
    """The human behind an agent never approves what the agent asks for."""

    code = "sponsor-approval"


class ApproverUnknown(ApprovalRefused):
    """The key is not enrolled as an approver's key of this person."""

    code = "approver-unknown"


class ApproverNotEstablished(ApprovalRefused):
    """The approver is not established by a key or, where nothing is signed, by the identity provider."""

    code = "approver-not-established"


class ApproverKeyInvalid(ApprovalRefused):
    """The approver's key has expired or was revoked."""

    code = "approver-key-invalid"


class ApproverNotInGroup(ApprovalRefused):
    """The approver is in none of the groups that are asked."""

    code = "approver-not-in-group"


class KeySharedWithRequester(ApprovalRefused):
    """The approver's key is the requester's as well."""

    code = "key-shared-with-requester"


class KeyEnrolledByRequester(ApprovalRefused):
    """The approver's key rests on an enrolment by the requester."""

    code = "key-enrolled-by-requester"


class KeyEnrolledAfterPlan(ApprovalRefused):
    """The approver's key was enrolled when the plan was made already."""

    code = "key-enrolled-after-plan"


class ApprovalNotAsked(ApprovalRefused):
    """The terms ask nobody for approval: allowed already, or blocked for good."""

    code = "approval-not-asked"


class NotNow(GovernanceError):
    """Nothing is wrong with the operation, but it may not go on at this moment."""

    code = "not-now"


class WindowClosed(NotNow):
    """The time in which the operation may run has not come."""

    code = "window-closed"


class Halted(NotNow):
    """Somebody halted what the operation belongs to, and nobody lifted it."""

    code = "halted"


class SessionMayNotApprove(ApprovalRefused):
    """The terms want a yes signed."""

    code = "session-may-not-approve"


class AgentApproval(ApprovalRefused):
    """An agent never approves."""

    code = "agent-approval"


class ConflictOfInterest(ApprovalRefused):
    """The approver is in a group of which nobody, or nobody more, may approve this."""

    code = "conflict-of-interest"


class NothingToWithdraw(ApprovalRefused):
    """The person gave no answer that stands, or the operation has started on it."""

    code = "nothing-to-withdraw"


class StandingRefused(ApprovalRefused):
    """A standing approval cannot be given like that, or there is none of that name."""

    code = "standing-refused"


class DelegationMissing(ApprovalRefused):
    """The person did not give the approver their vote, or not for this, or no longer."""

    code = "delegation-missing"


class DelegationSignatureWrong(ApprovalRefused):
    """The delegation that the vote rests on is not signed by the key of who gave it."""

    code = "delegation-signature-wrong"


class DelegationRefused(ApprovalRefused):
    """A vote cannot be given like that, or there is no delegation of that name to take back."""

    code = "delegation-refused"


class AnswerUnfit(ApprovalRefused):
    """An answer from a file is not to what is asked now, or not signed by the key it names."""

    code = "answer-unfit"


class RequestMalformed(GovernanceError):
    """A file is no request for approval, or no answer to one."""

    code = "request-malformed"


class TicketRefused(GovernanceError):
    """No ticket can be given."""

    code = "ticket-refused"


class DecisionBlocked(TicketRefused):
    """Policy says no, which no approval overrides."""

    code = "decision-blocked"


class ApprovalDenied(TicketRefused):
    """A person who was asked said no."""

    code = "approval-denied"


class ApprovalsMissing(TicketRefused):
    """Not everybody who is asked has said yes."""

    code = "approvals-missing"


class TermsStricter(TicketRefused):
    """The policy now in force asks for more than the terms that were decided and approved."""

    code = "terms-stricter"


class ObligationUnmet(TicketRefused):
    """The plan cannot keep to an obligation."""

    code = "obligation-unmet"


class TicketUnfit(TicketRefused):
    """Intent, plan, decision and ticket do not belong together."""

    code = "ticket-unfit"


class BearerRefused(GovernanceError):
    """A token, or a set of keys, of an identity provider does not count; why is not for who sent it."""

    code = "bearer-refused"


class ArtifactRefused(GovernanceError):
    """An approval artifact is malformed, not by its issuer, or not for this request, tenant or time."""

    code = "artifact-refused"


class EvaluationRefused(GovernanceError):
    """A question in AuthZEN's form lacks something, or says it in another way; the answer to it is no."""

    code = "evaluation-refused"


class PermitRefused(GovernanceError):
    """No permit can be given."""

    code = "permit-refused"


class PermitOutsideScope(PermitRefused):
    """The call is not one the ticket's plan has for this step."""

    code = "permit-outside-scope"


class PermitModeMismatch(PermitRefused):
    """The ticket was given for another mode, or the mode forbids what the call does."""

    code = "permit-mode-mismatch"


class PermitTooLong(PermitRefused):
    """A permit lives for a minute at most."""

    code = "permit-too-long"


class TicketNotYetValid(PermitRefused):
    """The ticket cannot be used yet."""

    code = "ticket-not-yet-valid"


class TicketExpired(PermitRefused):
    """The ticket has run out."""

    code = "ticket-expired"
