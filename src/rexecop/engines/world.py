"""What a driver works with: the store, the lanes, who may what, the clock, who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from rexecop.engines.asking import Opinions
from rexecop.engines.rereading import Observe
from rexecop.engines.telling import Notices
from rexecop.governance.admission import Policy
from rexecop.governance.windows import Schedule
from rexecop.lanes.port import Lane
from rexecop.lanes.targets import Quota
from rexecop.operations.gathering import Site
from rexecop.operations.handlers import Handlers
from rexecop.operations.ports import Clock, Ids, Store
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import Sealed
from rexecop.proof.records.instance import Halt
from rexecop.proof.signer import Signer
from rexecop.proof.trust import Enrolment


class Authority(Protocol):
    """What the root says about who may: read afresh when it changed. `instance` names its own chain."""

    instance: str

    def policy(self, profile: Digest | None = None, environment: Digest | None = None) -> Policy:
        """Return the policy packs in force now for operations of `profile` in `environment`."""
        ...

    def enrolments(self) -> tuple[Enrolment, ...]:
        """Return the keys this instance trusts."""
        ...

    def halts(self, size: int | None = None) -> tuple[Halt, ...]:
        """Return the halts that stand, as the ledger says at this moment.

        `size` is how many records the instance has, where that was asked just now.
        """
        ...

    def trust_records(self) -> tuple[Sealed, ...]:
        """Return the instance's own records."""
        ...


class Contents(Protocol):
    """Pinned inputs, parsed."""

    def profile(self, digest: Digest) -> Profile:
        """Return the profile pinned under `digest`."""
        ...

    def schedule(self, environment: Digest) -> Schedule:
        """Return the windows and freezes of the environment pinned under `environment`."""
        ...

    def concurrent_max(self, environment: Digest) -> int | None:
        """Return how many changing operations that environment lets run at one time, None for any."""
        ...

    def site(self, environment: Digest, target: str) -> Site:
        """Return what that environment says of `target`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a driver works with, wired once by `app`."""

    store: Store
    lanes: Mapping[str, Lane]
    authority: Authority
    contents: Contents
    clock: Clock
    ids: Ids
    signing: Callable[[], Signer]
    runner: str
    permit_seconds: int
    sound: Callable[[], None]  # Raises where nothing that changes something may begin.
    quota: Quota = field(default_factory=Quota)
    opinions: Opinions | None = None  # None: nobody outside is asked.
    notices: Notices | None = None  # None: nobody is told anything.
    observe: Observe | None = None  # Without it no change that rests on pinned facts is made.
    handlers: Handlers | None = None  # None: no handler in Python is run.
    capacity: int | None = None  # How many operations run at one time; None for any number.

    @property
    def signer(self) -> Signer:
        """Who signs for the instance now: its key may be replaced while others run."""
        return self.signing()
