"""Who is kin to those who ask: their keys, and the keys whose enrolment rests on one of theirs."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rexecop.proof.canonical import Digest
from rexecop.proof.principal import Principal
from rexecop.proof.records.decision import Terms
from rexecop.proof.records.intent import Intent
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role


@dataclass(frozen=True, slots=True)
class Objection:
    """Why an approver, or the approval `approval`, does not count."""

    code: str
    reason: str
    approval: Digest | None = None


def person_key(person: str) -> str:
    """Return what two spellings of one person have in common: case, width and outer spaces do not count."""
    return unicodedata.normalize("NFKC", person).strip().casefold()


class Register:
    """Enrolments as those who ask are kin to them: each is looked at once, however many approve."""

    def __init__(self, asked: Intent, enrolments: Sequence[Enrolment], terms: Terms) -> None:
        approving = (one for one in enrolments if one.role is Role.APPROVER)
        # Of several enrolments of one key for one person the newest is what holds.
        self._newest = {(one.fingerprint, one.person): one for one in approving}
        requester, sponsor = person_key(asked.by.person), person_key(asked.sponsor or asked.by.person)
        self._kin = _Kin({requester, sponsor}, asked.by.credential, enrolments)
        # A sponsor who may approve is no kin of himself; keys of others that he enrolled still rest on him.
        self._sponsor = sponsor if terms.sponsor_may_approve and asked.sponsor is not None else None
        self._kin_of_sponsor = self._kin
        if self._sponsor is not None:
            self._kin_of_sponsor = _Kin({requester}, asked.by.credential, enrolments)

    def enrolment_of(self, approver: Principal) -> Enrolment | None:
        """Return the enrolment by which `approver` approves, if there is one."""
        return self._newest.get((approver.credential, approver.person))

    def kinship_objection(self, enrolment: Enrolment) -> Objection | None:
        """Object when who asked (or sponsors the agent) holds the key, or enrolled it, directly or not."""
        kin = self._kin_of_sponsor if person_key(enrolment.person) == self._sponsor else self._kin
        key = f"key `{enrolment.fingerprint}`"
        if (person := kin.shared.get(enrolment.fingerprint)) is not None:
            return Objection("key-shared-with-requester", f"{key} is also enrolled for `{person}`")
        if (person := kin.rests_on.get(id(enrolment))) is not None:
            return Objection("key-enrolled-by-requester", f"{key} rests on an enrolment by `{person}`")
        return None


class _Kin:
    """The keys of `askers`, and the enrolments that rest on one by them or by `credential`."""

    def __init__(self, askers: set[str], credential: str, enrolments: Sequence[Enrolment]) -> None:
        self.shared = {one.fingerprint: one.person for one in enrolments if person_key(one.person) in askers}
        made: dict[str, list[Enrolment]] = {}
        for one in enrolments:
            made.setdefault(one.by.credential, []).append(one)
        waiting = [
            one
            for one in enrolments
            if person_key(one.by.person) in askers or one.by.credential == credential
        ]
        self.rests_on = {id(one): one.by.person for one in waiting}
        while waiting:
            other = waiting.pop()
            for one in made.get(other.fingerprint, ()):
                if id(one) not in self.rests_on:
                    self.rests_on[id(one)] = self.rests_on[id(other)]
                    waiting.append(one)
