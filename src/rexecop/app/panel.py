"""What a console shows: operations a caller may know of, evidence handed to them, and how things move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import islice
from statistics import median
from typing import Final, TypeAlias

from rexecop.app.door import Matter
from rexecop.app.errors import NotOffered
from rexecop.app.escalations import standing
from rexecop.app.handing import judge
from rexecop.app.instance import Instance
from rexecop.app.needing import NeedView, needs
from rexecop.app.offers import EntryLine, Offers
from rexecop.app.paging import May, matter_of
from rexecop.app.reading import operation_line
from rexecop.app.report.ladder import ladder
from rexecop.app.report.markup import Html
from rexecop.app.report.story import Story, Told
from rexecop.app.report.timeline import timeline
from rexecop.app.reviewing import ReviewView, reviews_due
from rexecop.app.views import OperationLine, OperationView
from rexecop.governance.errors import AnswerUnfit
from rexecop.governance.requests import read_answer
from rexecop.operations.catalogs import Offer, Status, Through, offers
from rexecop.operations.environment import Environment, TargetSpec
from rexecop.operations.errors import OperationUnknown, StoreError
from rexecop.operations.machine import TERMINAL
from rexecop.operations.parameters import ParameterSchema
from rexecop.operations.ports import Row
from rexecop.operations.profile_model import Profile
from rexecop.proof.chain import Sealed
from rexecop.proof.errors import RexecopError
from rexecop.proof.records import Approval
from rexecop.proof.verify import Report
from rexecop.proof.vocabulary import READ_MODES, Mode, State

PAGE: Final = 500  # Rows of the index read at one time.
DAYS: Final = 14  # What a chart on a telephone has room for.
TREND_ROWS_MAX: Final = 3000  # Rows that trends are drawn from, the newest; the page says where they begin.
CHANGES_MAX: Final = 40  # Changes whose approvals are timed: each is a journal to be read.

Offered: TypeAlias = Offer
"""One thing that can be asked, as its profile says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLine:
    """A target of the environment, or a group: then with its members."""

    name: str
    type: str
    criticality: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What can be asked in one place: the intents of a profile, on the targets of an environment.

    `places` are all there are, by the names of both; `source` and `env` are where the two are read from.
    An `entry` is catalog and target through which both are found.
    """

    source: str
    env: str
    profile: str
    environment: str
    places: tuple[tuple[str, str], ...]
    intents: tuple[Offer, ...]
    targets: tuple[TargetLine, ...]
    parameters: Mapping[str, ParameterSchema]
    entry: tuple[str, str] | None

    def matter(self, intent: str, target: str) -> Matter:
        """Return what asking for `intent` on `target` is about."""
        return Matter(intent=f"{self.profile}/{intent}", target=target, environment=self.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """How things move: ends by day and state since `since`, and how long people took to approve."""

    since: date
    days: Mapping[date, Mapping[str, int]]
    approval_seconds: tuple[int, ...]

    @property
    def median_seconds(self) -> int | None:
        """The middle one of the times to approve; None where nothing was approved."""
        return round(median(self.approval_seconds)) if self.approval_seconds else None


def matter_called(instance: Instance, operation: str) -> Matter:
    """Return what an act on the operation of exactly that id is about.

    Raises:
        OperationUnknown: there is none. A beginning, a number or `@` names none here: what one finds tells.
    """
    if not operation.startswith("op_") or instance.resolve(operation) != operation:
        raise OperationUnknown("there is no such operation")
    return matter_of(instance.parts.world.store.row(operation)[1])


def is_in_the_way(error: RexecopError) -> bool:
    """Return whether `error` is the ledger's, and not about what was asked."""
    return isinstance(error, StoreError)


# --- lists ---


def known_to(instance: Instance, may: May, operation: str | None) -> bool:
    """Return whether `may` lets somebody know of `operation`; what is of no operation is of the ledger."""
    return operation is None or may(matter_of(instance.parts.world.store.row(operation)[1]))


def needs_of(instance: Instance, may: May, limit: int) -> tuple[NeedView, ...]:
    """Return at most `limit` things that need a person now, of operations that `may` lets somebody know."""
    log, now = instance.parts.evidence.log, instance.parts.world.clock.now()
    of_operations = (one for one in needs(log, instance.alive, now) if one.operation_id is not None)
    return tuple(islice((one for one in of_operations if known_to(instance, may, one.operation_id)), limit))


def under_way(instance: Instance, may: May, limit: int) -> tuple[OperationLine, ...]:
    """Return at most `limit` operations that began and have not ended, newest first."""
    rows = reversed(instance.parts.world.store.under_way())
    known = (operation_line(number, row) for number, row, _ in rows if may(matter_of(row)))
    return tuple(islice(known, limit))


def asked_of(instance: Instance, may: May, limit: int) -> tuple[OperationLine, ...]:
    """Return at most `limit` operations that wait for approval: as a whole, and then of one step."""
    store, found = instance.parts.world.store, []
    for state, waits in ((State.WAITING_FOR_APPROVAL, ""), (State.PAUSED, "step ")):
        rows = store.rows(state=state, waiting=waits, limit=PAGE)
        found += [operation_line(number, row) for number, row in rows if may(matter_of(row))]
    return tuple(found[:limit])


# --- what people say of what was done ---


def reviews_of(instance: Instance, may: May, limit: int) -> tuple[ReviewView, ...]:
    """Return at most `limit` reviews that are due, of operations that `may` lets somebody know."""
    due = reviews_due(instance.parts.world.store, instance.parts.world.clock.now())
    return tuple(islice((one for one in due if known_to(instance, may, one.operation_id)), limit))


def review_of(instance: Instance, operation: str) -> str:
    """Return in words what a person has to look at afterwards, nothing where that is nothing."""
    due, left = instance.operation(operation).review_by, standing(instance.parts.world.store)
    if due is not None:
        return f"Somebody who did not ask for it has to look at it by {due:%Y-%m-%d %H:%MZ}."
    return next((f"Left to people: {one.text}" for one in left if one.operation == operation), "")


def unknown_steps(instance: Instance, view: OperationView) -> tuple[str, ...]:
    """Return the steps of which nobody knows whether they happened."""
    if view.state != State.INDETERMINATE:
        return ()
    op = instance.operation(view.operation_id)
    return tuple(dict.fromkeys(one.step.id for one in (*op.unknown.values(), *op.in_flight.values())))


# --- what can be asked ---


def asking(instance: Instance, may: May, profile: str = "", environment: str = "") -> Asking:
    """Return what `profile` offers in `environment`, as far as `may`; that of the settings comes first.

    Raises:
        NotOffered: there is no such place. OperationsError: what the settings name cannot be read.
    """
    offered = Offers(instance)
    envs = [*offered.environments()]
    known = [
        (one.name, where.id)
        for one in offered.profiles()
        for _, where in envs
        if where.profile in (None, one.name) and _may_any(one, where, may)
    ]
    wanted = [place for place in known if profile in ("", place[0]) and environment in ("", place[1])]
    if not wanted:
        raise NotOffered("nothing is offered to you there")
    source, of = offered.profile(wanted[0][0])
    env, where = next((path, one) for path, one in envs if one.id == wanted[0][1])
    whole = Asking(
        source=source,
        env=env,
        profile=of.name,
        environment=where.id,
        places=tuple(known),
        intents=offers(of),
        targets=tuple(map(_target_line, where.targets.values())),
        parameters=_parameters(of),
        entry=None,
    )
    return _allowed(whole, may)


def entries_of(instance: Instance, may: May, limit: int) -> tuple[EntryLine, ...]:
    """Return at most `limit` targets of catalogs, each with the intents that `may` lets be asked for it."""

    def ours(one: EntryLine) -> EntryLine:
        about = {name: f"{one.profile}/{name}" for name in one.intents}
        on = {"target": one.environment_target, "environment": one.environment}
        return replace(one, intents=tuple(name for name, it in about.items() if may(Matter(intent=it, **on))))

    found = (line for one in Offers(instance).entries() if (line := ours(one)).intents)
    return tuple(islice(found, limit))


def asking_through(instance: Instance, may: May, catalog: str, target: str) -> Asking:
    """Return what can be asked for `target` of a catalog, as far as `may`.

    Raises:
        NotOffered: there is no such entry, it cannot be read, or nothing can be asked for it.
    """
    try:
        there = Offers(instance).placed(catalog, target)
    except RexecopError as error:  # Whose business it is an entry that is broken does not say.
        raise NotOffered("nothing is offered to you there") from error
    line = there.environment.targets.get(there.entry.environment_target)
    whole = Asking(
        source=there.profile.name,
        env=there.environment.id,
        profile=there.profile.name,
        environment=there.environment.id,
        places=(),
        intents=tuple(
            one for one in offers(there.profile) if there.stands(one).status is Status.ADMISSION_REQUIRED
        ),
        targets=() if line is None else (_target_line(line),),
        parameters=_parameters(there.profile),
        entry=(catalog, target),
    )
    found = _allowed(whole, may)
    if not found.intents:
        raise NotOffered("nothing is offered to you there")
    return found


def routed(
    instance: Instance, asking: Asking, intent: str, target: str
) -> tuple[str, str, str, Through | None]:
    """Return profile, environment and target of `intent`, and the catalog where they are found through one.

    Raises:
        NotApplicable, NotOffered, CatalogRefused: the catalog has changed meanwhile.
    """
    if asking.entry is None:
        return asking.source, asking.env, target, None
    through = Offers(instance).through(*asking.entry, intent, None)
    return through.profile, through.env, through.target, through


def _target_line(one: TargetSpec) -> TargetLine:
    return TargetLine(name=one.name, type=one.type, criticality=one.criticality or "", members=one.members)


def _parameters(of: Profile) -> Mapping[str, ParameterSchema]:
    return {name: one.parameters for name, one in of.intents.items() if one.parameters is not None}


def _allowed(whole: Asking, may: May) -> Asking:
    pairs = [(i, t) for i in whole.intents for t in whole.targets if may(whole.matter(i.operation, t.name))]
    intents, targets = {i.operation for i, _ in pairs}, {t.name for _, t in pairs}
    return replace(
        whole,
        intents=tuple(one for one in whole.intents if one.operation in intents),
        targets=tuple(one for one in whole.targets if one.name in targets),
    )


def _may_any(profile: Profile, environment: Environment, may: May) -> bool:
    return any(
        may(Matter(intent=f"{profile.name}/{intent}", target=target, environment=environment.id))
        for intent in profile.intents
        for target in environment.targets
    )


def modes_of(offer: Offer) -> tuple[str, ...]:
    """Return the modes an intent is meant for, the harmless one first."""
    return tuple(sorted(offer.modes or map(str, Mode), key=lambda mode: mode != Mode.DRY_RUN))


async def take_answer(instance: Instance, operation: str, data: bytes) -> None:
    """Take the signed yes or no to `operation`; what is about another one is refused.

    Raises:
        RequestMalformed: it is no answer. AnswerUnfit, ApprovalRefused: it does not count.
    """
    if read_answer(data).statement.operation != operation:
        raise AnswerUnfit("the answer is about another operation")
    await instance.take_answer(data)


# --- evidence ---


def pictured(instance: Instance, operation: str) -> Html:
    """Return what happened when, with a picture."""
    records = tuple(instance.parts.world.store.journal(operation).records)
    return timeline(Story(Told(operation=operation, records=records, outputs={})))


def believed(instance: Instance, operation: str) -> tuple[Html, Report]:
    """Return how far the evidence of `operation` can be believed by this instance's own keys.

    That it was looked at is recorded.

    Raises:
        AccessUnrecorded: it cannot be recorded.
    """
    report = judge(instance, operation)
    return ladder(report), report


# --- how things move ---


def trends(instance: Instance, may: May) -> Trends:
    """Return ends by day, and how long approvals took, of the newest operations that `may` lets be known."""
    store, now = instance.parts.world.store, instance.parts.world.clock.now()
    first = (now - timedelta(days=DAYS - 1)).date()
    days: dict[date, Counter[str]] = {first + timedelta(days=ahead): Counter() for ahead in range(DAYS)}
    changes: list[str] = []
    looked = 0
    for row in _newest(instance, first):
        looked += 1
        if not may(matter_of(row)):
            continue
        if row.state in TERMINAL and row.updated.date() in days:
            days[row.updated.date()][row.state] += 1
        if row.mode not in READ_MODES and row.mode != Mode.DRY_RUN and len(changes) < CHANGES_MAX:
            changes.append(row.operation)
        if looked == TREND_ROWS_MAX:
            first = max(first, row.created.date())
    times = (_seconds_to_approve(store.journal(name).records) for name in changes)
    return Trends(
        since=first,
        days={day: dict(found) for day, found in days.items()},
        approval_seconds=tuple(one for one in times if one is not None),
    )


def _newest(instance: Instance, first: date) -> Iterator[Row]:
    store, after, left = instance.parts.world.store, 0, TREND_ROWS_MAX
    while left > 0 and (rows := store.rows(after=after, limit=min(PAGE, left))):
        for number, row in rows:
            after, left = number, left - 1
            if row.updated.date() >= first:
                yield row


def _seconds_to_approve(records: Sequence[Sealed]) -> int | None:
    """Return how long after it was asked the last yes came; None where there was none."""
    said = [one.record for one in records if isinstance(one.record, Approval)]
    given: list[datetime] = [one.at for one in said if one.statement.approves]
    return int((given[-1] - records[0].record.at).total_seconds()) if given else None
