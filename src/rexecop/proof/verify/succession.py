"""Which keys speak for an instance: those a verifier trusts, and those its own log leads to from there.

Forward: who holds the key in force signs the enrolment of the next one, so whoever
trusts the first can follow. Backward: under a checkpoint by an accepted key, the log's
records say which keys were the instance's, and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rexecop.proof import sshsig
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import ProofError, SignatureUnsupported
from rexecop.proof.publickey import PublicKey
from rexecop.proof.records.instance import TRUST_NAMESPACE, Trust
from rexecop.proof.trust import Enrolment, in_force, retired
from rexecop.proof.verify.trusted import RECEIPTS, TrustedKey
from rexecop.proof.vocabulary import Role

SUCCESSIONS_MAX: Final = 256  # Signatures followed in one log: a new key each week for five years.


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A key accepted for the instance, within the limits of the trusted one that it follows.

    `path` are fingerprints from that one to it.
    """

    key: TrustedKey
    path: tuple[str, ...]


class Succession:
    """The walk over the enrolments of instance keys, from the keys a verifier trusts.

    `links` are the keys accepted, `wrong` are records with what is wrong with the signature
    beside them, `lost` are keys that nothing led to, with the reason.
    """

    def __init__(
        self, trusted: Sequence[TrustedKey], instance: Sequence[Sealed], signatures: Mapping[Digest, bytes]
    ) -> None:
        self.links = [Link(key=key, path=(key.public.fingerprint,)) for key in trusted]
        self.wrong: list[tuple[Sealed, str]] = []
        self.lost: list[tuple[str, str]] = []
        self._from_the_first = bool(instance) and instance[0].record.n == 0
        self._in_force: dict[str, datetime | None] = {}
        self._ended: set[str] = set()
        self._followed = 0
        for sealed in instance:
            record = sealed.record
            if isinstance(record, Trust) and record.role is Role.INSTANCE:
                self._take(sealed, record, signatures.get(sealed.digest))

    def _take(self, sealed: Sealed, record: Trust, armored: bytes | None) -> None:
        if record.revoked:
            self._ended.add(record.fingerprint)
            self._in_force.pop(record.fingerprint, None)
            return
        lost = None
        if armored is not None and self._followed < SUCCESSIONS_MAX:
            self._followed += 1
            lost = self._follow(sealed, record, armored)
        elif self._in_force or self._ended:
            lost = (
                "no signature by the key before it is looked at" if armored else "no key before it signed it"
            )
        if lost is not None and not any(link.path[-1] == record.fingerprint for link in self.links):
            self.lost.append((record.fingerprint, lost))
        self._in_force[record.fingerprint] = record.expires

    def _follow(self, sealed: Sealed, record: Trust, armored: bytes) -> str | None:
        """Accept the key of `record` where an accepted key signed it; return why it is not followed."""
        try:
            public = PublicKey.from_line(record.public)
            text = armored.decode("ascii", "replace")
            before = sshsig.verify(text, sealed.body, TRUST_NAMESPACE).public.fingerprint
        except SignatureUnsupported as error:
            return error.message
        except ProofError as error:
            self.wrong.append((sealed, f"has a wrong signature: {error.message}"))
            return None
        if before not in self._in_force:
            if self._from_the_first or before in self._ended:
                self.wrong.append((sealed, f"is signed by `{before}`, which was not in force"))
                return None
            return "what made the key before it one of the instance is not included"
        expires = self._in_force[before]
        if expires is not None and expires <= record.at:
            return "the key that signed it had expired"
        if public.fingerprint != record.fingerprint:
            return "its enrolment names another key than it holds"
        self.links += [
            Link(key=replace(link.key, public=public), path=(*link.path, public.fingerprint))
            for link in self.links
            if link.path[-1] == before
            and public.fingerprint not in link.path
            and link.key.counts(TRUST_NAMESPACE, record.at)
        ]
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speakers:
    """Whose envelopes count: `links` were accepted, `signer` of them signed the checkpoint.

    `newest` is when the newest record was written.
    """

    links: Sequence[Link]
    signer: str | None
    newest: datetime | None
    enrolled: Sequence[Enrolment]

    def key(self, fingerprint: str) -> PublicKey | None:
        """Return the key of that fingerprint, if it is one that may have spoken for the instance."""
        for link in self.links:
            if link.path[-1] == fingerprint:
                return link.key.public
        if self.signer is not None:
            for one in self.enrolled:
                if one.role is Role.INSTANCE and one.fingerprint == fingerprint:
                    public = PublicKey.from_line(one.public)
                    return public if public.fingerprint == fingerprint else None
        return None

    def retired(self, fingerprint: str, at: datetime) -> bool:
        """Return whether the log says that the key had been retired by that moment."""
        return retired(self.enrolled, Role.INSTANCE, fingerprint, at)

    def may(self, fingerprint: str, at: datetime) -> bool:
        """Return whether the key may publish a record of that time.

        A key the verifier trusts itself may within its limits; the checkpoint's signer
        publishes whatever the log holds; any other key only what was written in its time.
        """
        in_time = in_force(self.enrolled, Role.INSTANCE, fingerprint, at)
        links = [link for link in self.links if link.path[-1] == fingerprint]
        if not links:
            return self.signer is not None and in_time
        return any(
            (link.key.counts(RECEIPTS, at) and (len(link.path) == 1 or in_time))
            or (fingerprint == self.signer and link.key.counts(RECEIPTS, self.newest))
            for link in links
        )


def succeeds(sealed: Sealed) -> bool:
    """Return whether the record enrols a key of the instance: the key before it may sign that."""
    record = sealed.record
    return isinstance(record, Trust) and record.role is Role.INSTANCE and not record.revoked
