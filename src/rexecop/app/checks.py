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
from typing import ClassVar, Final, cast

from rexecop.app.contents import PinnedContents
from rexecop.app.errors import FormatRefused, NotYet
from rexecop.app.formats import Cut
from rexecop.app.verifying import verify_own
from rexecop.engines.world import Contents
from rexecop.operations.normalizer_spec import STATUSES, Normalizer
from rexecop.operations.ports import Row
from rexecop.operations.validation import own_id, value_at
from rexecop.proof.canonical import Digest, Json, digest_of
from rexecop.proof.chain import Sealed, unseal
from rexecop.proof.errors import RexecopError
from rexecop.proof.principal import Principal
from rexecop.proof.records import Intent, Outcome, Plan, Receipt
from rexecop.proof.records.command import Command, Verb
from rexecop.proof.verify import Rung
from rexecop.proof.vocabulary import Established
from rexecop.store.ledger import LedgerStore

POINTS_MAX: Final = 30  # Of one figure, the newest: a month of daily checks.
POINTS_LEAST: Final = 3  # Two points are always on a line.
RECORDS_MAX: Final = 200_000  # Of earlier checks, some ten seconds of reading; the newest is always read.
PAGE: Final = 500  # Rows of the index read at one time.
DAY: Final = timedelta(days=1)
YESTERDAY: Final = timedelta(hours=20)  # A check of this morning may come earlier than that of yesterday.
FOLLOWED: Final = timedelta(days=92)
UNKNOWN: Final = "unknown"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a figure was at a moment."""

    at: datetime
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """How a figure of a target moved, oldest first.

    `change` is that since the check `since`, yesterday's or the one before. By a straight line through all
    points it reaches `full` in so many days; None where the line does not rise, or there are too few points.
    """

    target: str
    fact: str
    points: tuple[Point, ...]
    change: int | None
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
    profile: str
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


@dataclass(slots=True)
class _Checked:
    """The records of one check, by what they say."""

    intent: Intent
    by_target: Mapping[str, list[_Seen]]


def check_of(cut: Cut) -> CheckReport:
    """Return what the operation in `cut` found.

    Raises:
        FormatRefused: it assessed nothing. InputMissing, ProfileRefused: its profile cannot be read.
    """
    records = tuple(map(unseal, cut.contents.records))
    contents = PinnedContents(cut.log)
    checked = _checked(records, contents)
    if not any(any(seen.normalizer.rules for seen in steps) for steps in checked.by_target.values()):
        raise FormatRefused(
            "the operation assessed no component, so there is no check to tell of",
            next_steps=("rexecop export @ --format report",),
        )
    instance = tuple(map(unseal, cut.contents.instance_records))
    report = verify_own(cut.data, instance)
    earlier = list(_earlier(cut.log, contents, checked.intent))
    receipt = next((one.record for one in reversed(records) if isinstance(one.record, Receipt)), None)
    return CheckReport(
        operation=checked.intent.operation,
        instance=cut.contents.instance,
        profile=checked.intent.profile.name,
        intent=checked.intent.intent,
        target=checked.intent.target,
        began=checked.intent.at,
        ended=records[-1].record.at if receipt is None else receipt.at,
        state="under_way" if receipt is None else receipt.state,
        holds=report.holds(Rung.LOGGED),
        answer=report.answer(),
        bundle=digest_of(cut.data),
        targets=tuple(_target(name, steps) for name, steps in checked.by_target.items()),
        trends=tuple(_trends(checked, earlier)),
        earlier=len(earlier),
        signed_off=tuple(_signed_off(records)),
    )


def assessed(records: Sequence[Sealed], contents: Contents) -> tuple[TargetView, ...]:
    """Return what the operation of `records` found of each target that it assessed something of.

    Raises:
        NotYet: there is no request. InputMissing, ProfileRefused: its profile cannot be read.
    """
    found = _checked(records, contents).by_target
    return tuple(
        _target(name, steps) for name, steps in found.items() if any(one.normalizer.rules for one in steps)
    )


def _checked(records: Sequence[Sealed], contents: Contents) -> _Checked:
    intent = next((one.record for one in records if isinstance(one.record, Intent)), None)
    if intent is None:
        raise NotYet("it has no readable request")
    plan = next((one.record for one in records if isinstance(one.record, Plan)), None)
    if plan is None:
        return _Checked(intent=intent, by_target={})
    normalizers = contents.profile(plan.profile).normalizers
    found: dict[str, list[_Seen]] = {target.id: [] for target in plan.targets}
    by_step: dict[str, _Seen] = {}
    for step in plan.steps:
        normalizer = normalizers.get(step.normalizer) if step.normalizer is not None else None
        if normalizer is not None:
            seen = _Seen(normalizer.store_as or own_id(step.id), normalizer)
            found.setdefault(step.target, []).append(seen)
            by_step[step.id] = seen
    for sealed in records:
        record = sealed.record
        if isinstance(record, Outcome) and record.step in by_step and record.facts is not None:
            by_step[record.step].facts, by_step[record.step].at = record.facts, record.at
    return _Checked(intent=intent, by_target={name: steps for name, steps in found.items() if steps})


def _target(name: str, steps: Sequence[_Seen]) -> TargetView:
    *parts, conclusion = _assessing(steps)
    return TargetView(
        target=name,
        state=_state(conclusion),
        components={one.name: _state(one) for one in parts or [conclusion]},
        findings=tuple(found for one in parts or [conclusion] for found in _findings(one)),
    )


def _assessing(steps: Sequence[_Seen]) -> Sequence[_Seen]:
    """Return the steps that say how well something is; the last of them concludes."""
    return [one for one in steps if one.normalizer.rules] or steps


def _state(seen: _Seen) -> str:
    status = seen.facts.get("status")
    return status if isinstance(status, str) and status in STATUSES else UNKNOWN


def _findings(seen: _Seen) -> Iterator[Finding]:
    found = seen.facts.get("findings")
    told = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    for one in told:
        yield Finding(
            component=seen.name,
            state=str(one.get("status")),
            reason=str(one.get("reason")),
            fact=str(one.get("fact")),
            value=one.get("value"),
            limit=one.get("limit"),
        )
    if not told and _state(seen) not in FINE:
        missing = seen.facts.get("missing")
        yield Finding(
            component=seen.name, state=_state(seen), reason="not_observed", fact="missing", value=missing
        )


def _earlier(log: LedgerStore, contents: Contents, intent: Intent) -> Iterator[_Checked]:
    """Yield checks by the same intent in the same environment, newest first."""
    count = read = 0
    for row in _rows(log, intent):
        read += row.records
        if count and (count == POINTS_MAX - 1 or read > RECORDS_MAX):
            return
        found = None
        with suppress(RexecopError):  # One that is damaged, or whose profile is gone, says nothing.
            found = _checked(log.journal(row.operation).records, contents)
        if found is not None:
            count += 1
            yield found


def _rows(log: LedgerStore, intent: Intent) -> Iterator[Row]:
    wanted = (intent.profile.name, intent.intent, intent.environment.id, str(intent.mode))
    after = log.number(intent.operation)
    while rows := log.rows(after=after, limit=PAGE):
        for after, row in rows:  # noqa: B007
            if row.created < intent.at - FOLLOWED:
                return
            if (row.profile, row.intent, row.environment, row.mode) == wanted:
                yield row


def _trends(now: _Checked, earlier: Sequence[_Checked]) -> Iterator[Trend]:
    for target, steps in now.by_target.items():
        conclusion = _assessing(steps)[-1]
        for spec in conclusion.normalizer.facts:
            newest = _point(conclusion, spec.name)
            if spec.type == "integer" and newest is not None:
                before = [
                    point
                    for one in earlier
                    if (of := one.by_target.get(target)) and (point := _point(_assessing(of)[-1], spec.name))
                ]
                points = (*reversed(before[: POINTS_MAX - 1]), newest)
                yield trend(target, spec.name, points, spec.full)


def _point(seen: _Seen, fact: str) -> Point | None:
    value = value_at(seen.facts, fact)
    whole = isinstance(value, int) and not isinstance(value, bool) and seen.at is not None
    return Point(at=cast("datetime", seen.at), value=cast("int", value)) if whole else None


def trend(target: str, fact: str, points: tuple[Point, ...], full: int | None) -> Trend:
    """Return how the figure that was `points`, oldest first, moves."""
    newest = points[-1]
    before = next((one for one in reversed(points) if newest.at - one.at >= YESTERDAY), None)
    return Trend(
        target=target,
        fact=fact,
        points=points,
        change=None if before is None else newest.value - before.value,
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
    if slope <= 0:
        return None
    return max(0, int((full - level) / slope + mean - days[-1]))


def _signed_off(records: Sequence[Sealed]) -> Iterator[SignedOff]:
    for sealed in records:
        if isinstance(sealed.record, Command) and sealed.record.verb is Verb.REVIEW:
            yield SignedOff(at=sealed.record.at, key=_key(sealed.record.by), record=sealed.digest)


def _key(by: Principal) -> str | None:
    return by.credential if by.established is Established.KEY else None
