"""`decision/1`: what policy answered, to exactly which request, and on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.codec import encode
from rexecop.proof.principal import Principal
from rexecop.proof.records.base import Record
from rexecop.proof.vocabulary import Effect, Gate, Mode, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTarget:
    """A target as policy sees it."""

    id: str
    type: str
    criticality: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRequest:
    """Everything the decision may depend on beside the pack and the time it was made at.

    `now` is the instant the request was decided on. `grade` is the weakest read
    grade of the plan. `pinned` says whether facts back a change.
    """

    gate: Gate
    principal: Principal
    profile: str
    intent: str
    effect: Effect
    mode: Mode
    risk: str
    environment: str
    targets: tuple[RequestTarget, ...]
    simulated: bool
    pinned: bool
    origin: str
    now: datetime
    sponsor: str | None = None
    grade: str | None = None
    parameters: Mapping[str, Json] | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """`count` persons of `group` must say yes."""

    count: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalLimit:
    """Of those who say yes, at most `at_most` persons of `group` count: a conflict of interest."""

    at_most: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligations:
    """What the executor must keep to, merged to the strictest of all matching rules."""

    output_bytes: int | None = None
    timeout_ms: int | None = None
    steps_max: int | None = None
    targets_max: int | None = None
    isolation: str | None = None
    no_network: bool = False
    receipt: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the answer was: a verdict, whose approval it needs, and what must be kept to.

    `sponsor_may_approve` lets the human who answers for an agent approve what it asks for.
    """

    kind: ClassVar[str] = "terms/1"

    verdict: Verdict
    approvals: tuple[ApprovalRule, ...]
    obligations: Obligations
    not_before: datetime | None = None
    not_after: datetime | None = None
    approval_limits: tuple[ApprovalLimit, ...] = ()
    sponsor_may_approve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleRef:
    """A rule that took part, by its id in its pack and the digest of its text."""

    id: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRef:
    """A policy pack in force."""

    id: str
    version: str
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """`terms` for `request` about `plan`, because of `rules`, under `packs`."""

    kind: ClassVar[str] = "decision/1"

    plan: Digest
    request: PolicyRequest
    terms: Terms
    rules: tuple[RuleRef, ...]
    packs: tuple[PackRef, ...]
    errors: tuple[str, ...]
    reason: str


def terms_digest(terms: Terms) -> Digest:
    """Return the digest approvals and tickets name `terms` by."""
    return digest_of(encode(terms))
