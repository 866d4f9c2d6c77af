"""Which halts stand, and what each of them stops: a fold over `halt` records."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

from rexecop.proof.chain import Sealed
from rexecop.proof.records.decision import PolicyRequest, RequestTarget
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan, PlannedTarget
from rexecop.proof.request import parts_of
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import HaltScope

Name: TypeAlias = tuple[HaltScope, str | None]


def standing(records: Iterable[Sealed]) -> tuple[Halt, ...]:
    """Return the halts that were not lifted, in order; lifting one lifts all of its scope and name."""
    found: list[Halt] = []
    for record in (sealed.record for sealed in records):
        if isinstance(record, Halt):
            if record.lifted:
                found = [one for one in found if (one.scope, one.name) != (record.scope, record.name)]
            else:
                found.append(record)
    return tuple(found)


def stopping(halts: Sequence[Halt], intent: Intent, plan: Plan) -> Halt | None:
    """Return the first of `halts` that stops the operation of `intent` and `plan`; one target is enough."""
    return first_of(halts, names_of(intent, plan) if halts else frozenset())


def first_of(halts: Iterable[Halt], names: Collection[Name]) -> Halt | None:
    """Return the first of `halts` whose scope and name are among `names`."""
    return next((halt for halt in halts if (halt.scope, halt.name) in names), None)


def stopping_request(halts: Iterable[Halt], request: PolicyRequest) -> Halt | None:
    """Return the first of `halts` that would stop what `request` asks about."""
    who = (request.principal.person, request.sponsor)
    names = frozenset[Name]().union(
        *(_names(one.targets, one.profile, (one.intent,), one.environment, who) for one in parts_of(request))
    )
    return next((halt for halt in halts if (halt.scope, halt.name) in names), None)


def names_of(intent: Intent, plan: Plan) -> frozenset[Name]:
    """Return scope and name of each halt that stops the operation of `intent` and `plan`."""
    intents = (intent.intent, *(one.intent for one in plan.called))
    who = (intent.by.person, intent.sponsor)
    return _names(plan.targets, intent.profile.name, intents, intent.environment.id, who)


def _names(
    targets: Sequence[PlannedTarget | RequestTarget],
    profile: str,
    intents: Sequence[str],
    environment: str,
    requesters: Iterable[str | None],
) -> frozenset[Name]:
    names: dict[HaltScope, set[str | None]] = {
        HaltScope.ALL: {None},
        HaltScope.TARGET: {*(target.id for target in targets)},
        HaltScope.GROUP: {*(group for target in targets for group in target.groups)},
        HaltScope.INTENT: {*intents, *(f"{profile}/{intent}" for intent in intents)},
        HaltScope.ENVIRONMENT: {environment},
        HaltScope.REQUESTER: {*filter(None, requesters)},
    }
    return frozenset((scope, name) for scope, found in names.items() for name in found)


def words(halt: Halt) -> str:
    """Return a halt in words, for a person."""
    scope = str(halt.scope) if halt.name is None else f"{halt.scope}:{halt.name}"
    return f"halted ({scope}) by {halt.by.person} at {format_time(halt.at)}: {halt.reason}"
