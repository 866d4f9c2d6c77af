"""Keys of an instance: made, enrolled, revoked. Every change is a `trust` record."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from rexecop.app.errors import ExpiryRefused, IdentityRefused
from rexecop.app.instance_key import INSTANCE_PERSON, InstanceKey
from rexecop.app.views import KeyView
from rexecop.engines.session import Session
from rexecop.keys import create_key, read_public_key
from rexecop.operations.ports import Clock, Signature, Store
from rexecop.proof import sshsig
from rexecop.proof.chain import Sealed
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.note import require_name as require_note_name
from rexecop.proof.principal import Principal
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.instance import TRUST_NAMESPACE, Note, Trust
from rexecop.proof.suites import ED25519
from rexecop.proof.times import YEAR_MAX, whole_milliseconds
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.vocabulary import Role

PERSON_LENGTH_MAX = 128  # As long as policy packs take names.
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d))?", re.ASCII)


class Keyring:
    """The instance's own chain: who is trusted for what."""

    def __init__(self, store: Store, clock: Clock, instance: str) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance

    def view(self) -> tuple[KeyView, ...]:
        """Return every key ever enrolled, oldest first."""
        found, now = self._enrolled(), self._clock.now()
        return tuple(
            KeyView(
                person=item.person,
                role=str(item.role),
                fingerprint=item.fingerprint,
                public=item.public,
                since=item.since,
                enrolled_by=item.by.person,
                revoked=item.revoked is not None,
                expires=item.expires,
                vkey=_vkey(item),
                state=_state(item, found, now),
            )
            for item in found
        )

    def _enrolled(self) -> tuple[Enrolment, ...]:
        return enrolments(self._records())

    def _standing(self) -> list[Enrolment]:
        return [item for item in self._enrolled() if item.revoked is None]

    def _records(self) -> tuple[Sealed, ...]:
        if not self._store.records_of(self._instance):
            return ()
        return self._store.journal(self._instance).records

    async def create(
        self, path: Path, person: str, role: Role, by: Principal, expires: str | None = None
    ) -> KeyView:
        """Make a new key at `path` and enrol it.

        Raises:
            KeyRefused: a file is there already. IdentityRefused, ExpiryRefused: see `enrol`.
        """
        require_name(person)
        until = self.expiry(expires)
        signer = create_key(path, f"{person} ({role})")
        return await self.enrol(signer.public, person, role, by, expires=until)

    async def trust(
        self, source: str, person: str, role: Role, by: Principal, expires: str | None = None
    ) -> KeyView:
        """Enrol the public key in file or line `source` for `person`.

        Raises:
            KeyRefused, PublicKeyMalformed: it is no public key. IdentityRefused: it speaks for another.
            ExpiryRefused: `expires` is no time to come.
        """
        return await self.enrol(_public(source), person, role, by, expires=self.expiry(expires))

    async def enrol(
        self, public: PublicKey, person: str, role: Role, by: Principal, *, expires: datetime | None = None
    ) -> KeyView:
        """Record that `public` speaks for `person` in `role`, until it `expires`.

        Raises:
            IdentityRefused: the key speaks for somebody else, or the name cannot be one.
            SignatureUnsupported: instances, witnesses and nodes sign with Ed25519 keys alone.
            NoteMalformed: a witness cannot sign under the name.
        """
        self._require_free(public, person, role)
        session = self._session()
        _enrol(session, by, public, person, role, expires)
        await session.flush()
        return self._found(public.fingerprint, role)

    async def revoke(self, fingerprint: str, by: Principal) -> KeyView:
        """Record that a key speaks for nobody from now on.

        Raises:
            IdentityRefused: no such key is enrolled, or it is the instance's only one.
        """
        standing = self._standing()
        chosen = [item for item in standing if item.fingerprint == fingerprint]
        if not chosen:
            raise IdentityRefused(
                f"no standing key `{fingerprint}`", fingerprint=fingerprint, next_steps=("rexecop keys list",)
            )
        own = {item.fingerprint for item in standing if item.role is Role.INSTANCE}
        if own == {fingerprint}:
            raise IdentityRefused(
                f"`{fingerprint}` is the instance's own key; it is replaced, never taken away",
                fingerprint=fingerprint,
                next_steps=("rexecop keys rotate",),
            )
        session = self._session()
        for item in chosen:
            _revoke(session, by, item)
        await session.flush()
        return self._found(fingerprint, chosen[0].role)

    async def rotate_instance(
        self, key: InstanceKey, by: Principal, reason: str | None = None, expires: str | None = None
    ) -> KeyView:
        """Give the instance a new key: enrolled, vouched for by the old one, which is revoked, all at once.

        Raises:
            InstanceKeyMissing: the old key is not there to vouch for the new one.
            ExpiryRefused: `expires` is no time to come. AppendConflict: somebody else wrote; ask again.
        """
        until = self.expiry(expires)
        with key.replacing() as fresh:
            old, session = key.signer(), self._session()
            sealed = _enrol(session, by, fresh.public, INSTANCE_PERSON, Role.INSTANCE, until)
            armored = sshsig.sign(old, TRUST_NAMESPACE, sealed.body)
            session.attached.signatures.append(
                Signature(digest=sealed.digest, form="sshsig", data=armored.encode())
            )
            for item in self._standing():
                if (item.fingerprint, item.role) == (old.public.fingerprint, Role.INSTANCE):
                    _revoke(session, by, item)
            _say_why(session, by, reason)
            await session.flush()
        return self._found(fresh.public.fingerprint, Role.INSTANCE)

    async def rotate_person(
        self,
        source: str,
        person: str,
        role: Role,
        by: Principal,
        reason: str | None = None,
        expires: str | None = None,
    ) -> KeyView:
        """Enrol the key in file or line `source` for `person`, and revoke what they had in `role`, at once.

        Raises:
            IdentityRefused: they have none there, have this one already, or it speaks for another.
        """
        public, until = _public(source), self.expiry(expires)
        self._require_free(public, person, role)
        mine = [item for item in self._standing() if (item.person, item.role) == (person, role)]
        if role is Role.INSTANCE or not mine or any(item.public == public.line for item in mine):
            raise IdentityRefused(
                f"`{person}` has no other key as `{role}` that this one could replace",
                person=person,
                next_steps=("rexecop keys list",),
            )
        session = self._session()
        _enrol(session, by, public, person, role, until)
        for item in mine:
            _revoke(session, by, item)
        _say_why(session, by, reason)
        await session.flush()

        return self._found(public.fingerprint, role)

    async def note(self, topic: str, text: str, by: Principal) -> None:
        """Leave a remark in the instance's chain."""
        session = self._session()
        session.add(Note, by, topic=topic, text=text)
        await session.flush()

    def _found(self, fingerprint: str, role: Role) -> KeyView:
        views = [item for item in self.view() if (item.fingerprint, item.role) == (fingerprint, str(role))]
        return views[-1]

    def _require_free(self, public: PublicKey, person: str, role: Role) -> None:
        if role not in (Role.APPROVER, Role.REQUESTER, Role.ISSUER, Role.PUBLISHER):
            _ = public.raw
        if role is Role.WITNESS:
            require_note_name(person)
        require_name(person)
        for item in self._standing():
            if item.fingerprint == public.fingerprint and item.person != person:
                raise IdentityRefused(
                    f"key `{item.fingerprint}` speaks for `{item.person}`; a key has one person",
                    person=item.person,
                )

    def expiry(self, text: str | None) -> datetime | None:
        """Return the moment that `text`, a date (its first moment in UTC) or an RFC 3339 time, names.

        Raises:
            ExpiryRefused: it is neither, or not to come.
        """
        if text is None:
            return None
        try:
            if not _WHEN.fullmatch(text):
                raise ValueError(text)
            found = datetime.fromisoformat(text if "T" in text else f"{text}T00:00:00Z")
        except ValueError as error:
            raise ExpiryRefused(
                f"`{text[:40]}` is neither a date like `2030-01-31` nor a time with its zone"
            ) from error
        if found.year > YEAR_MAX or found <= self._clock.now():
            raise ExpiryRefused(f"nothing can end at `{text}`: that is over, or too far away")
        return whole_milliseconds(found)

    def _session(self) -> Session:
        if self._store.records_of(self._instance):
            return Session.load(self._store, self._clock, self._instance)
        return Session(self._store, self._clock, self._instance)


def _public(source: str) -> PublicKey:
    return read_public_key(source if source.startswith(("ssh-", "ecdsa-", "sk-")) else Path(source))


def require_name(person: str) -> None:
    """Return only if `person` can be a person's name.

    Raises:
        IdentityRefused: it is empty, too long, not printable, or begins or ends with a space.
    """
    if not (0 < len(person) <= PERSON_LENGTH_MAX and person.isprintable() and person == person.strip()):
        raise IdentityRefused(f"`{person[:60]!a}` cannot be a person's name")


def _enrol(
    session: Session, by: Principal, public: PublicKey, person: str, role: Role, expires: datetime | None
) -> Sealed:
    key = partial(Trust, public=public.line, fingerprint=public.fingerprint, expires=expires)
    return session.add(key, by, person=person, role=role, revoked=False)


def _revoke(session: Session, by: Principal, item: Enrolment) -> None:
    key = partial(Trust, public=item.public, fingerprint=item.fingerprint)
    session.add(key, by, person=item.person, role=item.role, revoked=True)


def _say_why(session: Session, by: Principal, reason: str | None) -> None:
    if reason:
        session.add(Note, by, topic="key-rotated", text=reason)


def _state(item: Enrolment, found: Sequence[Enrolment], now: datetime) -> str:
    """Return in a word where an enrolment stands."""
    if item.revoked is not None:
        # An instance key that another one followed was replaced, not taken away.
        after = any(one.role is Role.INSTANCE and item.since < one.since <= item.revoked for one in found)
        return "retired" if item.role is Role.INSTANCE and after else "revoked"
    return "expired" if item.expires is not None and item.expires <= now else "standing"


def _vkey(item: Enrolment) -> str | None:
    """Return a witness's key as verifiers of notes take it (a C2SP vkey), None for other roles."""
    public = PublicKey.from_line(item.public)
    if item.role is not Role.WITNESS or public.algorithm != ED25519:
        return None
    return NoteKey(name=item.person, public=public, type=SignatureType.COSIGNATURE).encode()
