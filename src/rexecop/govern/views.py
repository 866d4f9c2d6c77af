"""Views: pure functions over the records of an operation.

None makes a record, and none takes anybody's word for a status.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from rexecop.governance.errors import GovernanceError
from rexecop.operations.environment import Environment
from rexecop.operations.errors import InputRefused, OperationsError, PlanTooLarge
from rexecop.operations.fold import Operation
from rexecop.operations.machine import DRIVABLE, TRANSITIONS
from rexecop.operations.planning import PlanDraft, PlanRequest, compile_plan
from rexecop.operations.profile_model import Profile
from rexecop.proof.canonical import Digest, Json, load_json
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.decision import ApprovalRule
from rexecop.proof.vocabulary import Isolation, State, Verdict

PROPOSALS_MAX: Final = 32  # As many operations as one person looks through.
SOURCE: Final = "urn:rexecop:operation:"

# What an operation has to have before it can run, in its order.
ROLES: Final = ("intent", "plan", "decision", "ticket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """What a record is: kind and version, its place `n`, its digest, and the places of what it rests on."""

    kind: str
    version: int
    n: int
    digest: Digest
    rests_on: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far an operation is: `ready` to be driven, `blocked` and why, what is `missing`, what is `next`."""

    state: State
    ready: bool
    blocked: str | None
    missing: tuple[str, ...]
    approvals: tuple[ApprovalRule, ...]
    next: tuple[State, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A record as an event: the attributes of CloudEvents 1.0, with the record's bytes as its data."""

    id: Digest
    source: str
    type: str
    time: datetime
    sequence: int
    data: bytes


class Planner(Protocol):
    """Somebody outside who proposes what to do, often a model. A proposal is a wish: it grants nothing."""

    def propose(self, goal: str) -> Sequence[PlanRequest]:
        """Return the requests that would serve `goal`."""
        ...


def artifacts(records: Sequence[Sealed]) -> tuple[Artifact, ...]:
    """Return what each record of one operation is, in order.

    It rests on the records whose digests it names, `prev` aside, which only orders them.
    """
    places: dict[str, int] = {sealed.digest: sealed.record.n for sealed in records}
    found = []
    for sealed in records:
        body = load_json(sealed.body, bytes_max=len(sealed.body))
        assert isinstance(body, Mapping)
        named = _texts({key: value for key, value in body.items() if key != "prev"})
        kind, _, version = sealed.record.kind.partition("/")
        found.append(
            Artifact(
                kind=kind,
                version=int(version),
                n=sealed.record.n,
                digest=sealed.digest,
                rests_on=tuple(sorted({places[one] for one in named if one in places})),
            )
        )
    return tuple(found)


def change_order(records: Sequence[Sealed], changed: Digest) -> tuple[Artifact, ...]:
    """Return what would not hold any more if the record `changed` were another, in order.

    That is whatever rests on it, on what rests on it, and so on; a validation rests on all
    outcomes before it, a receipt on everything. Nothing where no record has that digest.
    """
    stale: set[int] = set()
    kinds: set[str] = set()
    order = []
    for item in artifacts(records):
        sums_up = (item.kind == "receipt" and stale) or (item.kind == "validation" and "outcome" in kinds)
        if sums_up or not stale.isdisjoint(item.rests_on):
            order.append(item)
        elif item.digest != changed:
            continue
        stale.add(item.n)
        kinds.add(item.kind)
    return tuple(order)


def standing(op: Operation) -> Standing:
    """Return how far `op` is."""
    has = {"intent": op.intent, "plan": op.plan, "decision": op.decision, "ticket": op.ticket}
    asked = op.decision is not None and op.terms.verdict is Verdict.APPROVAL_REQUIRED and op.ticket is None
    return Standing(
        state=op.state,
        ready=op.state in DRIVABLE,
        blocked=(op.reason or "denied") if op.state is State.BLOCKED else None,
        missing=tuple(role for role in ROLES if has[role] is None),
        approvals=op.missing_approvals() if asked else (),
        next=tuple(dict.fromkeys(TRANSITIONS[op.state].values())),
    )


def envelope(sealed: Sealed) -> Envelope:
    """Return `sealed` as an event; its id is its digest, so one record is one event."""
    record = sealed.record
    return Envelope(
        id=sealed.digest,
        source=SOURCE + record.operation,
        type=f"rexecop.{record.kind}",
        time=record.at,
        sequence=record.n,
        data=sealed.body,
    )


def proposed(
    requests: Sequence[PlanRequest],
    profile: Profile,
    environment: Environment,
    isolation: Mapping[Isolation, bool],
) -> tuple[PlanDraft, ...]:
    """Return what a planner's `requests` come to, each compiled as one of ours would be.

    Whether any may run is asked of policy when it is planned, by whoever submits it.

    Raises:
        PlanTooLarge: there are too many. InputRefused: two ask for the same.
        OperationsError: one is no plan; see `operations.planning.compile_plan`.
    """
    if len(requests) > PROPOSALS_MAX:
        raise PlanTooLarge(
            f"{len(requests)} requests are proposed, at most {PROPOSALS_MAX}", limit=PROPOSALS_MAX
        )
    for n, request in enumerate(requests):
        if request in requests[:n]:
            raise InputRefused(f"`{request.intent:.60}` on `{request.target:.60}` is proposed twice")
    return tuple(compile_plan(request, profile, environment, isolation) for request in requests)


def refusals() -> Mapping[str, str]:
    """Return every code by which a request can be refused here, and what it means in one line."""
    roots: tuple[type[RexecopError], ...] = (GovernanceError, OperationsError)
    found = [kind for root in roots for kind in (root, *_below(root))]
    return {kind.code: (kind.__doc__ or "").partition("\n")[0].rstrip(".") for kind in found}


def _below(kind: type[RexecopError]) -> Iterator[type[RexecopError]]:
    """Yield the kinds of error below `kind` that these layers have; the store's adapters have more."""
    for child in kind.__subclasses__():
        if child.__module__.startswith(("rexecop.governance.", "rexecop.operations.")):
            yield child
            yield from _below(child)


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | Sequence):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
