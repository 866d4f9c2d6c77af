"""The keys a verifier trusts, each for one role: read from files the verifier chose."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rexecop.proof.errors import DerMalformed, ProofError, TrustFileMalformed
from rexecop.proof.note import NoteKey
from rexecop.proof.publickey import PublicKey
from rexecop.proof.trust import Enrolment
from rexecop.proof.vocabulary import Role
from rexecop.proof.x509 import Authority, parse_pem

TRUST_FILES_MAX: Final = 10_000  # One per person of a large house.
TRUST_FILE_BYTES_MAX: Final = 32 * 1024  # The longest key line or PEM block that is read.

_ENDINGS: Final = (".pub", ".vkey")
_AUTHORITY: Final = re.compile(r"tsa(?:[-/](.+))?\.pem", re.DOTALL)
_NAME: Final = re.compile(r"([a-z]+)(?:[-/](.+))?\.(pub|vkey)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedKey:
    """`public` may speak in `role`; `name` is the person, or a label.

    `note_name`, when given, is the only name under which it signs checkpoints.
    """

    role: Role
    name: str
    public: PublicKey
    note_name: str | None = None


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
    block in it, or ends in `.vkey` and holds one line `name+id+base64`. `tsa.pem`,
    `tsa-NAME.pem` and `tsa/NAME.pem` hold certificates of time stamp authorities. Other
    files are left alone.

    Raises:
        TrustFileMalformed: a file names no role, or holds no key that can be read.
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
    role, label = Role(match[1]), match[2] or match[1]
    if len(data) > TRUST_FILE_BYTES_MAX:
        raise TrustFileMalformed(f"{shown} has {len(data)} bytes", file=name[:80])
    try:
        text = data.decode("utf-8").strip()
        if match[3] == "vkey":
            key = NoteKey.decode(text)
            return [TrustedKey(role=role, name=label, public=key.public, note_name=key.name)]
        public = [PublicKey.from_pem(text)] if text.startswith("-----") else _lines(text)
    except (UnicodeDecodeError, ProofError) as error:
        raise TrustFileMalformed(f"{shown} cannot be read: {error}", file=name[:80]) from error
    if not public:
        raise TrustFileMalformed(f"{shown} holds no key", file=name[:80])
    return [TrustedKey(role=role, name=label, public=one) for one in public]


def _lines(text: str) -> list[PublicKey]:
    """Return the keys of OpenSSH lines; empty lines and `#` remarks are for people."""
    lines = (line.strip() for line in text.splitlines())
    return [PublicKey.from_line(line) for line in lines if line and not line.startswith("#")]
