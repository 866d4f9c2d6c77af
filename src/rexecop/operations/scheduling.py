"""`schedules.yaml` of a root, and what is due by it.

    schedules:
      nightly:
        cron: "30 2 * * *"             # or rrule: FREQ=MONTHLY;BYDAY=1SU, with from: 2026-01-04T03:00
        timezone: Europe/Berlin
        jitter: 10m
        overlap: skip                  # queue, allow
        missed: once                   # skip, all (with missed_max)
        profile: tecrax
        env: site.environment.yaml     # paths are from the root
        intent: daily_check
        target: all
        mode: read_only
        start: true

A moment is planned once: it is claimed with the plan. What is kept of a schedule beside that says only
which moments were looked at, and losing it, or two writing it at once, plans nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Final

from rexecop.governance.recurring import Recurrence, Repeated, Skipped, read_cron, read_rrule
from rexecop.operations.ports import Claim
from rexecop.operations.reading import Fields, Node, Problems
from rexecop.operations.requests import Request
from rexecop.proof.canonical import digest_of
from rexecop.proof.errors import ProofError
from rexecop.proof.times import format_time, parse_time
from rexecop.proof.vocabulary import Mode

SCHEDULES_MAX: Final = 1000  # They are looked at every second.
LATE: Final = timedelta(minutes=1)  # A moment that no worker saw for so long was missed.
MISSED_MAX: Final = 100
WAITING_MAX: Final = 100  # Moments that wait for the operation before; older ones are dropped.
LOOK_BACK: Final = timedelta(days=31)  # Moments missed longer ago are not looked for.
UNSEEN: Final = "no worker ran then"
NOT_ENDED: Final = "the operation before had not ended"
REQUEST_KEYS: Final = "profile env intent target mode parameters reason start"
_KEYS: Final = (
    f"cron rrule from timezone skipped repeated jitter overlap missed missed_max enabled {REQUEST_KEYS}"
)


class Overlap(StrEnum):
    """What becomes of a moment while the operation of the one before has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


class Missed(StrEnum):
    """What becomes of moments that passed while no worker ran."""

    SKIP = "skip"
    ONCE = "once"
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """One schedule: what is asked for, and when. `written` is its recurrence as the file has it."""

    name: str
    recurrence: Recurrence
    written: str
    request: Request
    jitter_ms: int
    overlap: Overlap
    missed: Missed
    missed_max: int
    enabled: bool

    @property
    def chain(self) -> str:
        """The chain of its operations, for `operations.turns`."""
        return f"schedule:{self.name}"

    def key(self, moment: datetime) -> str:
        """Return the idempotency key of `moment`."""
        return f"{self.chain}@{format_time(moment)}"

    def moment_of(self, key: str) -> datetime | None:
        """Return the moment that `key` is of, None where it is of none of this schedule."""
        try:
            return parse_time(key.removeprefix(f"{self.chain}@"))
        except ProofError:
            return None

    def claim(self, moment: datetime) -> Claim:
        """Return the claim to be the plan of `moment`."""
        return Claim(space="schedule", key=self.key(moment))

    def due_at(self, moment: datetime) -> datetime:
        """Return when `moment` is due: later by its jitter, always the same."""
        if not self.jitter_ms:
            return moment
        chance = int(digest_of(self.key(moment).encode())[-12:], 16)
        return moment + timedelta(milliseconds=chance % (self.jitter_ms + 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A moment that was not planned, and why."""

    moment: datetime
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a schedule came: moments until `seen` were judged, of which `waits` wait for the one before."""

    seen: datetime
    waits: tuple[datetime, ...] = ()
    operation: str | None = None
    passed: Passed | None = None


def judge(
    one: Scheduled, known: Progress, now: datetime, busy: Callable[[], bool]
) -> tuple[tuple[datetime, ...], Progress]:
    """Return the moments to plan now, and how far the schedule came then.

    `busy` is whether the operation planned last has not ended.
    """
    if not one.enabled:
        return (), known if now - known.seen < LATE else replace(known, seen=now, waits=())
    back = LATE + timedelta(milliseconds=one.jitter_ms) if one.missed is Missed.SKIP else LOOK_BACK
    since = max(known.seen, now - back)
    due = [*takewhile(lambda moment: one.due_at(moment) <= now, one.recurrence.after(since))]
    unseen = next(one.recurrence.after(known.seen), None) if since > known.seen else None
    if unseen is not None and unseen <= since:
        known = replace(known, seen=since, passed=Passed(moment=unseen, why=UNSEEN))
    if not (due or known.waits):
        return (), known
    late = [moment for moment in due if one.due_at(moment) < now - LATE]
    fresh = [moment for moment in due if moment not in set(late)]
    kept: list[datetime] = late[-one.missed_max :] if one.missed is Missed.ALL else []
    if one.missed is Missed.ONCE and not fresh:
        kept = late[-1:]
    chosen = [*known.waits, *kept, *fresh]
    plan, waits = chosen, list[datetime]()
    if one.overlap is not Overlap.ALLOW and chosen:
        plan = [] if busy() else chosen[:1]
        waits = chosen[len(plan) :][-WAITING_MAX:] if one.overlap is Overlap.QUEUE else []
    for moment in [one for one in due if one not in (*plan, *waits)][-1:]:
        why = UNSEEN if moment in late and moment not in kept else NOT_ENDED
        known = replace(known, passed=Passed(moment=moment, why=why))
    return tuple(plan), replace(known, seen=due[-1] if due else known.seen, waits=tuple(waits))


def read_schedules(data: bytes, file: str, problems: Problems) -> dict[str, Scheduled]:
    """Return the schedules that `file` holds, keeping every problem."""
    root = problems.parse(data, file)
    if root is None:
        return {}
    found = {name: _read(name, node) for name, node in root.section("schedules").entries()}
    if len(found) > SCHEDULES_MAX:
        root.refuse(f"{len(found)} schedules, at most {SCHEDULES_MAX} are read", allowed=str(SCHEDULES_MAX))
    return {name: one for name, one in found.items() if one is not None}


def _read(name: str, node: Node) -> Scheduled | None:
    fields = node.fields(_KEYS, "timezone profile env intent target mode")
    missed = fields.one_of("missed", Missed, Missed.SKIP)
    overlap = fields.one_of("overlap", Overlap, Overlap.SKIP)
    if (missed is Missed.ALL) != ("missed_max" in fields.values):
        node.refuse("`missed: all` and `missed_max`, how many that may be, belong together")
    if missed is Missed.ALL and overlap is Overlap.SKIP:
        node.refuse("all that was missed would overlap, and be skipped", allowed="overlap: queue, allow")
    recurrence = _recurrence(node, fields)
    if recurrence is None:
        return None
    return Scheduled(
        name=name,
        recurrence=recurrence,
        written=recurrence.cron or f"{fields.text('rrule')} from {fields.text('from')}",
        request=read_request(fields, source=f"schedule:{name}"),
        jitter_ms=fields.maybe("jitter", Node.duration) or 0,
        overlap=overlap,
        missed=missed,
        missed_max=fields.integer("missed_max", 1, 1, MISSED_MAX),
        enabled=fields.boolean("enabled", default=True),
    )


def read_request(fields: Fields, source: str) -> Request:
    """Return the request that the `REQUEST_KEYS` among `fields` are."""
    parameters: Mapping[str, object] = fields.mapping("parameters")
    return Request(
        profile=fields.text("profile"),
        env=fields.text("env"),
        intent=fields.token("intent"),
        target=fields.text("target"),
        mode=fields.one_of("mode", Mode, Mode.DRY_RUN),
        parameters=fields.mapping("parameters") if parameters else None,
        reason=fields.text("reason") or None,
        start=fields.boolean("start"),
        source=source,
    )


def _recurrence(node: Node, fields: Fields) -> Recurrence | None:
    skipped = fields.maybe("skipped", lambda one: one.one_of(Skipped))
    repeated = fields.maybe("repeated", lambda one: one.one_of(Repeated))
    place, cron, rule = fields.text("timezone"), fields.text("cron"), fields.text("rrule")
    if bool(cron) == bool(rule) or (bool(cron) and "from" in fields.values):
        node.refuse(f"`{node.name}` has one of `cron` and `rrule`, the latter with `from`")
        return None
    try:
        if cron:
            return read_cron(cron, place, skipped, repeated)
        return read_rrule(rule, fields.text("from"), place, skipped, repeated)
    except ValueError as error:
        node.refuse(str(error))
        return None
