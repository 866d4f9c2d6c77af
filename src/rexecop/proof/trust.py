"""Which key speaks for whom, in which role, since when: a fold over `trust` records."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rexecop.proof.chain import Sealed
from rexecop.proof.principal import Principal
from rexecop.proof.records.instance import Trust
from rexecop.proof.vocabulary import Role


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A key enrolled for a role; it counts from `since` until `expires` or `revoked`."""

    person: str
    role: Role
    public: str
    fingerprint: str
    by: Principal
    since: datetime
    expires: datetime | None
    revoked: datetime | None

    def valid_at(self, moment: datetime) -> bool:
        """Return whether the key speaks for its person at `moment`."""
        if moment < self.since or (self.expires is not None and moment >= self.expires):
            return False
        return self.revoked is None or moment < self.revoked


def enrolments(records: Iterable[Sealed]) -> tuple[Enrolment, ...]:
    """Return every enrolment ever made, in order; a revocation ends those that stand for the key and role."""
    found: list[Enrolment] = []
    standing: dict[tuple[str, Role], list[int]] = {}
    for sealed in records:
        record = sealed.record
        if not isinstance(record, Trust):
            continue
        key = (record.fingerprint, record.role)
        if not record.revoked:
            standing.setdefault(key, []).append(len(found))
            found.append(
                Enrolment(
                    person=record.person,
                    role=record.role,
                    public=record.public,
                    fingerprint=record.fingerprint,
                    by=record.by,
                    since=record.at,
                    expires=record.expires,
                    revoked=None,
                )
            )
            continue
        for index in standing.pop(key, ()):
            found[index] = replace(found[index], revoked=record.at)
    return tuple(found)


def in_force(enrolled: Sequence[Enrolment], role: Role, fingerprint: str, at: datetime) -> bool:
    """Return whether the key spoke in `role` at that moment."""
    return any(one.valid_at(at) for one in _of(enrolled, role, fingerprint))


def retired(enrolled: Sequence[Enrolment], role: Role, fingerprint: str, at: datetime) -> bool:
    """Return whether the key had been enrolled by that moment, and revoked or expired since."""
    begun = [one for one in _of(enrolled, role, fingerprint) if one.since <= at]
    return bool(begun) and not any(one.valid_at(at) for one in begun)


def _of(enrolled: Sequence[Enrolment], role: Role, fingerprint: str) -> list[Enrolment]:
    return [one for one in enrolled if one.role is role and one.fingerprint == fingerprint]
