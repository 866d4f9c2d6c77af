"""Steps 4, 7 and 8 for signed profiles: the signature is over the profile, by whom the plan says."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed
from rexecop.proof.errors import ProofError, SignatureUnsupported
from rexecop.proof.publickey import PublicKey
from rexecop.proof.publishing import PROFILE_NAMESPACE, SIGNATURE_ROLE, publisher, signer_of, why_unsigned
from rexecop.proof.records import Attempt, Decision, Plan, Ticket
from rexecop.proof.records.plan import SignedProfile
from rexecop.proof.verify.evidence import Evidence, Notes
from rexecop.proof.vocabulary import Role, Verdict

CODE: Final = "E08w"


def check(evidence: Evidence, notes: Notes) -> None:
    """A signature fits the plan that names it, and where terms ask for one it counted whenever it had to."""
    planned = evidence.first(Plan)
    if planned is None:
        return
    sealed, plan = planned
    if (signed := plan.signed) is not None:
        other = signed.digest != plan.profile
        notes.when(other, "E07ai", sealed, "names a signature over another profile than its own")
        public = _public(sealed, signed, evidence, notes)
        if signed.person is not None:
            found = _at(evidence, signed, plan.at)
            notes.when(found != signed.person, CODE, sealed, f"says that `{signed.person:.64}` publishes it")
            _own(sealed, signed, signed.person, public, evidence, notes)
    _terms(plan, evidence, notes)


def _terms(plan: Plan, evidence: Evidence, notes: Notes) -> None:
    """Where a decision asks for a signed profile, it is then, for its ticket, and before each change."""
    asking = {
        sealed.digest
        for sealed, decision in evidence.of(Decision)
        if decision.terms.obligations.signed_profile and decision.terms.verdict is not Verdict.BLOCKED
    }
    tickets = {sealed.digest for sealed, one in evidence.of(Ticket) if one.decision in asking}
    for sealed in evidence.records if asking else ():
        record, moment = sealed.record, sealed.record.at
        match record:
            case Decision() if sealed.digest in asking:
                moment = record.request.now
            case Ticket() if sealed.digest in tickets:
                pass
            case Attempt() if record.permit.ticket in tickets and record.target_n is not None:
                pass  # Policy is asked before a change; a read goes by its ticket.
            case _:
                continue
        why = _unsigned(plan, evidence, moment)
        notes.when(why, CODE, sealed, f"needs a signed profile, and {why}")


def _unsigned(plan: Plan, evidence: Evidence, moment: datetime) -> str | None:
    """Return why the signature did not count; what ended just before may not have been heard of."""
    found = why_unsigned(plan, evidence.bundle.enrolments, moment)
    earlier = max(moment - CLOCK_TOLERANCE, plan.at)
    return found and why_unsigned(plan, evidence.bundle.enrolments, earlier) and found


def _at(evidence: Evidence, signed: SignedProfile, moment: datetime) -> str | None:
    known = evidence.bundle.enrolments
    earlier = publisher(known, signed.fingerprint, moment - CLOCK_TOLERANCE)
    return publisher(known, signed.fingerprint, moment) or earlier


def _public(sealed: Sealed, signed: SignedProfile, evidence: Evidence, notes: Notes) -> PublicKey | None:
    """Return the key that the included signature is by, None after noting why it is not shown."""
    data = evidence.bundle.inputs(SIGNATURE_ROLE).get(signed.signature)
    if data is None:
        return None  # That it is not here is noted with the other inputs.
    try:
        public = signer_of(data, signed.digest)
    except SignatureUnsupported as error:
        notes.skip("the signature of the profile", error.message)
        return None
    except ProofError as error:
        notes.when(True, "E07ai", sealed, f"names a signature that is wrong: {error.message}")
        return None
    other = public.fingerprint != signed.fingerprint
    notes.when(other, "E07ai", sealed, f"says key `{signed.fingerprint:.64}`, which did not sign the profile")
    return None if other else public


def _own(
    sealed: Sealed,
    signed: SignedProfile,
    person: str,
    public: PublicKey | None,
    evidence: Evidence,
    notes: Notes,
) -> None:
    """Whose key it is, is the instance's word unless the verifier trusts one for that person too."""
    own = [key for key in evidence.bundle.trust.of(Role.PUBLISHER) if key.speaks_for(person)]
    if not own:
        notes.skip("whose key signed the profile", "no key is trusted for its publisher")
    elif public is not None:
        known = any(key.public == public and key.counts(PROFILE_NAMESPACE, sealed.record.at) for key in own)
        notes.when(not known, "E04l", sealed, f"names `{person:.64}` for a key not trusted for them")
