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
class Recent:
    """How many other operations changed something in the last hour and day.

    `same` did this intent on one of the targets, `intent` did it anywhere, `target` did
    anything on one of the targets, `principal` was asked for by whoever asks.
    """

    same_hour: int
    same_day: int
    intent_hour: int
    intent_day: int
    target_hour: int
    target_day: int
    principal_hour: int
    principal_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCall:
    """A call as policy sees it: `action` of `connector`, and what it does by itself."""

    connector: str
    action: str
    effect: Effect


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestIntent:
    """An intent that the plan calls as policy sees it: a request of its own, with the rest of the whole one.

    `targets` are those of the whole request where none are said.
    """

    prefix: str
    intent: str
    effect: Effect
    risk: str
    simulated: bool
    targets: tuple[RequestTarget, ...] = ()
    grade: str | None = None
    parameters: Mapping[str, Json] | None = None
    recent: Recent | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRequest:
    """Everything the decision may depend on beside the pack and the time it was made at.

    `now` is the instant the request was decided on. `effect` is that of the whole plan,
    `grade` its weakest read grade. `pinned` says whether facts back a change. `recent` is
    counted where a pack in force names it. `call` is the call that is due at gate `call`; there
    `targets` is its own alone, where `targets_planned` says how many the plan has. `called` are
    the intents that the plan calls, there those in whose course the call is due.
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
    break_glass: bool = False
    recent: Recent | None = None
    override_window: bool = False
    call: RequestCall | None = None
    targets_planned: int | None = None
    called: tuple[RequestIntent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRule:
    """`count` persons of `group` must say yes."""

    count: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Budget:
    """At most `count` tickets per `per_ms`, for one `scope`: `principal`, `agent` or `intent`."""

    scope: str
    per_ms: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalLimit:
    """Of those who say yes, at most `at_most` persons of `group` count: a conflict of interest."""

    at_most: int
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTerms:
    """Whose approval the call of step `step` needs just before it, and who of them counts, as in terms."""

    step: str
    approvals: tuple[ApprovalRule, ...]
    approval_limits: tuple[ApprovalLimit, ...] = ()
    sponsor_may_approve: bool = False
    session_may_approve: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligations:
    """What the executor must keep to, merged to the strictest of all matching rules.

    `egress` are the only hosts a call may reach, `redaction` the sets of rules that outputs
    pass, `wave_max` the targets changed at one time, `notify` the groups to tell, and
    `review_ms` the time after the end in which a person must review. With `signed_profile` an enrolled
    publisher signed the profile.
    """

    output_bytes: int | None = None
    timeout_ms: int | None = None
    steps_max: int | None = None
    targets_max: int | None = None
    isolation: str | None = None
    no_network: bool = False
    receipt: bool = False
    output_digest: bool = False
    egress: tuple[str, ...] | None = None
    redaction: tuple[str, ...] = ()
    wave_max: int | None = None
    notify: tuple[str, ...] = ()
    review_ms: int | None = None
    budgets: tuple[Budget, ...] = ()
    signed_profile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the answer was: a verdict, whose approval it needs, what must be kept to, and when.

    It may run from `not_before` (at once without it) until `not_after`, as windows and
    freezes said by the time zone data of version `tzdata`. `sponsor_may_approve` lets the
    human who answers for an agent approve what it asks for, `session_may_approve` whom an identity
    provider vouches for, with nothing signed. `steps` need approvals of their own.
    """

    kind: ClassVar[str] = "terms/1"

    verdict: Verdict
    approvals: tuple[ApprovalRule, ...]
    obligations: Obligations
    not_before: datetime | None = None
    not_after: datetime | None = None
    tzdata: str | None = None
    approval_limits: tuple[ApprovalLimit, ...] = ()
    sponsor_may_approve: bool = False
    session_may_approve: bool = False
    steps: tuple[StepTerms, ...] = ()


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
class Opinion:
    """What a decision point outside said; it can only deny. `answer` is the digest of its bytes, if any."""

    source: str
    allowed: bool
    reason: str
    answer: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision(Record):
    """`terms` for `request` about `plan`, because of `rules`, under `packs`, and not against `opinion`."""

    kind: ClassVar[str] = "decision/1"
    bytes_max: ClassVar[int] = 8 * 1024 * 1024  # 10,000 targets, and what is asked for each of 40,000 steps.

    plan: Digest
    request: PolicyRequest
    terms: Terms
    rules: tuple[RuleRef, ...]
    packs: tuple[PackRef, ...]
    errors: tuple[str, ...]
    reason: str
    opinion: Opinion | None = None


def terms_digest(terms: Terms) -> Digest:
    """Return the digest approvals and tickets name `terms` by."""
    return digest_of(encode(terms))
