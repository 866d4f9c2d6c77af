"""What reactions and programs left to people, until somebody reviewed it or a newer look found all well.

It stands on the board of the root, and is no record: the same follows from the records again whenever it is
asked for. What a person found in a reaction is noted in the operation that looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, Final

from rexecop.engines.session import Session
from rexecop.engines.world import World
from rexecop.operations.fold import Operation
from rexecop.operations.ports import Ledger, Store
from rexecop.operations.reactions import NOTED
from rexecop.proof.canonical import Digest, canonical_bytes, digest_of
from rexecop.proof.codec import decode, encode
from rexecop.proof.principal import Principal
from rexecop.proof.records.instance import Note

BOARD: Final = "escalation"
PROPOSED: Final = "proposal-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """What `operation` observed of `target` at `observed` needs a person, since `since`; `text` says why.

    Without `reaction` a reaction should have been planned, and could not be. Once `closed` it needs nobody.
    """

    kind: ClassVar[str] = "escalation/1"

    operation: str
    target: str
    observed: datetime
    since: datetime
    text: str
    reaction: str | None = None
    closed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenProposal:
    """A proposal that was handed in and that nobody decided about: its digest, id, and `text` as it came."""

    kind: ClassVar[str] = "open-proposal/1"

    proposal: Digest
    name: str
    suggests: str
    profile: str
    text: str
    by: str
    at: datetime


def standing(ledger: Ledger) -> Iterator[Escalation]:
    """Yield what waits for a person."""
    return (one for _, one in _posted(ledger) if not one.closed)


def left_by(ledger: Ledger, reaction: str) -> Escalation | None:
    """Return what `reaction` left to people, closed or not; None where a newer look took its place."""
    return next((one for _, one in _posted(ledger) if one.reaction == reaction), None)


def settle(store: Store, op: Operation, found: Escalation, *, over: bool = False) -> None:
    """Let `found` be what is left to people of what `op` observed; with `over` nothing is, any more.

    An older look than the one that stands changes nothing, and what a person reviewed stays so.
    """
    intent = op.the_intent
    key = canonical_bytes([intent.profile.name, intent.environment.id, intent.intent, found.target])
    name = digest_of(key).removeprefix("sha256:")
    known = dict(_posted(store)).get(name)
    if known is None:
        if not over:
            store.post(BOARD, name, encode(found))
        return
    same = (known.operation, known.reaction) == (found.operation, found.reaction)
    if known.observed > found.observed or (same and not over):
        return
    since = found.since if known.closed else known.since
    # What is over stays there, closed: an older look that is asked about later must not bring it back.
    store.post(BOARD, name, encode(replace(found, since=since, closed=over)))


def close(store: Store, meant: Callable[[Escalation], bool]) -> bool:
    """Take down what is `meant` and return whether there was any; the same does not come up again."""
    found = [(name, one) for name, one in _posted(store) if meant(one) and not one.closed]
    for name, one in found:
        store.post(BOARD, name, encode(replace(one, closed=True)))
    return bool(found)


async def review(world: World, operation: str, by: Principal, reason: str) -> Session | None:
    """Note what `by` found in what `operation` left to people, and take it down; None where it left nothing.

    Raises:
        AppendConflict: something else was recorded meanwhile.
    """
    if not any(one.operation == operation for one in standing(world.store)):
        return None
    session = Session.load(world.store, world.clock, operation)
    session.add(Note, by, topic=NOTED, text=f"reviewed: {reason}")
    await session.flush()
    close(world.store, lambda one: one.operation == operation)
    return session


def proposals_open(ledger: Ledger) -> list[OpenProposal]:
    """Return the proposals that wait for a person, oldest first."""
    found = [decode(OpenProposal, body) for _, body in ledger.posted(PROPOSED)]
    return sorted(found, key=lambda one: (one.at, one.proposal))


def _posted(ledger: Ledger) -> list[tuple[str, Escalation]]:
    return [(name, decode(Escalation, body)) for name, body in ledger.posted(BOARD)]
