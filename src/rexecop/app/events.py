"""Events at a root: what the trigger rules of a profile make of them, each once, with its cooldown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from rexecop.app.catalogs import base_of, route
from rexecop.app.door import Act, Matter, ServiceScope
from rexecop.app.errors import EventEscalated, Forbidden
from rexecop.app.instance import Instance
from rexecop.app.paging import matter_of
from rexecop.app.queueing import WAITS
from rexecop.app.triggering import BYTES_MAX, CHANNEL, Inbox, trigger
from rexecop.app.views import OperationView
from rexecop.operations.catalogs import Through
from rexecop.operations.errors import AppendConflict, ClaimTaken, EventRefused, OperationsError, StoreError
from rexecop.operations.events import Event, is_event, read_event
from rexecop.operations.ports import Batch, Claim
from rexecop.operations.requests import Request
from rexecop.operations.trigger_rules import Decision, Planned, TriggerRule
from rexecop.operations.turns import last_turn, turn
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import ProofError, RexecopError
from rexecop.proof.payload import Value, parse_payload, payload_text
from rexecop.proof.times import format_time, parse_time
from rexecop.proof.vocabulary import READ_MODES, Verdict

TRIES: Final = 5  # Two events at one time are rare; being overtaken so often is no accident.
SPACE: Final = "event"  # Of the claims that events use up.
COOLING: Final = "cooldown"  # The kind of the rows that say when something was last escalated.
_KEYS: Final = frozenset(
    {"profile", "env", "environment", "catalog", "source", "start", "event", "trigger_event"}
)


class Outcome(StrEnum):
    """What became of an event."""

    PLANNED = "planned"
    IGNORED = "ignored"
    ESCALATED = "escalated"
    DUPLICATE = "drop_duplicate"
    COOLING = "cooldown_blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event that was told here: whose rules decide, where, and whether what they plan is started.

    Rules that name a target need `env`, those that name an entry of a catalog `catalog`; both are paths.
    `delivery` names the way it came, so that the same delivery begun twice is ended once. What it may lead
    to is within `scope`, where who tells it is held to one.
    """

    event: Event
    value: Value
    profile: str
    env: str | None
    catalog: str | None = None
    start: bool = False
    delivery: str | None = None
    scope: ServiceScope | None = None

    @property
    def letter(self) -> bytes:
        """What the inbox takes it by."""
        where: dict[str, Value] = {"env": self.env, "catalog": self.catalog}
        given = {key: value for key, value in where.items() if value is not None}
        said: dict[str, Value] = {"profile": self.profile, **given, "start": self.start, "event": self.value}
        return payload_text(said).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """What became of an event, by which rule and why; `letter` is where it lies for people."""

    outcome: Outcome
    rule: str | None
    reason: str
    operation: OperationView | None = None
    letter: str | None = None


def read_told(
    data: bytes, profile: str | None, env: str | None, *, catalog: str | None = None, start: bool = False
) -> Told | None:
    """Return the event that `data` tells, None where it is a request: a CloudEvent, or one with its place.

    Raises:
        EventRefused: it is an event that cannot be read, or nobody says whose rules decide, or where.
    """
    try:
        value = parse_payload(data, bytes_max=BYTES_MAX)
    except ProofError:
        return None  # Whoever reads requests says what is wrong.
    if not isinstance(value, dict) or not (is_event(value) or {"event", "trigger_event"} & value.keys()):
        return None
    within: dict[str, Value] = {"event": value} if is_event(value) else value
    for key in within.keys() - _KEYS:
        allowed = ", ".join(sorted(_KEYS))
        raise EventRefused(f"unknown key `{key:.60}`; allowed: {allowed}", field=key, allowed=allowed)
    starts = within.get("start", start)
    if not isinstance(starts, bool):
        raise EventRefused("`start` is not true or false", field="start", allowed="true, false")
    inner = within.get("event", within.get("trigger_event"))
    env_said, entry_said = within.get("env", within.get("environment", env)), within.get("catalog", catalog)
    return Told(
        event=read_event(inner, digest_of(data)),
        value=inner,
        profile=_named(within.get("profile", profile), "profile"),
        env=None if env_said is None and entry_said is not None else _named(env_said, "env"),
        catalog=None if entry_said is None else _named(entry_said, "catalog"),
        start=starts,
    )


def is_asked_wrongly(error: RexecopError) -> bool:
    """Return whether `error` is about what was asked, and not about the ledger or this root."""
    return isinstance(error, OperationsError) and not isinstance(error, StoreError)


def _named(value: Value, key: str) -> str:
    if not isinstance(value, str) or not value:
        words = f"nobody says the `{key}` of the event; give it beside it, or `--{key}`"
        raise EventRefused(words, field=key, allowed="text")
    return value


async def take_event(instance: Instance, told: Told, claims: Sequence[Claim] = ()) -> EventView:
    """Let the rules of the profile decide about an event, once; `claims` are used up by that.

    Raises:
        EventRefused: it is too old, or names no target. OperationsError: it cannot be planned.
        ClaimTaken: one of `claims` was used already. Forbidden: what it leads to is not within its scope.
    """
    world, event = instance.parts.world, told.event
    event.require_recent(world.clock.now())
    profile, once = instance.parts.planner.profile(told.profile), claim_of(instance, told)
    rules = profile.triggers
    rule = None if rules is None else rules.rule_for(event)
    if rule is not None and rule.operation is not None:
        _require_planned_within(instance, told, rule, rule.operation)
    for _ in range(TRIES):
        known = world.store.claimed(once)
        if known is not None:
            return again(instance, told, known)
        try:
            if rule is None or rule.decision is not Decision.PLAN:
                return await _set_aside(instance, told, rule, (once, *claims))
            return await _plan(instance, told, rule, f"event:{profile.name}:{rule.id}", (once, *claims))
        except (ClaimTaken, AppendConflict):
            # Another event took this one's place, or this very event came twice at once.
            if any(world.store.claimed(claim) is not None for claim in claims):
                raise
    raise EventRefused("too many events come at one time; tell it again", field="event")


def _require_planned_within(instance: Instance, told: Told, rule: TriggerRule, planned: Planned) -> None:
    """Return only if what `rule` would plan is within the scope of who tells it.

    Raises:
        Forbidden: it is not, or nobody can say where it would be. EventRefused: the event names no target.
    """
    if told.scope is None:
        return
    try:
        profile, env, target, _ = _place(instance, told, rule, planned)
        name = instance.parts.planner.profile(profile).name
        environment = instance.parts.planner.environment(Path(env)).id
    except (EventRefused, StoreError):
        raise
    except RexecopError as error:  # What a catalog or an environment lacks is not for everybody to know.
        raise _nothing() from error
    matter = Matter(intent=f"{name}/{planned.intent}", target=target, environment=environment)
    _require_within(told, matter)


def _require_within(told: Told, matter: Matter) -> None:
    """Return only if `matter` is within the scope of who tells the event. Raises Forbidden."""
    if told.scope is not None and not told.scope.covers(matter):
        raise _nothing()


def _nothing() -> Forbidden:
    return Forbidden("there is no such thing", act=str(Act.TELL), hidden=True)


def claim_of(instance: Instance, told: Told) -> Claim:
    """Return what an event uses up, whatever is made of it: the same one for the same event of a profile.

    Raises:
        OperationsError: the profile cannot be read.
    """
    name = instance.parts.planner.profile(told.profile).name
    return Claim(space=SPACE, key=digest_of(f"{name}\n{told.event.dedupe_key}".encode()))


async def _plan(
    instance: Instance, told: Told, rule: TriggerRule, chain: str, claims: Sequence[Claim]
) -> EventView:
    """Plan what `rule` says, unless it did within its cooldown; the plan itself takes the next turn."""
    assert rule.operation is not None
    store, event = instance.parts.world.store, told.event
    chain = f"{chain}:{event.cooldown_key}"
    place, last = last_turn(store, chain)
    if last is not None:
        until = store.row(last)[1].created + timedelta(seconds=rule.cooldown_seconds)
        if instance.parts.world.clock.now() < until:
            words = f"operation {store.number(last)} was planned; not again before {format_time(until)}"
            await _use(instance, claims)
            return EventView(outcome=Outcome.COOLING, rule=rule.id, reason=words)
    profile, env, target, through = _place(instance, told, rule, rule.operation)
    asked = Request(
        profile=profile,
        env=env,
        intent=rule.operation.intent,
        target=target,
        mode=rule.operation.mode,
        reason=f"rule {rule.id}: {event.type} {event.subject}".strip(),
        idempotency_key=told.delivery,
        source=event.source,
        # What follows may be anywhere, and is planned when nobody asks any more.
        auto_react=rule.operation.auto_react if told.scope is None else None,
    )
    taken = (*claims, turn(chain, place + 1))
    view = await trigger(instance, asked, channel=CHANNEL, event=event.digest, claims=taken, catalog=through)
    view = _started(instance, told, view)
    return EventView(outcome=Outcome.PLANNED, rule=rule.id, reason=asked.reason or "", operation=view)


def _place(
    instance: Instance, told: Told, rule: TriggerRule, planned: Planned
) -> tuple[str, str, str, Through | None]:
    """Return profile, environment and target that `rule` means, and the catalog they were found in.

    Raises:
        EventRefused: the event names no target, or nobody says what the rule looks it up in.
        NotApplicable: the catalog says that the intent is not for that target. Else as `catalogs.route`.
    """
    key, where = ("catalog", told.catalog) if planned.catalog else ("env", told.env)
    target = rule.target_of(told.event)
    if where is None:
        words = f"rule `{rule.id}` looks its target up in `{key}`, and nobody says that of the event"
        raise EventRefused(f"{words}; give it beside it, or `--{key}`", field=key, allowed="a path")
    if not planned.catalog:
        return told.profile, where, target, None
    base = base_of(instance.settings.root)
    through = route(Path(where), target, planned.intent, base, told.profile)
    return through.profile, through.env, through.target, through


def _started(instance: Instance, told: Told, view: OperationView) -> OperationView:
    """Let it be started when it may. A change that nobody needs to approve waits for a person to start it."""
    if not told.start or view.state not in WAITS:
        return view
    free = instance.operation(view.operation_id).terms.verdict is Verdict.ALLOWED
    if view.mode not in READ_MODES and free:
        return view
    return instance.enqueue(view.operation_id)


def again(instance: Instance, told: Told, operation: str) -> EventView:
    """Return that the event was here; where this very delivery planned, end what it may have begun.

    Raises:
        Forbidden: what it led to is not within the scope of who tells it.
    """
    reason = "the event was here already"
    if operation == instance.parts.ledger.instance_id:
        return EventView(outcome=Outcome.DUPLICATE, rule=None, reason=reason)
    _require_within(told, matter_of(instance.parts.world.store.row(operation)[1]))
    view, intent = instance.status(operation), instance.operation(operation).the_intent
    if told.delivery is not None and intent.idempotency_key == told.delivery:
        view = _started(instance, told, view)
    return EventView(outcome=Outcome.DUPLICATE, rule=None, reason=reason, operation=view)


async def _set_aside(
    instance: Instance, told: Told, rule: TriggerRule | None, claims: Sequence[Claim]
) -> EventView:
    """Ignore an event, or hand it to people: it lies among the dead letters until one looks."""
    event, now = told.event, instance.parts.world.clock.now()
    if rule is None:
        await _use(instance, claims)
        words = f"no rule of the profile is for this `{event.type:.80}`"
        return EventView(outcome=Outcome.IGNORED, rule=None, reason=words)
    words = f"rule {rule.id}: {event.type} {event.subject}".strip()
    if rule.decision is Decision.IGNORE:
        await _use(instance, claims)
        return EventView(outcome=Outcome.IGNORED, rule=rule.id, reason=words)
    name = digest_of(f"{told.profile}\n{rule.id}\n{event.cooldown_key}".encode())
    until = _cooling(instance, name)
    if until is not None:
        await _use(instance, claims)
        words = f"it was escalated; not again before {format_time(until)}"
        return EventView(outcome=Outcome.COOLING, rule=rule.id, reason=words)
    letter = Inbox(instance).bury(f"event:{event.type}", told.letter, EventEscalated(words))
    again = now + timedelta(seconds=rule.cooldown_seconds)
    instance.parts.world.store.post(COOLING, name, format_time(again).encode())
    await _use(instance, claims)
    return EventView(outcome=Outcome.ESCALATED, rule=rule.id, reason=words, letter=letter)


def _cooling(instance: Instance, name: str) -> datetime | None:
    """Return until when what `name` stands for is not escalated again; forget what is over."""
    store, now, found = instance.parts.world.store, instance.parts.world.clock.now(), None
    for other, body in store.posted(COOLING):
        until = parse_time(body.decode())
        if until <= now:
            store.post(COOLING, other, None)
        elif other == name:
            found = until
    return found


async def _use(instance: Instance, claims: Sequence[Claim]) -> None:
    """Use up `claims` where no plan does.

    Raises:
        ClaimTaken: one was used already. AppendConflict: the instance wrote a record meanwhile.
    """
    store, chain = instance.parts.world.store, instance.parts.ledger.instance_id
    await store.append(
        Batch(operation=chain, expected=store.records_of(chain), records=(), claims=tuple(claims))
    )
