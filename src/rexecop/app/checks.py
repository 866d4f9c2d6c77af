"""What a check found of each target, and how its figures moved since earlier checks of the same kind.

A component is a step of the plan that assessed something; the last one of a target is its conclusion,
whose whole numbers are followed from check to check. Nothing here knows what a profile looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import ClassVar, Final, TypeAlias, cast

from rexecop.app.contents import PinnedContents
from rexecop.app.errors import FormatRefused, NotYet
from rexecop.app.formats import Cut
from rexecop.app.verifying import verify_own
from rexecop.engines.world import Contents
from rexecop.operations.normalizer_spec import STATUSES, FactSpec, Normalizer
from rexecop.operations.validation import own_id, value_at
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Intent, Outcome, Plan, Receipt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import Established
from rexecop.store.ledger import LedgerStore

POINTS_MAX: Final = 30  # Of one figure, the newest: a month of daily checks.
POINTS_LEAST: Final = 3  # Two points are always on a line.
RECORDS_MAX: Final = 200_000  # Of earlier checks, some ten seconds of reading; the newest is always read.
PAGE: Final = 500  # Rows of the index read at one time.
TREND_NAMES_MAX: Final = 32  # Of one table, such as mounts: a report that people read.
DAY: Final = timedelta(days=1)
YESTERDAY: Final = timedelta(hours=20)  # A check of this morning may come earlier than that of yesterday.
FOLLOWED: Final = timedelta(days=92)
_SAID: Final = {"state": "status", "reason": "reason", "fact": "fact"}
FINE: Final = ("healthy", "not_applicable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Why a component is not healthy: `fact` was `value`, and may be `limit` where there is one."""

    component: str
    state: str
    reason: str
    fact: str
    value: Json = None
    limit: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetView:
    """What was found of one target: its state, and that of each component by name."""

    target: str
    state: str
    components: Mapping[str, str]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """What a figure was at a moment."""

    at: datetime
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a figure of a target moved, oldest first.

    `change` is that since the check `since`, yesterday's or the one before; without one it is 0. By a
    straight line through all points it reaches `full` in so many days; None where that does not rise.
    """

    target: str
    fact: str
    points: tuple[Point, ...]
    change: int
    since: datetime | None
    full: int | None
    days_to_full: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedOff:
    """That somebody looked at it and said so; `key` is the fingerprint of their key, if they have one."""

    at: datetime
    key: str | None
    record: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """One check of all its targets."""

    kind: ClassVar[str] = "check-report/1"

    operation: str
    instance: str
    intent: str
    target: str
    began: datetime
    ended: datetime
    state: str
    holds: bool
    answer: str
    bundle: Digest
    targets: tuple[TargetView, ...]
    trends: tuple[Trend, ...]
    earlier: int
    signed_off: tuple[SignedOff, ...]


@dataclass(slots=True)
class _Seen:
    """What a step that assesses put out on one target."""

    name: str
    normalizer: Normalizer
    facts: Mapping[str, Json] = field(default_factory=dict)
    at: datetime | None = None


_Checked: TypeAlias = Mapping[str, Sequence[_Seen]]  # By target.


def check_of(cut: Cut) -> CheckReport:
    """Return what the operation in `cut` found.

    Raises:
        FormatRefused: it assessed nothing. InputMissing, ProfileRefused: its profile cannot be read.
    """
    contents, records = PinnedContents(cut.log), cut.records
    intent, checked = _checked(records, contents)
    if not checked:
        raise FormatRefused(
            "the operation assessed no component, so there is no check to tell of",
            next_steps=("rexecop export @ --format report",),
        )
    report = verify_own(cut.data, tuple(map(unseal, cut.contents.instance_records)), records)
    earlier = list(_earlier(cut.log, contents, intent))
    last = next((one.record for one in reversed(records) if isinstance(one.record, Receipt)), None)
    return CheckReport(
        operation=intent.operation,
        instance=cut.contents.instance,
        intent=f"{intent.profile.name}/{intent.intent}",
        target=intent.target,
        began=intent.at,
        ended=records[-1].record.at if last is None else last.at,
        state="under_way" if last is None else last.state,
        holds=report.holds(Rung.LOGGED),
        answer=report.answer(),
        bundle=digest_of(cut.data),
        targets=tuple(_target(name, steps) for name, steps in checked.items()),
        trends=tuple(_trends(checked, earlier)),
        earlier=len(earlier),
        signed_off=tuple(_signed_off(records)),
    )


def assessed(records: Sequence[Sealed], contents: Contents) -> tuple[TargetView, ...]:
    """Return what the operation of `records` found of each target that it assessed something of.

    Raises:
        NotYet: there is no request. InputMissing, ProfileRefused: its profile cannot be read.
    """
    return tuple(_target(name, steps) for name, steps in _checked(records, contents)[1].items())


def _checked(records: Sequence[Sealed], contents: Contents) -> tuple[Intent, _Checked]:
    """Return what was asked, and of each target the steps that say how well something is."""
    intent = next((one.record for one in records if isinstance(one.record, Intent)), None)
    plan = next((one.record for one in records if isinstance(one.record, Plan)), None)
    if intent is None or plan is None:
        raise NotYet("it has no readable request and plan")
    normalizers = contents.profile(plan.profile).normalizers
    found: dict[str, list[_Seen]] = {}
    by_step: dict[str, _Seen] = {}
    for step in plan.steps:
        normalizer = normalizers.get(step.normalizer or "")
        if normalizer is not None and normalizer.rules:
            by_step[step.id] = seen = _Seen(normalizer.store_as or own_id(step.id), normalizer)
            found.setdefault(step.target, []).append(seen)
    for record in (one.record for one in records):
        if isinstance(record, Outcome) and record.step in by_step and record.facts is not None:
            by_step[record.step].facts, by_step[record.step].at = record.facts, record.at
    return intent, found


def _target(name: str, steps: Sequence[_Seen]) -> TargetView:
    parts = steps[:-1] or steps  # The last concludes from the others.
    return TargetView(
        target=name,
        state=_state(steps[-1]),
        components={one.name: _state(one) for one in parts},
        findings=tuple(found for one in parts for found in _findings(one)),
    )


def _state(seen: _Seen) -> str:
    status = seen.facts.get("status")
    return status if isinstance(status, str) and status in STATUSES else "unknown"


def _findings(seen: _Seen) -> Iterator[Finding]:
    told = cast("list[Mapping[str, Json]]", seen.facts.get("findings") or [])
    if not told and _state(seen) not in FINE:
        missing = seen.facts.get("missing")
        told = [{"status": _state(seen), "reason": "not_observed", "fact": "missing", "value": missing}]
    for one in told:
        said = {key: str(one.get(of)) for key, of in _SAID.items()}
        yield Finding(component=seen.name, value=one.get("value"), limit=one.get("limit"), **said)


def _earlier(log: LedgerStore, contents: Contents, intent: Intent) -> Iterator[_Checked]:
    """Yield checks by the same intent in the same environment and mode, newest first."""
    wanted = (intent.profile.name, intent.intent, intent.environment.id, str(intent.mode))
    count = read = 0
    after = log.number(intent.operation)
    while rows := log.rows(after=after, limit=PAGE):
        after = rows[-1][0]
        for row in (row for _, row in rows):
            if count == POINTS_MAX - 1 or row.created < intent.at - FOLLOWED:
                return
            if (row.profile, row.intent, row.environment, row.mode) != wanted:
                continue
            read += row.records
            if count and read > RECORDS_MAX:
                return
            with suppress(RexecopError):  # One that is damaged, or whose profile is gone, says nothing.
                found = _checked(log.journal(row.operation).records, contents)[1]
                count += 1
                yield found


def _trends(now: _Checked, earlier: Sequence[_Checked]) -> Iterator[Trend]:
    for target, steps in now.items():
        for spec in steps[-1].normalizer.facts:
            for name in _names(steps, spec):
                before = (_point(one.get(target, ()), spec.name, name) for one in reversed(earlier))
                points = tuple(p for p in (*before, _point(steps, spec.name, name)) if p is not None)
                yield trend(target, f"{spec.name} {name}".strip(), points, spec.full)


def _names(steps: Sequence[_Seen], spec: FactSpec) -> Sequence[str]:
    """Return the names that `spec` has figures for: `""` for one that is a figure itself."""
    if spec.type == "integer":
        return [""] if _point(steps, spec.name, "") is not None else []
    found = value_at(steps[-1].facts, spec.name) if spec.type == "table" else None
    return list(found)[:TREND_NAMES_MAX] if isinstance(found, Mapping) else []


def _point(steps: Sequence[_Seen], fact: str, name: str) -> Point | None:
    """Return what the conclusion of `steps` says of `fact`, or of `name` in it, if that is a whole number."""
    value = value_at(steps[-1].facts, fact) if steps else None
    if name:
        value = value.get(name) if isinstance(value, Mapping) else None
    is_whole = steps and isinstance(value, int) and not isinstance(value, bool)
    return Point(cast("datetime", steps[-1].at), cast("int", value)) if is_whole else None


def trend(target: str, fact: str, points: tuple[Point, ...], full: int | None) -> Trend:
    """Return how the figure that was `points`, oldest first, moves."""
    newest = points[-1]
    before = next((one for one in reversed(points) if newest.at - one.at >= YESTERDAY), None)
    return Trend(
        target=target,
        fact=fact,
        points=points,
        change=0 if before is None else newest.value - before.value,
        since=None if before is None else before.at,
        full=full,
        days_to_full=None if full is None else days_until(points, full),
    )


def days_until(points: Sequence[Point], full: int) -> int | None:
    """Return in how many whole days the line that fits `points` best reaches `full`; None if it never does.

    What is full already takes no day; less than a day of points shows no direction.
    """
    if points[-1].value >= full:
        return 0
    if len(points) < POINTS_LEAST or points[-1].at - points[0].at < DAY:
        return None
    # Exact: the same facts are the same days everywhere.
    days = [Fraction((one.at - points[0].at) // timedelta(milliseconds=1), 86_400_000) for one in points]
    mean, level = sum(days) / len(days), Fraction(sum(one.value for one in points), len(points))
    rise = sum((day - mean) * (one.value - level) for day, one in zip(days, points, strict=True))
    slope = rise / sum((day - mean) ** 2 for day in days)
    return max(0, int((full - level) / slope + mean - days[-1])) if slope > 0 else None


def _signed_off(records: Sequence[Sealed]) -> Iterator[SignedOff]:
    for record, digest in ((one.record, one.digest) for one in records):
        if isinstance(record, Command) and record.verb is Verb.REVIEW:
            key = record.by.credential if record.by.established is Established.KEY else None
            yield SignedOff(at=record.at, key=key, record=digest)
