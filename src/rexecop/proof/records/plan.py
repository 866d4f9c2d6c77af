"""`plan/1`: what would run. A plan leaves nothing to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from rexecop.proof.call import Call, Limits, Slot
from rexecop.proof.canonical import Digest, Json
from rexecop.proof.codec import PLAN_RECORD_BYTES_MAX
from rexecop.proof.message import Scalar
from rexecop.proof.records.base import Record
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.vocabulary import Effect, Grade, Isolation


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTarget:
    """A resolved target; `connection` commits to its connection configuration."""

    id: str
    type: str
    criticality: str
    groups: tuple[str, ...] = ()
    connection: Digest | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """Facts a change rests on: outcome `observation` of operation `operation`."""

    operation: str
    observation: Digest
    facts: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Up to `attempts` tries in all for failures whose class is in `on`.

    They are `delay_ms` apart, or with `delay_max_ms` twice as long each time, up to that.
    """

    attempts: int
    on: tuple[str, ...]
    delay_ms: int = 0
    delay_max_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A fact that must hold: `fact` of step `step` equals `equals`."""

    step: str
    fact: str
    equals: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A fact that decides whether a step is done at all: `fact` of step `step`.

    It is one of `among`, or with `other` none of them, and a number from `least` to `most`.
    """

    step: str
    fact: str
    among: tuple[Scalar, ...] = ()
    other: bool = False
    least: int | None = None
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to find out whether a call happened: it did if `fact` of the probe equals `equals`."""

    call: Call
    normalizer: str
    fact: str
    equals: Scalar


@dataclass(frozen=True, slots=True, kw_only=True)
class CallStep:
    """A step that makes one call: a template, its bounds, and how to undo and probe it.

    `asks` are the approvals needed just before the call, beside what policy asks for, and
    `attest` the classes of attestation of which its target must be one; none: any will do.
    It is done only `when` all of that holds, and left out where a step it needs was left
    out, unless it `goes_on` then.
    """

    kind: ClassVar[str] = "call-step/1"

    id: str
    target: str
    call: Call
    limits: Limits
    isolation: Isolation
    idempotent: bool
    grade: Grade | None = None
    needs: tuple[str, ...] = ()
    slots: Mapping[str, Slot] | None = None
    retry: Retry | None = None
    normalizer: str | None = None
    precondition: Expectation | None = None
    postcondition: Expectation | None = None
    probe: Probe | None = None
    undo: Call | None = None
    pause_safe: bool = False
    continue_on_error: bool = False
    asks: tuple[ApprovalRule, ...] = ()
    attest: tuple[str, ...] = ()
    when: tuple[Guard, ...] = ()
    goes_on: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveStep:
    """A step that only computes: `normalizer` over the outputs of the steps it needs."""

    kind: ClassVar[str] = "derive-step/1"

    id: str
    target: str
    normalizer: str
    needs: tuple[str, ...]


Step = CallStep | DeriveStep


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How the work goes from target to target: in waves, one after the other.

    `waves` says how many of the plan's targets, in their order, each wave has, and at most
    `targets_max` of one wave are under way at one time. Once `stop_after` targets failed,
    nothing more begins; with `canary` one of the first wave is enough. `check` names the
    step that looks at every target of a wave when all its other work is done; one that fails
    stops too. With `undo`, what was done in the wave that stopped is undone, and nothing else.
    """

    waves: tuple[int, ...]
    targets_max: int
    stop_after: int
    canary: bool = False
    check: str | None = None
    undo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledIntent:
    """An intent that the plan calls: the steps whose ids begin with `prefix/` carry it out on `targets`.

    One that is called in the course of another has a prefix that goes on from that of the other.
    """

    prefix: str
    intent: str
    targets: tuple[str, ...]
    effect: Effect
    risk: str
    parameters: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedProfile:
    """That key `fingerprint` signed `digest`, that of the profile; the digest of its bytes is `signature`.

    `person` published profiles by that key when it was planned; None: nobody who was enrolled.
    """

    fingerprint: str
    digest: Digest
    signature: Digest
    person: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Record):
    """The ordered steps for `intent` on the resolved `targets`.

    `pinned` is None when no observed fact backs the plan: *nothing pinned*, `signed` where no
    signature fits the profile. Of one target
    (without `rollout`: of all) up to `parallel` steps are under way at one time, each once
    the steps it needs have ended; with 1 they run in their order. Where it calls other intents
    without a `rollout`, it is for the first of its targets; on the others only what it calls works.
    """

    kind: ClassVar[str] = "plan/1"
    bytes_max: ClassVar[int] = PLAN_RECORD_BYTES_MAX

    intent: Digest
    profile: Digest
    environment: Digest
    effect: Effect
    risk: str
    targets: tuple[PlannedTarget, ...]
    steps: tuple[Step, ...]
    pinned: Pinned | None = None
    undo_until: datetime | None = None
    notes: Mapping[str, Json] | None = None
    parallel: int = 1
    rollout: Rollout | None = None
    called: tuple[CalledIntent, ...] = ()
    signed: SignedProfile | None = None
