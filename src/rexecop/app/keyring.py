"""Keys of an instance: made, enrolled, revoked. Every change is a `trust` record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from rexecop.app.errors import IdentityRefused
from rexecop.app.views import KeyView
from rexecop.engines.session import Session
from rexecop.keys import create_key, read_public_key
from rexecop.operations.ports import Clock, Store
from rexecop.proof.chain import Sealed
from rexecop.proof.note import NoteKey, SignatureType
from rexecop.proof.note import require_name as require_note_name
from rexecop.proof.principal import Principal
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records import Record
from rexecop.proof.records.instance import Note, Trust
from rexecop.proof.suites import ED25519
from rexecop.proof.trust import Enrolment, enrolments
from rexecop.proof.vocabulary import Role

PERSON_LENGTH_MAX = 128  # As long as policy packs take names.


def require_name(person: str) -> None:
    """Return only if `person` can be a person's name.

    Raises:
        IdentityRefused: it is empty, too long, not printable, or begins or ends with a space.
    """
    if not (0 < len(person) <= PERSON_LENGTH_MAX and person.isprintable() and person == person.strip()):
        raise IdentityRefused(f"`{person[:60]!a}` cannot be a person's name")


class Keyring:
    """The instance's own chain: who is trusted for what."""

    def __init__(self, store: Store, clock: Clock, instance: str) -> None:
        self._store = store
        self._clock = clock
        self._instance = instance

    def view(self) -> tuple[KeyView, ...]:
        """Return every key ever enrolled, oldest first."""
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
            )
            for item in enrolments(self._records())
        )

    def _records(self) -> tuple[Sealed, ...]:
        if not self._store.records_of(self._instance):
            return ()
        return self._store.journal(self._instance).records

    async def create(self, path: Path, person: str, role: Role, by: Principal) -> KeyView:
        """Make a new key at `path` and enrol it.

        Raises:
            KeyRefused: a file is there already.
        """
        signer = create_key(path, f"{person} ({role})")
        return await self.enrol(signer.public, person, role, by)

    async def trust(self, source: str, person: str, role: Role, by: Principal) -> KeyView:
        """Enrol the public key in file or line `source` for `person`.

        Raises:
            KeyRefused, PublicKeyMalformed: it is no public key. IdentityRefused: it speaks for another.
        """
        path = Path(source)
        public = read_public_key(path if not source.startswith(("ssh-", "ecdsa-", "sk-")) else source)
        return await self.enrol(public, person, role, by)

    async def enrol(
        self, public: PublicKey, person: str, role: Role, by: Principal, *, expires: datetime | None = None
    ) -> KeyView:
        """Record that `public` speaks for `person` in `role`, until it `expires`.

        Raises:
            IdentityRefused: the key speaks for somebody else, or the name cannot be one.
            SignatureUnsupported: instances, witnesses and nodes sign with Ed25519 keys alone.
            NoteMalformed: a witness cannot sign under the name.
        """
        if role not in (Role.APPROVER, Role.REQUESTER):
            _ = public.raw
        if role is Role.WITNESS:
            require_note_name(person)
        require_name(person)
        for item in enrolments(self._records()):
            if item.fingerprint == public.fingerprint and item.revoked is None and item.person != person:
                raise IdentityRefused(
                    f"key `{item.fingerprint}` speaks for `{item.person}`; a key has one person",
                    person=item.person,
                )
        await self._append(public, person, role, by, revoked=False, expires=expires)
        return self._found(public.fingerprint, role)

    async def revoke(self, fingerprint: str, by: Principal) -> KeyView:
        """Record that a key speaks for nobody from now on.

        Raises:
            IdentityRefused: no such key is enrolled.
        """
        standing = [
            item
            for item in enrolments(self._records())
            if item.fingerprint == fingerprint and not item.revoked
        ]
        if not standing:
            raise IdentityRefused(
                f"no standing key `{fingerprint}`", fingerprint=fingerprint, next_steps=("rexecop keys list",)
            )
        for item in standing:
            await self._append(PublicKey.from_line(item.public), item.person, item.role, by, revoked=True)
        return self._found(fingerprint, standing[0].role)

    async def note(self, topic: str, text: str, by: Principal) -> None:
        """Leave a remark in the instance's chain."""
        await self._write(Note, by, topic=topic, text=text)

    def _found(self, fingerprint: str, role: Role) -> KeyView:
        return next(item for item in self.view() if (item.fingerprint, item.role) == (fingerprint, str(role)))

    async def _append(
        self,
        public: PublicKey,
        person: str,
        role: Role,
        by: Principal,
        *,
        revoked: bool,
        expires: datetime | None = None,
    ) -> None:
        await self._write(
            Trust,
            by,
            person=person,
            role=role,
            public=public.line,
            fingerprint=public.fingerprint,
            revoked=revoked,
            expires=expires,
        )

    async def _write(self, kind: Callable[..., Record], by: Principal, **fields: object) -> None:
        if self._store.records_of(self._instance):
            session = Session.load(self._store, self._clock, self._instance)
        else:
            session = Session(self._store, self._clock, self._instance)
        session.add(kind, by, **fields)
        await session.flush()


def _vkey(item: Enrolment) -> str | None:
    """Return a witness's key as verifiers of notes take it (a C2SP vkey), None for other roles."""
    public = PublicKey.from_line(item.public)
    if item.role is not Role.WITNESS or public.algorithm != ED25519:
        return None
    return NoteKey(name=item.person, public=public, type=SignatureType.COSIGNATURE).encode()
