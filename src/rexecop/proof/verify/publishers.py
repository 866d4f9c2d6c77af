"""Steps 4, 7 and 8 for signed profiles: the signature is over the profile, by whom the plan says."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from rexecop.proof.chain import CLOCK_TOLERANCE, Sealed
from rexecop.proof.errors import ProofError, SignatureUnsupported, SignatureWrong
from rexecop.proof.publickey import PublicKey
from rexecop.proof.publishing import PROFILE_NAMESPACE, SIGNATURE_ROLE, counts, signer_of
from rexecop.proof.records import Attempt, Decision, Intent, Plan, Ticket
from rexecop.proof.records.plan import SignedProfile
from rexecop.proof.sshsig import key_named
from rexecop.proof.verify.evidence import Evidence, Notes
from rexecop.proof.vocabulary import Role, Verdict

CODE: Final = "E08w"


def check(evidence: Evidence, notes: Notes) -> None:
    """A signature fits the plan that names it, and where terms ask for one it counted whenever it had to."""
    asked, planned = evidence.first(Intent), evidence.first(Plan)
    if asked is None or planned is None:
        return
    sealed, plan = planned
    fits = plan.intent == asked[0].digest  # Step 8 says nothing of a plan for something else.
    if (signed := plan.signed) is not None:
        other = signed.digest != plan.profile
        notes.when(other, "E07ai", sealed, "names a signature over another profile than its own")
        public = _public(sealed, signed, evidence, notes)
        if signed.person is not None:
            foreign = fits and not _counts(plan, evidence, plan.at)
            notes.when(foreign, CODE, sealed, f"says that `{signed.person:.64}` publishes its profile")
            _own(sealed, signed.person, public, evidence, notes)
    if fits:
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
        unsigned = not _counts(plan, evidence, moment)
        notes.when(unsigned, CODE, sealed, "needs a profile signed by a publisher who is enrolled then")


def _counts(plan: Plan, evidence: Evidence, moment: datetime) -> bool:
    """Return whether the signature counted; that it ended just before may not have been heard of."""
    enrolled = evidence.bundle.enrolments
    return counts(plan, enrolled, moment) or counts(plan, enrolled, moment - CLOCK_TOLERANCE)


def _public(sealed: Sealed, signed: SignedProfile, evidence: Evidence, notes: Notes) -> PublicKey | None:
    """Return the key that the included signature is by, None after noting why it is not shown."""
    data = evidence.bundle.inputs(SIGNATURE_ROLE).get(signed.signature)
    if data is None:
        return None  # That it is not here is noted with the other inputs.
    try:
        public = signer_of(data, signed.digest)
        if public.fingerprint != signed.fingerprint:
            raise SignatureWrong("it is by another key than it names")
    except SignatureUnsupported as error:
        # Naming what nobody can check must not take a signature away; see the signatures of approvals.
        named = key_named(data.decode("ascii", "replace")).fingerprint
        if "hash" not in error.facts and named == signed.fingerprint:
            notes.skip("the signature of the profile", error.message)
            return None
        notes.when(True, "E07ai", sealed, f"names a wrong signature of its profile: {error.message}")
    except ProofError as error:
        notes.when(True, "E07ai", sealed, f"names a wrong signature of its profile: {error.message}")
    else:
        return public
    return None


def _own(sealed: Sealed, person: str, public: PublicKey | None, evidence: Evidence, notes: Notes) -> None:
    """Whose key it is, is the instance's word unless the verifier trusts one for that person too."""
    own = [key for key in evidence.bundle.trust.of(Role.PUBLISHER) if key.speaks_for(person)]
    if not own:
        notes.skip("whose key signed the profile", "no key is trusted for its publisher")
    elif public is not None:
        known = any(key.public == public and key.counts(PROFILE_NAMESPACE, sealed.record.at) for key in own)
        notes.when(not known, "E04l", sealed, f"names `{person:.64}` for a key not trusted for them")
