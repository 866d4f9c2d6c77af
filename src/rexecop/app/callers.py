"""Events over HTTP from callers who hold a token, each taken once, and what of them can be looked up.

That a caller may tell events, and whose rules decide about them, is an entry of `webhooks.yaml` that names
it. What these would plan is held to the caller's scope, and what is beyond that is kept nowhere. Else what
can be read and not planned lies among the dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from rexecop.app.door import Caller
from rexecop.app.errors import Forbidden, WebhookRefused, WebhooksRefused
from rexecop.app.events import SPACE, EventView, Told, claim_of, read_told, take_event
from rexecop.app.instance import Instance
from rexecop.app.paging import matter_of
from rexecop.app.root import Root
from rexecop.app.triggering import Inbox
from rexecop.app.unattended import Webhook, judged_by, root_webhooks
from rexecop.operations.errors import EventRefused, StoreError
from rexecop.operations.ports import Claim, Row
from rexecop.proof.canonical import Digest
from rexecop.proof.chain import unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.records.intent import Intent

LISTED_MAX: Final = 100
LOOKED_AT_MAX: Final = 200  # Operations one page looks through: half a millisecond each on a busy machine.
_ID_LENGTH: Final = len("sha256:") + 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """An event that could be read: its `id` here, and what became of it, or why nothing did."""

    id: str
    view: EventView | None = None
    refused: RexecopError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """An event and the operation it led to; `event` is the digest of what came, where that is known."""

    id: str
    event: Digest | None
    number: int
    operation: Row
    at: datetime


def hook_of(instance: Instance, caller: str) -> Webhook:
    """Return what the root says of events of `caller`.

    Raises:
        WebhookRefused: it may tell none. RootUnsafe, WebhooksRefused: the file cannot be followed.
    """
    for hook in root_webhooks(Root(instance.settings.root)).values():
        if hook.caller == caller:
            return hook
    words = f"no webhook names the caller `{caller:.60}`, so it tells no events here"
    raise WebhookRefused(words, status=403)


async def tell_events(instance: Instance, caller: Caller, bodies: Sequence[bytes]) -> tuple[Taken, ...]:
    """Let the events in `bodies`, one CloudEvent each, be decided about in turn; all are read before.

    Raises:
        WebhookRefused: the caller may tell none. EventRefused: one of them is no event; none was taken.
        WebhooksRefused: whose rules decide cannot be read.
        StoreError: the ledger cannot be written; those before it were taken and are dropped when told again.
    """
    hook = hook_of(instance, caller.name)
    told = [_read(instance, hook, body, n, len(bodies)) for n, body in enumerate(bodies)]
    return tuple([await _take(instance, caller, one) for one in told])


def _read(instance: Instance, hook: Webhook, body: bytes, n: int, of: int) -> Told:
    profile, env, catalog = judged_by(instance.settings.root, hook)
    try:
        told = read_told(body, profile, env, catalog=catalog, start=hook.start)
    except EventRefused as error:
        if of == 1:
            raise
        field = str(error.facts.get("field", "event"))
        raise EventRefused(f"event {n} of the batch: {error.message}", field=field) from error
    if told is None or (told.profile, told.env, told.catalog, told.start) != (
        profile,
        env,
        catalog,
        hook.start,
    ):
        raise EventRefused(f"event {n} is no CloudEvent as JSON", field="specversion")
    return told


async def _take(instance: Instance, caller: Caller, told: Told) -> Taken:
    try:
        key = claim_of(instance, told).key
    except RexecopError as error:  # Nobody can decide about it now; it may be told again.
        raise WebhooksRefused(f"the webhook of `{caller.name:.60}`: {error.message}") from error
    scope = None if caller.scope.everything else caller.scope
    told = replace(told, delivery=_delivery(caller.name, key), scope=scope)
    try:
        return Taken(id=key, view=await take_event(instance, told))
    except StoreError:
        raise
    except Forbidden as error:
        return Taken(id=key, refused=error)  # Who looked through dead letters might plan it all the same.
    except RexecopError as error:
        Inbox(instance).bury(f"events:{caller.name}", told.letter, error)
        return Taken(id=key, refused=error)


def _delivery(caller: str, key: str) -> str:
    return f"event:{caller}:{key}"


# --- what can be looked up ---


def event_called(instance: Instance, caller: Caller, key: str) -> Planned | str | None:
    """Return the event known as `key`: what it led to, its id where that was no plan, None without one.

    What led to something beyond the caller's scope is none.

    Raises:
        WebhookRefused: the caller may tell no events, and so look none up.
    """
    hook_of(instance, caller.name)
    store = instance.parts.world.store
    operation = store.claimed(Claim(space=SPACE, key=key)) if len(key) == _ID_LENGTH else None
    if operation is None or operation == instance.parts.ledger.instance_id:
        return None if operation is None else key
    number, row = store.row(operation)
    return _planned(instance, key, number, row) if caller.scope.covers(matter_of(row)) else None


def events_of(
    instance: Instance, caller: Caller, before: int, limit: int
) -> tuple[list[Planned], int | None]:
    """Return events of `caller` that led to plans, newest first, and below which number the next are found.

    Looked through are so many operations at a time, so a page may hold few or none; `before` 0 begins.

    Raises:
        WebhookRefused: as `event_called`. OperationsError: its profile cannot be read.
    """
    rules = judged_by(instance.settings.root, hook_of(instance, caller.name))[0]
    profile, found = instance.parts.planner.profile(rules).name, list[Planned]()
    rows = instance.parts.world.store.rows(after=before, limit=LOOKED_AT_MAX)
    for number, row in rows:
        seen = row.profile == profile and caller.scope.covers(matter_of(row))
        intent = _intent(instance, row.operation) if seen else None
        key = (intent.idempotency_key or "") if intent is not None else ""
        if key == _delivery(caller.name, key[-_ID_LENGTH:]):
            found.append(_planned(instance, key[-_ID_LENGTH:], number, row))
            if len(found) == limit:
                return found, number
    return found, rows[-1][0] if len(rows) == LOOKED_AT_MAX else None


def _planned(instance: Instance, key: str, number: int, row: Row) -> Planned:
    intent = _intent(instance, row.operation)
    event = None if intent is None else intent.origin.event
    return Planned(id=key, event=event, number=number, operation=row, at=row.created)


def _intent(instance: Instance, operation: str) -> Intent | None:
    """Return the first record of an operation, read alone; None where it is damaged."""
    ledger = instance.parts.ledger
    with suppress(RexecopError):
        record = unseal(ledger.body_at(ledger.leaf_of(operation, 0))).record
        return record if isinstance(record, Intent) else None
    return None
