"""`delegation/1`: one person gives another their vote, until a date; of the instance's own chain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from rexecop.proof.canonical import Digest
from rexecop.proof.principal import Principal
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Effect

DELEGATION_NAMESPACE: Final = "delegation@rexecop"


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationStatement:
    """What `giver` signs: `delegate` may say yes or no for them until `until`.

    It is for what is in all of `environments`, `intents` (`restart` or `profile/restart`) and
    `effects` that are not empty. With `withdraws` it takes back the delegation of that digest.
    """

    kind: ClassVar[str] = "delegation-statement/1"

    instance: str
    giver: Principal
    delegate: str
    until: datetime
    nonce: str
    reason: str
    environments: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()
    withdraws: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation(Record):
    """`signature` (armored SSHSIG) over the canonical bytes of `statement`."""

    kind: ClassVar[str] = "delegation/1"

    statement: DelegationStatement
    signature: str
