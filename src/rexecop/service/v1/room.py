"""What may be asked for, what waits and is locked, when changes may run, and what stops them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from starlette.responses import Response

from rexecop.app.door import Act, Matter
from rexecop.app.execute_intents import ActionLine
from rexecop.app.halting import halts_within
from rexecop.app.offers import EntryLine, IntentLine, TargetLine
from rexecop.app.paging import glance
from rexecop.app.room import LockLine, QueueView, locks_view, queue_view
from rexecop.app.views import HaltView, OperationLine, WindowsView
from rexecop.service.errors import PathUnknown
from rexecop.service.v1.asking import Asking, Nothing
from rexecop.service.v1.bodies import HaltBody, NamesQuery, WindowsQuery
from rexecop.service.v1.routes import Call, Says, get, post


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetsPage:
    """Targets by environment and name; `next` is the cursor of the next page."""

    targets: tuple[TargetLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentsPage:
    """Intents by profile and name; `next` is the cursor of the next page."""

    intents: tuple[IntentLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogsPage:
    """Targets of catalogs by catalog and name; `next` is the cursor of the next page."""

    entries: tuple[EntryLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionsPage:
    """Actions of `/execute` by name; `next` is the cursor of the next page."""

    actions: tuple[ActionLine, ...]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Every lock that stands, by target."""

    locks: tuple[LockLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Halts:
    """The halts that stand."""

    halts: tuple[HaltView, ...]


async def targets(asking: Asking, query: NamesQuery) -> Response:
    """List the targets that are the caller's business, of the environments that the service offers."""
    scope = asking.caller.scope

    def read() -> TargetsPage:
        there = (
            one
            for one in asking.desk.offers.targets()
            if _fits(one.target, scope.targets) and _fits(one.environment, scope.environments)
            if f"{one.environment}/{one.target}" > query.cursor
        )
        found = tuple(islice(there, query.limit + 1))
        last = found[: query.limit]
        more = f"{last[-1].environment}/{last[-1].target}" if len(found) > query.limit else None
        return TargetsPage(targets=last, next=more)

    return asking.answer(await asking.desk.read(read))


async def intents(asking: Asking, query: NamesQuery) -> Response:
    """List the intents that are the caller's business, with the JSON Schemas of their parameters."""
    scope = asking.caller.scope

    def read() -> IntentsPage:
        there = (
            one
            for one in asking.desk.offers.intents()
            if _fits(f"{one.profile}/{one.intent}", scope.intents)
            if f"{one.profile}/{one.intent}" > query.cursor
        )
        found = tuple(islice(there, query.limit + 1))
        last = found[: query.limit]
        more = f"{last[-1].profile}/{last[-1].intent}" if len(found) > query.limit else None
        return IntentsPage(intents=last, next=more)

    return asking.answer(await asking.desk.read(read))


async def catalogs(asking: Asking, query: NamesQuery) -> Response:
    """List the targets of catalogs that are the caller's business, with what can be planned for each."""
    scope = asking.caller.scope

    def ours(one: EntryLine) -> EntryLine | None:
        fits = tuple(name for name in one.intents if _fits(f"{one.profile}/{name}", scope.intents))
        there = _fits(one.environment_target, scope.targets) and _fits(one.environment, scope.environments)
        return replace(one, intents=fits) if there and (fits or scope.everything) else None

    def read() -> CatalogsPage:
        there = (
            line
            for one in asking.desk.offers.entries()
            if f"{one.catalog}/{one.target}" > query.cursor
            if (line := ours(one)) is not None
        )
        found = tuple(islice(there, query.limit + 1))
        last = found[: query.limit]
        more = f"{last[-1].catalog}/{last[-1].target}" if len(found) > query.limit else None
        return CatalogsPage(entries=last, next=more)

    return asking.answer(await asking.desk.read(read))


async def actions(asking: Asking, query: NamesQuery) -> Response:
    """List the actions of `/execute` that are the caller's business, with JSON Schemas of payloads."""

    def ours(one: ActionLine) -> bool:
        if one.intent is None or one.target is None or one.environment is None:
            return True  # The service's own two are about nothing.
        return asking.may(Matter(intent=one.intent, target=one.target, environment=one.environment))

    def read() -> ActionsPage:
        there = (one for one in asking.desk.serving.actions() if one.action > query.cursor and ours(one))
        found = tuple(islice(there, query.limit + 1))
        more = found[query.limit - 1].action if len(found) > query.limit else None
        return ActionsPage(actions=found[: query.limit], next=more)

    return asking.answer(await asking.desk.read(read))


async def queue(asking: Asking, query: Nothing) -> Response:
    """Say who waits to be started or to go on, in order, each with what it waits for."""
    return asking.answer(await asking.desk.read(lambda: _queue(asking)))


async def drain(asking: Asking, body: Nothing) -> Response:
    """Start nothing more; what runs ends. Return who waits then."""
    return await _drained(asking, asking.caller.name)


async def undrain(asking: Asking, body: Nothing) -> Response:
    """Let what waits start again."""
    return await _drained(asking, None)


async def _drained(asking: Asking, by: str | None) -> Response:
    def work() -> QueueView:
        asking.instance.parts.lifecycle.queue.drain(by)
        return _queue(asking)

    return asking.answer(await asking.desk.read(work))


def _queue(asking: Asking) -> QueueView:
    found = queue_view(asking.instance)
    return replace(found, queue=tuple(one for one in found.queue if _ours(asking, one.operation)))


async def locks(asking: Asking, query: Nothing) -> Response:
    """Say which targets are locked, with the operations that hold the locks."""

    def read() -> Locks:
        found = locks_view(asking.instance)
        return Locks(locks=tuple(one for one in found if _ours(asking, one.operation)))

    return asking.answer(await asking.desk.read(read))


async def windows(asking: Asking, query: WindowsQuery) -> Response:
    """Say when changes of a target, or of all of an environment, may run."""
    scope = asking.caller.scope

    def read() -> WindowsView:
        path, environment = asking.desk.offers.environment(query.environment)
        known = query.target is None or query.target in environment.targets
        ours = _fits(query.target or "*", scope.targets) and _fits(environment.id, scope.environments)
        if not (known and ours):
            raise PathUnknown(f"there is no target `{query.target or '*':.60}`")
        found = asking.instance.windows(Path(path), query.target)
        return replace(found, halts=halts_within(asking.caller.scope, found.halts))

    return asking.answer(await asking.desk.read(read))


async def halts(asking: Asking, query: Nothing) -> Response:
    """List the halts that stand and are the caller's business."""
    found = await asking.desk.read(asking.instance.halts)
    return asking.answer(Halts(halts=halts_within(asking.caller.scope, found)))


async def halt(asking: Asking, body: HaltBody) -> Response:
    """Stop every further call within a scope; return what stands then."""
    found = await asking.desk.read(lambda: asking.instance.halt(body.scope, body.reason))
    return asking.answer(Halts(halts=halts_within(asking.caller.scope, found)))


async def lift(asking: Asking, body: HaltBody) -> Response:
    """Take the halts of exactly one scope back; return what still stands."""
    found = await asking.desk.read(lambda: asking.instance.halt(body.scope, body.reason, lift=True))
    return asking.answer(Halts(halts=halts_within(asking.caller.scope, found)))


def _fits(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _ours(asking: Asking, line: OperationLine) -> bool:
    return asking.may(glance(asking.instance, line.operation_id).matter)


def table() -> tuple[Call, ...]:
    """Return the routes of the room."""
    no, view, stands, waits = Nothing, Act.VIEW, {200: Says(kind=Halts)}, {200: Says(kind=QueueView)}
    return (
        get("/v1/targets", view, targets, NamesQuery, {200: Says(kind=TargetsPage)}),
        get("/v1/intents", view, intents, NamesQuery, {200: Says(kind=IntentsPage)}),
        get("/v1/catalogs", view, catalogs, NamesQuery, {200: Says(kind=CatalogsPage)}),
        get("/v1/actions", view, actions, NamesQuery, {200: Says(kind=ActionsPage)}),
        get("/v1/queue", view, queue, no, waits),
        post("/v1/queue/drain", Act.ADMINISTER, drain, no, waits),
        post("/v1/queue/resume", Act.ADMINISTER, undrain, no, waits),
        get("/v1/locks", view, locks, no, {200: Says(kind=Locks)}),
        get("/v1/windows", view, windows, WindowsQuery, {200: Says(kind=WindowsView)}),
        get("/v1/halts", view, halts, no, stands),
        post("/v1/halts", Act.ADMINISTER, halt, HaltBody, stands),
        post("/v1/halts/lift", Act.ADMINISTER, lift, HaltBody, stands),
    )
