"""What the compilation of one request shares, and what it takes and yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from rexecop.operations.environment import Environment
from rexecop.operations.errors import IsolationUnavailable
from rexecop.operations.planning_calls import Bound, bind
from rexecop.operations.profile_model import IntentSpec, Profile, WorkflowSpec
from rexecop.operations.reading import listed
from rexecop.proof.canonical import Json
from rexecop.proof.records.intent import EnvironmentRef, ProfileRef
from rexecop.proof.records.plan import PlannedTarget, Step
from rexecop.proof.vocabulary import Effect, Isolation, Mode

STRENGTH: Final = (Isolation.BUBBLEWRAP, Isolation.LANDLOCK_SECCOMP, Isolation.RLIMITS, Isolation.NONE)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanRequest:
    """What somebody asks for."""

    intent: str
    target: str
    mode: Mode
    parameters: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDraft:
    """The fields of the intent and plan records that follow from the request alone."""

    profile: ProfileRef
    environment: EnvironmentRef
    intent: str
    target: str
    mode: Mode
    parameters: Mapping[str, Json] | None
    effect: Effect
    risk: str
    targets: tuple[PlannedTarget, ...]
    steps: tuple[Step, ...]
    notes: Mapping[str, Json] | None


@dataclass(slots=True, kw_only=True)
class Context:
    """Everything the compilation of one request shares."""

    request: PlanRequest
    profile: Profile
    environment: Environment
    intent: IntentSpec
    workflow: WorkflowSpec
    parameters: Mapping[str, Json]
    isolation: Mapping[Isolation, bool]
    several: bool
    bound: dict[str, Bound] = field(default_factory=dict)
    from_environment: dict[str, None] = field(default_factory=dict)

    def connector(self, name: str) -> Bound:
        """Return connector `name`, bound once for the whole plan."""
        found = self.bound.get(name)
        if found is None:
            found = self.bound[name] = bind(self.profile, self.environment, name)
        return found

    def reach(self, wanted: Isolation | None, where: str) -> Isolation:
        """Return the isolation class for a call: the one asked for, else the strongest reached.

        Raises:
            IsolationUnavailable: it was not reached on this machine.
        """
        if wanted is None:
            best = next((item for item in STRENGTH if self.isolation.get(item)), None)
            if best is None:
                raise IsolationUnavailable(
                    f"`{where}`: no isolation class was reached here; run `rexecop doctor`"
                )
            return best
        if not self.isolation.get(wanted):
            reached = listed(str(item) for item in STRENGTH if self.isolation.get(item))
            raise IsolationUnavailable(
                f"`{where}` asks for isolation `{wanted}`, which was not reached here; "
                f"reached: {reached or 'none'}",
                found=str(wanted),
                allowed=reached,
            )
        return wanted
