"""Signed profiles: whose key signed the digest of a profile, and whether it publishes profiles at a moment.

A signature says nothing of when it was made. What counts is that its key stands enrolled
where it is asked for: when a plan is made, when its ticket is, and before every change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from rexecop.proof.canonical import Digest
from rexecop.proof.records.plan import Plan
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role

if TYPE_CHECKING:
    from rexecop.proof.publickey import PublicKey

PROFILE_NAMESPACE: Final = "profile@rexecop"
SIGNATURE_ROLE: Final = "profile-signature"
NOTE: Final = "profile_signature"  # Where the notes of a plan say why a signature beside its profile is none.


def signer_of(signature: bytes, digest: Digest) -> PublicKey:
    """Return the key that signed `digest`, of a profile; whether it means anything is for the caller to say.

    Raises:
        ProofError: `signature` is no armored SSHSIG, is made for something else, or cannot be checked here.
    """
    from rexecop.proof import sshsig  # Who has no signed profile need not wait for it.

    armored = signature.decode("ascii", "replace")
    return sshsig.verify(armored, digest.encode(), PROFILE_NAMESPACE).public


def publisher(enrolled: Iterable[Enrolment], fingerprint: str, at: datetime) -> str | None:
    """Return who publishes profiles by that key at that moment."""
    return next((one.person for one in _of(enrolled, fingerprint) if one.valid_at(at)), None)


def standing(enrolled: Iterable[Enrolment], fingerprint: str, at: datetime) -> str:
    """Return in words what became of a key that does not count for profiles at that moment."""
    mine = [one for one in _of(enrolled, fingerprint) if one.since <= at]
    if not mine:
        return "is enrolled for nobody who publishes profiles"
    return "was revoked" if mine[-1].revoked is not None and mine[-1].revoked <= at else "has expired"


def counts(plan: Plan, enrolled: Iterable[Enrolment], at: datetime) -> bool:
    """Return whether the signature that `plan` names is over its profile, by its publisher at that moment."""
    signed = plan.signed
    if signed is None or signed.person is None or signed.digest != plan.profile:
        return False
    mine = _of(enrolled, signed.fingerprint)
    return any(one.person == signed.person and one.valid_at(at) for one in mine)


def why_unsigned(plan: Plan, enrolled: Iterable[Enrolment], at: datetime) -> str | None:
    """Return in words why no signature of the plan's profile counts at that moment, None where one does.

    Only a key counts that did when it was planned, and still for the same person.
    """
    signed, enrolled = plan.signed, tuple(enrolled)
    if counts(plan, enrolled, at):
        return None
    if signed is None:
        said = (plan.notes or {}).get(NOTE)
        return f"in its `profile.sig` is {said}" if isinstance(said, str) else "it is not"
    key = f"it is signed by key `{signed.fingerprint}`, which"
    if publisher(enrolled, signed.fingerprint, at) is None:
        return f"{key} {standing(enrolled, signed.fingerprint, at)}"
    return f"{key} did not count for it when this was planned"


def _of(enrolled: Iterable[Enrolment], fingerprint: str) -> Iterable[Enrolment]:
    return (one for one in enrolled if one.role is Role.PUBLISHER and one.fingerprint == fingerprint)
