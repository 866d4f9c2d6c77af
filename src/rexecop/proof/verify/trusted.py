"""The keys a verifier trusts, each for one role: read from files the verifier chose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rexecop.proof import allowed_signers
from rexecop.proof.errors import AllowedSignersMalformed, DerMalformed, ProofError, TrustFileMalformed
from rexecop.proof.note import NoteKey
from rexecop.proof.publickey import PublicKey
from rexecop.proof.suites import ED25519
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role
from rexecop.proof.x509 import Authority, parse_pem

TRUST_FILES_MAX: Final = 10_000  # One per person of a large house.
TRUST_FILE_BYTES_MAX: Final = allowed_signers.FILE_BYTES_MAX  # No key line or PEM block is as long.

# What a key is trusted for where no signature has a namespace; SSHSIG namespaces stand beside them.
CHECKPOINTS: Final = "checkpoint@rexecop"
RECEIPTS: Final = "receipt@rexecop"

_ENDINGS: Final = (".pub", ".vkey", ".allowed_signers")
TRUST_ENDINGS: Final = (*_ENDINGS, ".pem")  # What a trust folder is read for; all else in it is let be.
_AUTHORITY: Final = re.compile(r"tsa(?:[-/](.+))?\.pem", re.DOTALL)
_NAME: Final = re.compile(r"([a-z]+)(?:[-/](.+))?\.(pub|vkey|allowed_signers)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """`public` may speak in `role`; `name` is the person, or a label.

    `note_name`, when given, is the only name under which it signs checkpoints. `principals`,
    when given, are patterns for the persons it speaks for, instead of the one `name`. It
    counts for what `namespaces` match, from `not_before` until `not_after`.
    """

    role: Role
    name: str
    public: PublicKey
    note_name: str | None = None
    principals: tuple[str, ...] | None = None
    namespaces: tuple[str, ...] = allowed_signers.ANY
    not_before: datetime | None = None
    not_after: datetime | None = None

    def speaks_for(self, person: str) -> bool:
        """Return whether the key may speak for `person` at all."""
        if self.principals is None:
            return self.name == person
        return allowed_signers.matches(self.principals, person)

    def counts(self, namespace: str, at: datetime | None) -> bool:
        """Return whether the key counts for `namespace` at the moment `at`.

        Where the moment is not known, only a key without limits of time does.
        """
        if not allowed_signers.matches(self.namespaces, namespace):
            return False
        early = self.not_before is not None and (at is None or at < self.not_before)
        late = self.not_after is not None and (at is None or at > self.not_after)
        return not early and not late


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKeys:
    """All keys of one verifier, and the time stamp authorities. None are trusted unless given."""

    keys: tuple[TrustedKey, ...]
    authorities: tuple[Authority, ...] = ()

    def of(self, role: Role) -> tuple[TrustedKey, ...]:
        """Return the keys trusted for `role`."""
        return tuple(key for key in self.keys if key.role is role)


NO_KEYS: Final = TrustedKeys(keys=())


def trust_of(enrolled: Iterable[Enrolment]) -> TrustedKeys:
    """Return the keys that an instance has enrolled: what its owner verifies by.

    Revoked keys are among them: what they signed before stays signed, and step 8 judges when.

    Raises:
        PublicKeyMalformed: an enrolment holds no key that can be read.
    """
    keys = (
        TrustedKey(role=one.role, name=one.person, public=PublicKey.from_line(one.public)) for one in enrolled
    )
    return TrustedKeys(keys=tuple(keys))


def parse_trust(files: Mapping[str, bytes]) -> TrustedKeys:
    """Return the keys in `files`: name to content, the name without its folder.

    A name is `ROLE.pub`, `ROLE-NAME.pub` or `ROLE/NAME.pub`, with OpenSSH lines or one PEM
    block in it; or ends in `.vkey` and holds one line `name+id+base64`; or ends in
    `.allowed_signers`, whose lines name persons, all of which match NAME where there is
    one. `tsa.pem`, `tsa-NAME.pem` and `tsa/NAME.pem` hold certificates of time stamp
    authorities. Other files are left alone.

    Raises:
        TrustFileMalformed: a file names no role, or holds no key that can be read or used in it.
    """
    if len(files) > TRUST_FILES_MAX:
        raise TrustFileMalformed(f"{len(files)} files, at most {TRUST_FILES_MAX} are read")
    found = [key for name in sorted(files) if name.endswith(_ENDINGS) for key in _keys(name, files[name])]
    stamping = [one for name in sorted(files) for one in _authorities(name, files[name])]
    return TrustedKeys(keys=tuple(found), authorities=tuple(stamping))


def _authorities(name: str, data: bytes) -> list[Authority]:
    match = _AUTHORITY.fullmatch(name)
    if match is None:
        return []
    try:
        if len(data) > TRUST_FILE_BYTES_MAX:
            raise DerMalformed(f"it has {len(data)} bytes")
        found = parse_pem(data.decode("utf-8"))
    except (UnicodeDecodeError, ProofError) as error:
        text = f"trust file `{name[:80]!a}` cannot be read: {error}"
        raise TrustFileMalformed(text, file=name[:80]) from error
    return [Authority(name=match[1] or "tsa", certificate=one) for one in found]


def _keys(name: str, data: bytes) -> list[TrustedKey]:
    shown = f"trust file `{name[:80]!a}`"
    match, roles = _NAME.fullmatch(name), tuple(Role)
    if match is None or match[1] not in roles:
        text = f"{shown} names no role like `instance.pub`"
        raise TrustFileMalformed(text, file=name[:80], allowed=", ".join(roles))
    role = Role(match[1])
    if len(data) > TRUST_FILE_BYTES_MAX:
        raise TrustFileMalformed(f"{shown} has {len(data)} bytes", file=name[:80])
    try:
        found = _READERS[match[3]](role, match[2], data)
    except (UnicodeDecodeError, ProofError) as error:
        raise TrustFileMalformed(f"{shown} cannot be read: {error}", file=name[:80]) from error
    if not found:
        raise TrustFileMalformed(f"{shown} holds no key", file=name[:80])
    for key in found:
        if role in (Role.INSTANCE, Role.WITNESS) and key.public.algorithm != ED25519:
            text = f"{shown} holds a `{key.public.algorithm}` key; one in role `{role}` is `{ED25519}`"
            raise TrustFileMalformed(text, file=name[:80], allowed=ED25519)
    return found


def _of_pub(role: Role, label: str | None, data: bytes) -> list[TrustedKey]:
    text = data.decode("utf-8").strip()
    public = [PublicKey.from_pem(text)] if text.startswith("-----") else _lines(text)
    return [TrustedKey(role=role, name=label or role, public=one) for one in public]


def _of_vkey(role: Role, label: str | None, data: bytes) -> list[TrustedKey]:
    key = NoteKey.decode(data.decode("utf-8").strip())
    return [TrustedKey(role=role, name=label or role, public=key.public, note_name=key.name)]


def _of_allowed_signers(role: Role, label: str | None, data: bytes) -> list[TrustedKey]:
    found = []
    for signer in allowed_signers.parse(data):
        plain = all(map(allowed_signers.is_plain, signer.principals))
        names = signer.principals if plain else (",".join(signer.principals),)
        if label is not None:
            if not allowed_signers.matches(signer.principals, label):
                raise AllowedSignersMalformed(
                    f"a line is for `{names[0][:64]!a}`, its file for `{label[:64]!a}`"
                )
            plain, names = True, (label,)
        for name in names:
            found.append(
                TrustedKey(
                    role=role,
                    name=name,
                    public=signer.public,
                    principals=None if plain else signer.principals,
                    namespaces=signer.namespaces,
                    not_before=signer.not_before,
                    not_after=signer.not_after,
                )
            )
    return found


def _lines(text: str) -> list[PublicKey]:
    """Return the keys of OpenSSH lines; empty lines and `#` remarks are for people."""
    lines = (line.strip() for line in text.split("\n"))
    return [PublicKey.from_line(line) for line in lines if line and not line.startswith("#")]


_READERS: Final = {"pub": _of_pub, "vkey": _of_vkey, "allowed_signers": _of_allowed_signers}
