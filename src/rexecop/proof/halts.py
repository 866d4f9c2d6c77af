"""Which halts stand, and what each of them stops: a fold over `halt` records."""

from __future__ import annotations

from collections.abc import Iterable

from rexecop.proof.chain import Sealed
from rexecop.proof.records.instance import Halt
from rexecop.proof.records.intent import Intent
from rexecop.proof.records.plan import Plan
from rexecop.proof.times import format_time
from rexecop.proof.vocabulary import HaltScope


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


def stops(halt: Halt, intent: Intent, plan: Plan) -> bool:
    """Return whether `halt` stops the operation of `intent` and `plan`: any of its targets is enough."""
    names: dict[HaltScope, set[str | None]] = {
        HaltScope.ALL: {None},
        HaltScope.TARGET: {*(target.id for target in plan.targets)},
        HaltScope.GROUP: {*(group for target in plan.targets for group in target.groups)},
        HaltScope.INTENT: {intent.intent, f"{intent.profile.name}/{intent.intent}"},
        HaltScope.ENVIRONMENT: {intent.environment.id},
        HaltScope.REQUESTER: {intent.by.person, intent.sponsor},
    }
    return halt.name in names[halt.scope]


def words(halt: Halt) -> str:
    """Return a halt in words, for a person."""
    scope = str(halt.scope) if halt.name is None else f"{halt.scope}:{halt.name}"
    return f"halted ({scope}) by {halt.by.person} at {format_time(halt.at)}: {halt.reason}"
