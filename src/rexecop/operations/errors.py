"""Errors of planning, running and storing operations.

RexecopError
└── OperationsError
    ├── InputRefused                 a file or value that is not what its format says
    │   ├── ProfileRefused
    │   ├── EnvironmentRefused
    │   ├── GatewayRefused
    │   │   ├── SecretInline             a secret written out instead of referred to
    │   │   └── PolicyPackUnsupported
    │   ├── CatalogRefused
    │   ├── ParameterRefused
    │   ├── EventRefused
    │   ├── ObservationRefused           nothing was observed that a reaction could rest on
    │   └── ProposalRefused              what is proposed is not what a proposal may be
    ├── PlanRefused                  the request cannot become a plan
    │   ├── ProfileUnknown  IntentUnknown  TargetUnknown  ModeRefused
    │   ├── ConnectorRefused             not configured, disabled, or another shape than declared
    │   ├── CommandGuarded               a command no read may be
    │   ├── LaneUnavailable              nothing here can make the call
    │   ├── BackendRefused               an installed package would make the call, unseen
    │   ├── IsolationUnavailable         the isolation asked for was not reached here
    │   ├── InternalActionUnknown
    │   ├── NotApplicable                a catalog says that it is not for this target
    │   └── PlanTooLarge
    ├── PlanDrifted                  another plan would come of what it was planned from
    │   └── CatalogDrifted               the same, as a catalog named it
    ├── OperationUnknown
    ├── IllegalMove                  an event that has no place in the state's table
    └── StoreError                   the only errors that cross the store's port
        ├── AppendConflict  ClaimTaken  LockHeld (CapacityFull)  LeaseHeld
        ├── StoreUnavailable             nothing was written
        ├── StoreUncertain               it may have been written; stop appending
        └── InputMissing                 pinned bytes are not there, or are others
"""

from __future__ import annotations

from collections.abc import Sequence

from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import State


def one_line(text: str) -> str:
    """Return `text` with everything that does not print on a line escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text
    )


class OperationsError(RexecopError):
    """An operation cannot be planned, moved or stored. What it quotes stays on one line."""

    code = "operations-error"

    def __init__(self, message: str, *, next_steps: tuple[str, ...] = (), **facts: str | int | None) -> None:
        shown = {key: one_line(value) if isinstance(value, str) else value for key, value in facts.items()}
        super().__init__(one_line(message), next_steps=next_steps, **shown)


class InputRefused(OperationsError):
    """A file or value is not what its format says.

    Facts, where known: `file`, `line`, `field`, `found`, `allowed`.
    """

    code = "input-refused"


class ProfileRefused(InputRefused):
    """A profile file breaks its format, or the files do not fit one another."""

    code = "profile-refused"


class GatewayRefused(InputRefused):
    """The file of a gateway breaks its format, or is not accepted as it is now."""

    code = "gateway-refused"


class EnvironmentRefused(InputRefused):
    """An environment file breaks its format."""

    code = "environment-refused"


class ObservationRefused(InputRefused):
    """Nothing was observed that a reaction could rest on, or something else than is said."""

    code = "observation-refused"


class ProposalRefused(InputRefused):
    """What is proposed is not what a proposal may be."""

    code = "proposal-refused"


class SecretInline(EnvironmentRefused):
    """A secret stands in a file where a reference belongs; the value is never repeated."""

    code = "secret-inline"


class PolicyPackUnsupported(EnvironmentRefused):
    """The environment carries policy rules in a form that cannot be enforced here."""

    code = "policy-pack-unsupported"


class CatalogRefused(InputRefused):
    """A catalog of targets breaks its format, or says otherwise than what it refers to."""

    code = "catalog-refused"


class ParameterRefused(InputRefused):
    """A parameter is missing, unknown, or outside what the intent allows."""

    code = "parameter-refused"


class EventRefused(InputRefused):
    """What came is no event, or one of another time, or says too little."""

    code = "event-refused"


class PlanRefused(OperationsError):
    """The request cannot become a plan."""

    code = "plan-refused"


class ProfileUnknown(PlanRefused):
    """No profile has that name or path."""

    code = "profile-unknown"


class IntentUnknown(PlanRefused):
    """The profile declares no such intent."""

    code = "intent-unknown"


class TargetUnknown(PlanRefused):
    """The environment declares no such target."""

    code = "target-unknown"


class ModeRefused(PlanRefused):
    """The intent or its effect does not go with the mode."""

    code = "mode-refused"


class ConnectorRefused(PlanRefused):
    """A connector is missing, disabled, or configured in another shape than declared."""

    code = "connector-refused"


class CommandGuarded(PlanRefused):
    """The command is one that cannot be trusted to be what its effect class says."""

    code = "command-guarded"


class LaneUnavailable(PlanRefused):
    """No lane here can make the calls of a connector."""

    code = "lane-unavailable"


class BackendRefused(PlanRefused):
    """A connector is reached by code of an installed package, which makes calls that no permit names."""

    code = "backend-refused"


class IsolationUnavailable(PlanRefused):
    """The isolation class asked for was not reached on this machine."""

    code = "isolation-unavailable"


class InternalActionUnknown(PlanRefused):
    """An internal step names neither a normalizer of the profile nor a built-in marker."""

    code = "internal-action-unknown"


class PlanTooLarge(PlanRefused):
    """Steps times targets are more than one plan holds."""

    code = "plan-too-large"


class NotApplicable(PlanRefused):
    """A catalog says that the operation is not for this target; `status` says why."""

    code = "not-applicable"


class PlanDrifted(OperationsError):
    """Another plan would come of what the operation was planned from; it is not started."""

    code = "plan-drifted"


class CatalogDrifted(PlanDrifted):
    """What the operation was planned from, as a catalog named it, is another now; it is not started."""

    code = "catalog-drifted"


class OperationUnknown(OperationsError):
    """No operation has that id, prefix or number."""

    code = "operation-unknown"


class IllegalMove(OperationsError):
    """`event` has no place in the table for an operation that is `state`."""

    code = "illegal-move"

    def __init__(
        self, *, state: State, event: str, allowed: Sequence[str], next_steps: tuple[str, ...] = ()
    ) -> None:
        possible = ", ".join(f"`{name}`" for name in allowed) or "nothing"
        super().__init__(
            f"an operation that is `{state}` cannot become `{event}`; possible: {possible}",
            next_steps=next_steps,
            state=str(state),
            event=str(event),
            allowed=", ".join(allowed),
        )
        self.state = state
        self.event = event
        self.allowed = tuple(allowed)


class NothingToUndo(OperationsError):
    """No step took effect that the plan says how to undo."""

    code = "nothing-to-undo"


class NothingToReview(OperationsError):
    """No review of the operation is due."""

    code = "nothing-to-review"


class StoreError(OperationsError):
    """The ledger refused or failed."""

    code = "store-error"


class AppendConflict(StoreError):
    """The operation has another number of records than expected, or the fence is old."""

    code = "append-conflict"


class ClaimTaken(StoreError):
    """Something that may be used once was used already."""

    code = "claim-taken"


class LockHeld(StoreError):
    """Another operation holds a lock on the target."""

    code = "lock-held"


class CapacityFull(LockHeld):
    """As many operations run as may at one time."""

    code = "capacity-full"


class LeaseHeld(StoreError):
    """Another live runner drives the operation."""

    code = "lease-held"


class StoreUnavailable(StoreError):
    """The ledger cannot be read or written; nothing was written."""

    code = "store-unavailable"


class StoreUncertain(StoreError):
    """A flush failed: the batch may or may not be there, and this process must stop appending."""

    code = "store-uncertain"


class InputMissing(StoreError):
    """A pinned input is not stored, or its bytes are not those its digest names."""

    code = "input-missing"
