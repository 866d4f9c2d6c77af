"""What follows by itself from what a triggered operation observed: the plan of a reaction, never its start.

The promise of it lies on the board before the operation is stored, under the id that this gets, so that no
crash loses it. That it was kept is a note in the operation's records, of which several workers write one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

from rexecop.app.escalations import Escalation, settle
from rexecop.app.profiles import lasting_name
from rexecop.engines.session import Session
from rexecop.operations.errors import (
    AppendConflict,
    ClaimTaken,
    OperationUnknown,
    StoreUnavailable,
    StoreUncertain,
)
from rexecop.operations.fold import Operation
from rexecop.operations.machine import TERMINAL
from rexecop.operations.ports import Ledger
from rexecop.operations.reactions import NOTED, observed_targets
from rexecop.proof.codec import decode, encode
from rexecop.proof.errors import RexecopError
from rexecop.proof.reaction import Observation
from rexecop.proof.records.instance import Note

if TYPE_CHECKING:
    from rexecop.app.instance import Instance
    from rexecop.app.reacting import ReactionView

KIND: Final = "auto-react"
UNPLANNED_MAX: Final = timedelta(hours=1)  # Whoever promised and planned nothing for so long died in between.
SHOWN_MAX: Final = 16  # Targets in one note; of the others there is the count.
# With these nothing is wrong with what was asked: it is asked again at the next look.
AGAIN: Final = (StoreUnavailable, StoreUncertain, AppendConflict, ClaimTaken)
TRIES_MAX: Final = 4  # To note it: people may act on the operation meanwhile.


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """By which profile and in which environment, both as they are found from anywhere, something follows."""

    kind: ClassVar[str] = "auto-react/1"

    profile: str
    env: str
    at: datetime


def promise(instance: Instance, operation: str, profile: str, env: str) -> None:
    """Let what follows from `operation`, which is not stored yet, be planned when it ended.

    Raises:
        ProfileUnknown: there is no such profile. StoreUnavailable: nothing can be written.
    """
    world = instance.parts.world
    made = Promise(profile=lasting_name(profile), env=str(Path(env).absolute()), at=world.clock.now())
    world.store.post(KIND, operation, encode(made))


def withdraw(instance: Instance, operation: str) -> None:
    """Nothing follows from `operation`: there is none, or policy blocked it."""
    instance.parts.world.store.post(KIND, operation, None)


def due(instance: Instance) -> tuple[str, ...]:
    """Return the operations that ended and whose promise was not kept; forget those that never were."""
    world, found = instance.parts.world, []
    for operation, body in world.store.posted(KIND):
        try:
            state = world.store.row(operation)[1].state
        except OperationUnknown:
            if world.clock.now() - decode(Promise, body).at > UNPLANNED_MAX:
                withdraw(instance, operation)
            continue
        if state in TERMINAL:
            found.append(operation)
    return tuple(found)


async def follow(instance: Instance, operation: str) -> None:
    """Plan what follows from `operation` where that was promised and it ended; note what came of it, once.

    Raises:
        StoreError: the ledger cannot be written, or others write too much; the promise stands.
    """
    store = instance.parts.world.store
    body = dict(store.posted(KIND)).get(operation)
    op = None if body is None else instance.operation(operation)
    if body is None or op is None or op.state not in TERMINAL or op.receipt_due:
        return
    said = None if _is_noted(store, operation) else await _said(instance, op, decode(Promise, body))
    for _ in range(TRIES_MAX):
        # Loaded before it is looked for: who notes it after that makes the append a conflict.
        session = Session.load(store, instance.parts.world.clock, operation)
        if said is None or _is_noted(store, operation):
            break
        session.add(Note, topic=NOTED, text=said)
        try:
            await session.flush()
        except AppendConflict:
            continue
        break
    else:
        return
    withdraw(instance, operation)


def _is_noted(ledger: Ledger, operation: str) -> bool:
    notes = (sealed.record for sealed in ledger.journal(operation).records)
    return any(isinstance(one, Note) and one.topic == NOTED and one.text.startswith(KIND) for one in notes)


async def _said(instance: Instance, op: Operation, found: Promise) -> str:
    """Plan what follows from `op`, and return what came of it in words."""
    from rexecop.app.reacting import Reacting

    reacting, lines = Reacting(instance), []
    profile = instance.parts.world.contents.profile(op.the_intent.profile.digest)
    for target in observed_targets(op, profile) or (op.the_intent.target,):
        seen = None
        try:
            seen = reacting.observation(op.id, target)
            view = await reacting.plan(seen, found.profile, found.env)
        except AGAIN:
            raise
        except RexecopError as error:
            lines.append(f"{target}: nothing follows: error[{error.code}]: {error.message}")
            if seen is not None:  # Else nothing was observed, as the operation says itself.
                _leave(instance, op, seen, lines[-1])
        else:
            lines.append(f"{target}: {_in_words(view)}")
    more = [f"and {len(lines) - SHOWN_MAX} more targets"] if len(lines) > SHOWN_MAX else []
    return f"{KIND}: " + "\n".join([*lines[:SHOWN_MAX], *more])


def _in_words(view: ReactionView) -> str:
    if view.child is not None:
        return f"{view.reaction_id} planned operation {view.child.number}, {view.intent}: {view.child.state}"
    rule = next((one.rule for one in view.findings if one.decides), "")
    return f"{view.outcome} by rule {rule}{f': {view.why}' if view.why else ''}"


def _leave(instance: Instance, op: Operation, seen: Observation, text: str) -> None:
    """Leave to people that what follows from `seen` could not be planned."""
    world, target = instance.parts.world, seen.source.target_id
    now, at = world.clock.now(), seen.observed_at
    found = Escalation(operation=op.id, target=target, observed=at, since=now, text=text)
    settle(world.store, op, found)
