"""Records of the instance itself: keys, heads, erasures, accesses, epochs, halts, notes.

They form the chain of a reserved operation whose id is the instance's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import HaltScope, Role

TRUST_NAMESPACE: Final = "trust@rexecop"
"""The namespace in which the instance's key signs the enrolment of the key that follows it (SSHSIG)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust(Record):
    """`by` enrols (or revokes) the key `public` of `person` for `role`.

    `public` is one OpenSSH public key line without comment.
    """

    kind: ClassVar[str] = "trust/1"

    person: str
    role: Role
    public: str
    fingerprint: str
    revoked: bool
    expires: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedList:
    """What had changed something and not ended when the log had `size` records: how many `operations`.

    `root` is the Merkle root of the sorted list (operation, digest of its last record).
    """

    size: int
    operations: int
    root: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Heads(Record):
    """The Merkle root of the sorted map target → (count, digest of its last change attempt)."""

    kind: ClassVar[str] = "heads/1"

    root: Digest
    targets: int
    unfinished: UnfinishedList | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure(Record):
    """The blob named `commitment` was erased under `rule`, for `reason`."""

    kind: ClassVar[str] = "erasure/1"

    commitment: Digest
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention(Record):
    """Under `rule`, for `reason`, the outputs went of outcomes dated before `before`, of what had ended."""

    kind: ClassVar[str] = "retention/1"

    before: datetime
    rule: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Access(Record):
    """Evidence of `subject` was exported or viewed."""

    kind: ClassVar[str] = "access/1"

    subject: str
    action: str
    digest: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """That the log `origin` had `size` leaves under `root` (64 hex digits): what a checkpoint says."""

    origin: str
    size: int
    root: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch(Record):
    """`by` began epoch `epoch` of the log, in a restored or copied root.

    It is the first record of its epoch: leaf `continues.size` of the same tree.
    """

    kind: ClassVar[str] = "epoch/1"

    epoch: int
    continues: LogState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt(Record):
    """`by` stops every further permit within `scope`, that of `name` where it has one; or lifts that."""

    kind: ClassVar[str] = "halt/1"

    scope: HaltScope
    lifted: bool
    reason: str
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note(Record):
    """A remark for people; it changes nothing."""

    kind: ClassVar[str] = "note/1"

    topic: str
    text: str
