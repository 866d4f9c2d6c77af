"""Where tool calls are answered: plan, start what needs nobody, and wait for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias, TypeVar

from rexecop.app.catalogs import base_of, route
from rexecop.app.door import Act, Caller, Door, Matter
from rexecop.app.errors import Forbidden
from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput
from rexecop.app.tooling import Tooling, catalog_toolings, toolings, would_be_blocked
from rexecop.app.views import OperationView, WhyView
from rexecop.app.watching import is_over
from rexecop.proof.canonical import Json, require_canonical
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import State
from rexecop.service.errors import ServiceError, ToolRefused
from rexecop.service.mcp import tools as take
from rexecop.service.mcp.answers import (
    OUTPUT_LETTERS_MAX,
    Answer,
    Listed,
    Status,
    answer,
    status_of,
)
from rexecop.service.mcp.tools import HELPERS, Tool, filled, name_of, tool_of

CHANNEL: Final = "mcp"  # The door that requests of agents come through.
WAIT_SECONDS: Final = 20  # Shorter than clients wait for an answer.
LOOK_SECONDS: Final = 0.25
RESULTS_USUAL: Final = 8  # Who waits for more than these together looks less often.
SHARE: Final = 10  # Looking takes at most a tenth of the time, however large the operation is.
FORESEEN_MAX: Final = 4  # Targets on which policy is asked beforehand; more say little more and cost time.
GRACE_SECONDS: Final = 30  # For what runs here when the client is gone.
RUNNING_MAX: Final = (
    64  # Started here at one time; what is more stays approved, and is started when waited for.
)

T = TypeVar("T")
Told: TypeAlias = Callable[[int, int, str], Awaitable[None]]
Reply: TypeAlias = Answer | Listed | WhyView
Arguments: TypeAlias = Mapping[str, Json]


class Run(Protocol):
    """Where work on an instance is done: in the event loop that the instance belongs to."""

    async def __call__(self, work: Callable[[], Coroutine[object, object, T]]) -> T:
        """Return what `work` returns."""
        ...


async def here(work: Callable[[], Coroutine[object, object, T]]) -> T:
    """Do `work` in this very loop."""
    return await work()


class Desk:
    """Answers callers over one instance; what it started goes on when nobody waits for it any more."""

    def __init__(
        self,
        instance: Instance,
        door: Door,
        *,
        wait_seconds: int = WAIT_SECONDS,
        letters: int = OUTPUT_LETTERS_MAX,
        catalog: Path | None = None,
    ) -> None:
        self._instance = instance
        self._door = door
        self._wait_seconds = wait_seconds
        self._letters = letters
        self._catalog = catalog
        self._catalogued: tuple[Tooling, ...] = ()  # Read once; a call reads its entry again.
        self._running: dict[str, asyncio.Task[OperationView]] = {}
        self._results = 0  # So many are waited for without end.
        self._refused: dict[str, str] = {}  # Why what was to be started last was not.

    @property
    def _leaving(self) -> bool:
        return self._instance.parts.lifecycle.driver.leaving

    async def close(self, grace_seconds: float) -> None:
        """Let what runs here end within the grace; what is left is stopped, as by any runner that ends."""
        running = set(self._running.values())
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    # --- what there is ---

    async def listed(self, caller: Caller) -> tuple[Tool, ...]:
        """Return the tools of `caller`: intents that policy does not block beforehand, and those that look.

        Raises:
            Forbidden: they may see nothing. RexecopError: profile or environment cannot be read.
        """
        self._door.require(caller, Act.VIEW)
        found = ((one, self._targets(caller, one)) for one in self._toolings())
        shown = [tool_of(one, on) for one, on in found if on and self._is_open(caller, one, on)]
        return (*shown, *HELPERS)

    def _toolings(self) -> tuple[Tooling, ...]:
        settings = self._instance.settings
        if self._catalog is not None:
            self._catalogued = self._catalogued or catalog_toolings(self._catalog)
            return self._catalogued
        if settings.profile is None or settings.env is None:
            return ()
        return toolings(self._instance, settings.profile, settings.env)

    def _targets(self, caller: Caller, tooling: Tooling) -> tuple[str, ...]:
        matters = tooling.matters.items()
        return tuple(target for target, matter in matters if self._allows(caller, Act.PLAN, matter))

    def _allows(self, caller: Caller, act: Act, matter: Matter) -> bool:
        try:
            self._door.require(caller, act, matter)
        except Forbidden:
            return False
        return True

    def _is_open(self, caller: Caller, tooling: Tooling, targets: tuple[str, ...]) -> bool:
        own, asked = self._instance.acting_as(caller.identity), self._asked(caller, tooling)
        first = targets[:FORESEEN_MAX]
        return not all(would_be_blocked(own, self._routed(replace(asked, target=target))) for target in first)

    def _asked(self, caller: Caller, tooling: Tooling) -> PlanInput:
        """Return a request for the intent as far as it is the same for each call."""
        settings = self._instance.settings
        return PlanInput(
            profile=settings.profile or "",
            env=settings.env or "",
            intent=tooling.intent,
            target="",
            mode=tooling.modes[0],
            channel=CHANNEL,
            sponsor=caller.sponsor,
        )

    def _routed(self, asked: PlanInput) -> PlanInput:
        """Return `asked`, on what its target stands for where that is an entry of a catalog.

        Raises:
            RexecopError: as `catalogs.route`.
        """
        if self._catalog is None:
            return asked
        through = route(self._catalog, asked.target, asked.intent, base_of(self._instance.settings.root))
        return replace(
            asked, profile=through.profile, env=through.env, target=through.target, catalog=through
        )

    # --- what is asked ---

    async def call(self, caller: Caller, name: str, arguments: Arguments, told: Told) -> Reply | None:
        """Return the answer to a call of the tool `name`; None where there is none of that name.

        Raises:
            RexecopError: it is not answered; where nothing else is said, nothing was recorded.
        """
        self._door.require(caller, Act.VIEW)
        require_canonical(dict(arguments))
        if name == "operation_status":
            take.only(arguments, "operation_id")
            return await self._answer(await self._seen(caller, arguments))
        if name == "operation_wait":
            take.only(arguments, "operation_id", "seconds")
            seconds = take.whole("seconds", arguments.get("seconds"), self._wait_seconds, take.SECONDS_MAX)
            view = await self._seen(caller, arguments)
            return await self._answer(await self._wait(caller, view, seconds, told, for_people=True))
        if name == "operation_cancel":
            return await self._cancel(caller, arguments)
        if name == "why":
            return await self._why(caller, arguments)
        if name == "list_operations":
            return await self._list(caller, arguments)
        if (planned := await self._planned(caller, name, arguments)) is None:
            return None
        view = await self._wait(caller, planned, self._wait_seconds, told, for_people=False)
        return await self._answer(view)

    async def _planned(self, caller: Caller, name: str, arguments: Arguments) -> OperationView | None:
        if (found := self._tool(caller, name)) is None:
            return None
        asked = self._routed(filled(self._asked(caller, found[0]), *found, arguments))
        return await self._instance.acting_as(caller.identity).plan(asked)

    def _tool(self, caller: Caller, name: str) -> tuple[Tooling, tuple[str, ...]] | None:
        for one in self._toolings():
            if name_of(one) == name and (targets := self._targets(caller, one)):
                return one, targets
        return None

    async def _wait(
        self, caller: Caller, view: OperationView, seconds: float, told: Told, *, for_people: bool
    ) -> OperationView:
        """Return how far the operation is once it is over, or `seconds` have passed.

        What is the caller's own, and may run, is started. Only with `for_people` approvals are waited for.

        Raises:
            RexecopError: it could not be started or went wrong here.
        """
        until, seen = time.monotonic() + seconds, -1
        while True:
            self._start(caller, view)
            task = self._running.get(view.operation_id)
            left = until - time.monotonic()
            stays = view.state == State.APPROVED or status_of(view) is Status.PENDING_APPROVAL
            waits = not self._leaving and not is_over(view) and (for_people or not stays)
            if left <= 0 or (task is None and not waits):
                return view
            progress = view.progress
            if progress is not None and progress.ended > seen:
                seen = progress.ended
                await told(seen, progress.steps, f"operation #{view.number} is {view.state}")
            began = time.monotonic()
            pause = min(left, LOOK_SECONDS * max(1.0, self._results / RESULTS_USUAL))
            if task is None:
                await asyncio.sleep(pause)
            elif task in (await asyncio.wait({task}, timeout=pause))[0]:
                view = task.result()
                continue
            view = await asyncio.to_thread(self._instance.status, view.operation_id)
            await asyncio.sleep(min(max(0.0, left - pause), SHARE * (time.monotonic() - began - pause)))

    def _start(self, caller: Caller, view: OperationView) -> None:
        """Start what may run and is the caller's own; it goes on when nobody waits for it any more."""
        approved = view.state == State.PAUSED and view.awaiting is not None
        ready = view.state == State.APPROVED or (approved and status_of(view) is not Status.PENDING_APPROVAL)
        if not ready or view.operation_id in self._running or len(self._running) >= RUNNING_MAX:
            return
        if view.requester != caller.name or not self._allows(caller, Act.RUN, _of(view)):
            return
        self._refused.pop(view.operation_id, None)
        own = self._instance.acting_as(caller.identity)
        task = asyncio.create_task(own.start(view.operation_id, wait=True))
        self._running[view.operation_id] = task
        task.add_done_callback(lambda done: self._ended(view.operation_id, done))

    def _ended(self, operation: str, task: asyncio.Task[OperationView]) -> None:
        self._running.pop(operation, None)
        # Whoever waits is told, or asks; where nobody does, the records say it.
        error = None if task.cancelled() else task.exception()
        if isinstance(error, RexecopError) and len(self._refused) < RUNNING_MAX:
            self._refused[operation] = error.message

    async def _answer(self, view: OperationView) -> Answer:
        if not is_over(view):
            return answer(view)
        return answer(view, await asyncio.to_thread(self._instance.outputs, view.operation_id), self._letters)

    async def _seen(self, caller: Caller, arguments: Arguments) -> OperationView:
        """Return the operation that is named, which the caller may see.

        Raises:
            ToolRefused: there is none, or it is none of their business: both read the same.
        """
        name = take.text("operation_id", arguments.get("operation_id"))
        if name is None:
            raise ToolRefused("`operation_id` is missing", argument="operation_id")
        try:
            view = await asyncio.to_thread(self._instance.status, name)
            self._door.require(caller, Act.VIEW, _of(view))
        except RexecopError as error:
            if isinstance(error, Forbidden) or error.code == "operation-unknown":
                raise ToolRefused(f"there is no operation `{name:.60}`", argument="operation_id") from None
            raise
        return view

    async def _cancel(self, caller: Caller, arguments: Arguments) -> Answer:
        take.only(arguments, "operation_id", "reason")
        view = await self._seen(caller, arguments)
        if view.requester != caller.name:
            words = f"operation #{view.number} was asked for by somebody else; people cancel it"
            raise ToolRefused(words, argument="operation_id")
        reason = take.text("reason", arguments.get("reason"))
        return await self._answer(await self._cancelled(caller, view, reason))

    async def _cancelled(self, caller: Caller, view: OperationView, reason: str | None) -> OperationView:
        self._door.require(caller, Act.RUN, _of(view))
        return await self._instance.acting_as(caller.identity).cancel(view.operation_id, reason)

    async def _why(self, caller: Caller, arguments: Arguments) -> WhyView:
        take.only(arguments, "operation_id", "tool", "arguments")
        tool, given = take.text("tool", arguments.get("tool")), arguments.get("arguments", {})
        if tool is None:
            view = await self._seen(caller, arguments)
            return await asyncio.to_thread(self._instance.why, view.operation_id)
        found = self._tool(caller, tool)
        if found is None or not isinstance(given, dict) or "operation_id" in arguments:
            words = "`why` takes an `operation_id`, or a `tool` that there is with its `arguments`, an object"
            raise ToolRefused(words, argument="tool")
        # In this thread, as all planning: what planning keeps of files is not for two at a time.
        own = self._instance.acting_as(caller.identity)
        return own.why_before(self._routed(filled(self._asked(caller, found[0]), *found, given)))

    async def _list(self, caller: Caller, arguments: Arguments) -> Listed:
        take.only(arguments, "state", "limit", "all")
        state, limit = take.text("state", arguments.get("state")), arguments.get("limit")
        if state is not None and state not in tuple(State):
            raise ToolRefused(f"`{state:.60}` is no state; there are {', '.join(State)}", argument="state")
        lines = await asyncio.to_thread(
            self._instance.list,
            state=state,
            limit=take.whole("limit", limit, take.LISTED_MAX, take.LISTED_MAX),
            where={} if arguments.get("all") is True else {"requester": caller.name},
        )
        views = [await asyncio.to_thread(self._instance.status, line.operation_id) for line in lines]
        seen = [view for view in views if self._allows(caller, Act.VIEW, _of(view))]
        return Listed(operations=tuple(map(answer, seen)))

    # --- operations as tasks: those that the caller asked for, by their very ids ---

    async def begin(self, caller: Caller, name: str, arguments: Arguments) -> OperationView | None:
        """Plan a call of the tool `name` and start what needs nobody; None where no intent has that tool.

        Raises:
            RexecopError: it is not planned.
        """
        self._door.require(caller, Act.VIEW)
        require_canonical(dict(arguments))
        view = await self._planned(caller, name, arguments)
        if view is not None:
            self._start(caller, view)
        return view

    async def task(self, caller: Caller, task_id: str) -> tuple[OperationView, str]:
        """Return how far a task is, and why it was not started when it last could have been; start it then.

        Raises:
            ToolRefused: the caller asked for no such operation, or may not see it: both read the same.
        """
        view = await self._of_caller(caller, task_id)
        refused = self._refused.pop(view.operation_id, "")
        self._start(caller, view)
        return view, refused

    async def result(self, caller: Caller, task_id: str, told: Told) -> Answer | None:
        """Wait for a task as long as calls wait; return what a call is answered, None before it has ended.

        Raises:
            ToolRefused: as `task`. ServiceError: the service ends before it. RexecopError: it could not be
                started or went wrong here.
        """
        view = await self._of_caller(caller, task_id)
        self._results += 1
        try:
            view = await self._wait(caller, view, self._wait_seconds, told, for_people=True)
        finally:
            self._results -= 1
        if is_over(view):
            return await self._answer(view)
        if self._leaving:
            raise ServiceError("the service ends; ask again once it is back")
        return None

    async def cancel(self, caller: Caller, task_id: str, told: Told) -> OperationView:
        """End a task before its next step; return how far it is once its call in flight has ended, too.

        Raises:
            ToolRefused: as `task`, or it has ended already. RexecopError: it may not be cancelled.
        """
        view = await self._of_caller(caller, task_id)
        if is_over(view):
            raise ToolRefused(f"operation #{view.number} has ended: it is {view.state}", argument="taskId")
        view = await self._cancelled(caller, view, None)
        return await self._wait(caller, view, self._wait_seconds, told, for_people=False)

    async def tasks(self, caller: Caller, before: int) -> tuple[tuple[OperationView, ...], int | None]:
        """Return a page of tasks below number `before` (0: the newest), and below which the next begins."""
        lines = await asyncio.to_thread(
            self._instance.list,
            after=before,
            limit=take.LISTED_MAX + 1,
            where={"requester": caller.name},
        )
        page = lines[: take.LISTED_MAX]
        views = [await asyncio.to_thread(self._instance.status, line.operation_id) for line in page]
        seen = tuple(view for view in views if self._allows(caller, Act.VIEW, _of(view)))
        return seen, page[-1].number if len(lines) > len(page) else None

    async def _of_caller(self, caller: Caller, task_id: str) -> OperationView:
        unknown = ToolRefused(f"there is no task `{task_id:.60}`", argument="taskId")
        try:
            view = await self._seen(caller, {"operation_id": task_id})
        except ToolRefused:
            raise unknown from None
        if view.operation_id != task_id or view.requester != caller.name:
            raise unknown
        return view


def _of(view: OperationView) -> Matter:
    return Matter(intent=f"{view.profile}/{view.intent}", target=view.target, environment=view.environment)
