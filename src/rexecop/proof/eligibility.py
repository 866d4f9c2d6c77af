"""Whether a person's word counts: who it is, by which key, since when, and who signed.

The same is asked of whoever votes and, where they vote for somebody else, of that person too.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rexecop.proof.errors import ProofError
from rexecop.proof.kinship import Objection, Register, person_key
from rexecop.proof.principal import Principal
from rexecop.proof.records import Intent, Plan
from rexecop.proof.records.decision import Terms
from rexecop.proof.vocabulary import Established

if TYPE_CHECKING:
    from rexecop.proof.publickey import PublicKey

VERDICTS_KEPT: Final = 1024  # An operation's approvals are counted for each of its tickets.


def person_objection(approver: Principal, asked: Intent, terms: Terms) -> Objection | None:
    """Return why the person of `approver` may not decide about what was `asked`, or None."""
    person = person_key(approver.person)
    if not person:
        return Objection("approver-unknown", "the approver has no name")
    if person == person_key(asked.by.person):
        return Objection("self-approval", f"`{approver.person}` asked for this operation")
    if approver.credential == asked.by.credential:
        return Objection("self-approval", "the operation was asked for with the same credential")
    sponsor = None if asked.sponsor is None else person_key(asked.sponsor)
    if person == sponsor and not terms.sponsor_may_approve:
        who = f"`{asked.by.person}`, who asked for this operation"
        return Objection("sponsor-approval", f"`{approver.person}` is the sponsor of {who}")
    return None


def key_objection(
    approver: Principal, planned: Plan, register: Register, moment: datetime
) -> Objection | None:
    """Return why the key of `approver` does not count for the plan at `moment`, or None."""
    person, key = approver.person, f"key `{approver.credential}`"
    if approver.established is not Established.KEY:
        why = f"`{person}` is known by {approver.established}, not by a key"
        return Objection("approver-not-established", why)
    enrolment = register.enrolment_of(approver)
    if enrolment is None:
        return Objection("approver-unknown", f"{key} is not enrolled as an approver's key of `{person}`")
    if not enrolment.valid_at(moment):
        return Objection("approver-key-invalid", f"{key} had expired or was revoked")
    if enrolment.since >= planned.at:
        return Objection("key-enrolled-after-plan", f"{key} was enrolled only after the plan was made")
    return register.kinship_objection(enrolment)


def session_objection(approver: Principal, terms: Terms, *, approves: bool) -> Objection | None:
    """Return why the unsigned word of `approver` does not count under `terms`, or None; a no only narrows."""
    if not approves or terms.session_may_approve:
        return None
    return Objection("session-may-not-approve", f"the terms want a yes of `{approver.person}` signed")


def signature_objection(
    signature: str, said: bytes, namespace: str, who: Principal, register: Register
) -> Objection | None:
    """Return why `signature` over `said` is not that of the enrolled key `who` is established by, or None."""
    from rexecop.proof.publickey import PublicKey  # As in `_signed_by`.

    enrolment = register.enrolment_of(who)
    signed_by = _signed_by(signature, said, namespace)
    try:
        enrolled = None if enrolment is None else PublicKey.from_line(enrolment.public)
    except ProofError as error:
        return Objection("approval-signature-wrong", error.message)
    if isinstance(signed_by, str):
        return Objection("approval-signature-wrong", signed_by)
    if signed_by != enrolled or signed_by.fingerprint != who.credential:
        why = f"signed by key `{signed_by.fingerprint}`, which is not the key the statement names"
        return Objection("approval-signature-wrong", why)
    return None


@lru_cache(maxsize=VERDICTS_KEPT)
def _signed_by(signature: str, said: bytes, namespace: str) -> PublicKey | str:
    """Return the key that signed `said`, or why none is shown to have."""
    from rexecop.proof import sshsig  # Most decisions need nobody's signature, and not wait for it.

    try:
        return sshsig.verify(signature, said, namespace).public
    except ProofError as error:
        return error.message
