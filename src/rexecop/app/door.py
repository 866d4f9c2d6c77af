"""Who calls the service, what they may do there, and the door that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Protocol

from rexecop.app.identity import Identity


class ServiceRole(StrEnum):
    """What somebody is at the service; one caller may be several. It grants nothing that policy denies."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    AUDITOR = "auditor"
    ADMIN = "admin"
    AGENT = "agent"
    GATEWAY = "gateway"  # A system that asks for decisions and tells events, as callers of `authzen.yaml` do.


class Act(StrEnum):
    """What a route does, as far as the door is concerned."""

    VIEW = "view"  # operations, targets, intents, queue, windows; outputs are cut as everywhere
    PLAN = "plan"  # record a request with its plan; `why` before that
    RUN = "run"  # start, resume, retry, pause, cancel, rollback, escalate, reconcile
    APPROVE = "approve"  # hand in a signed answer; say yes or no oneself where policy lets sessions approve
    EVIDENCE = "evidence"  # bundles, reports, the log
    TELL = "tell"  # events
    DECIDE = "decide"  # AuthZEN evaluations
    ADMINISTER = "administer"  # halt and lift, drain the queue
    METRICS = "metrics"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """What an act is about, where it is about one thing."""

    intent: str  # PROFILE/INTENT
    target: str
    environment: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceScope:
    """What somebody's acts may be about: patterns as of `fnmatch`; what is not named is not bounded."""

    intents: tuple[str, ...] = ("*",)
    targets: tuple[str, ...] = ("*",)
    environments: tuple[str, ...] = ("*",)

    @property
    def everything(self) -> bool:
        """Whether nothing is out of it."""
        return all("*" in patterns for patterns in (self.intents, self.targets, self.environments))

    def covers(self, matter: Matter) -> bool:
        """Return whether `matter` is within this, in all three; of several targets each has to be."""
        asked = (
            (matter.intent, self.intents),
            *((name, self.targets) for name in matter.target.split(",")),
            (matter.environment, self.environments),
        )
        return all(any(fnmatchcase(value, pattern) for pattern in patterns) for value, patterns in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who was let in: as whom their requests are recorded; an agent names its human `sponsor`."""

    identity: Identity
    roles: frozenset[ServiceRole]
    scope: ServiceScope
    sponsor: str | None = None

    @property
    def name(self) -> str:
        """Their name, as records have it."""
        return self.identity.principal.person


class Door(Protocol):
    """Lets callers in and says what they may."""

    def caller(self, headers: Mapping[str, str], peer: str | None) -> Caller:
        """Return who sent a request with `headers` (names in lower case) from the address `peer`.

        Raises:
            CallerUnknown: nobody who may.
        """
        ...

    def require(self, caller: Caller, act: Act, matter: Matter | None = None) -> None:
        """Return only if `caller` may do `act`, about `matter` where it is about one thing.

        Raises:
            Forbidden: he may not; or the matter is none of his business, which reads as if it did not exist.
        """
        ...
