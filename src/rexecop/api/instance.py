"""An opened root for Python programs: every method is awaited, checks its arguments and answers with a view.

What only reads or waits for a disk runs in a thread, so that the caller's event loop goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Final, Literal, TypeAlias, TypedDict, Unpack, get_args

from rexecop.api import arguments as take
from rexecop.api.arguments import StrPath
from rexecop.api.errors import ArgumentRefused, InstanceClosed, OtherLoop, TimedOut
from rexecop.api.verifying import Judging, verified
from rexecop.app import instance as opened
from rexecop.app.evidence import Asked
from rexecop.app.formats import FORMATS
from rexecop.app.functions import Functions
from rexecop.app.planner import PlanInput
from rexecop.app.views import ExportView, OperationLine, OperationView, RecordView, WhyView
from rexecop.app.waiting import LOOK_SECONDS, Waits
from rexecop.app.watching import is_over
from rexecop.proof.canonical import INTEGER_MAX, Json
from rexecop.proof.verify.report import Report
from rexecop.proof.vocabulary import Mode, State

Priority: TypeAlias = Literal["low", "normal", "high"]

CHANNEL: Final = "python"  # The door that requests of programs come through.
SHARE: Final = 10  # Looking takes at most a tenth of the time, however large the operation is.
DETACHED: Final = "what is detached is not waited for here; use `wait`"
LISTED_MAX: Final = 1000  # More at once is a page nobody reads; `after` goes on.


class Going(TypedDict, total=False):
    """How an operation goes on: the `reason` is recorded; the rest is as for `start`."""

    reason: str | None
    wait: bool
    timeout: float | None
    detach: bool


class Saying(TypedDict, total=False):
    """How an approver says it: with the `key` in a file, or with one of the SSH agent's (`agent`).

    With `step` it is about the call of that step, which waits for it; with `behalf` it is the vote of that
    person, who gave it to the approver.
    """

    key: StrPath | None
    agent: bool
    reason: str | None
    step: str | None
    behalf: str | None


class Instance:
    """One runtime root, opened by `open_instance`; operations are named by id, short number or `@`.

    It belongs to the event loop that uses it first. Every refusal is a `RexecopError` with a code.
    """

    def __init__(self, instance: opened.Instance) -> None:
        """Take over `instance`, which is closed with this one."""
        self._instance = instance
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._registry: Functions | None = None

    async def __aenter__(self) -> Instance:
        self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the ledger and end what was started; safe to repeat.

        Raises:
            OtherLoop: it is used in an event loop that still runs, and is closed there.
        """
        if self._closed:
            return
        if self._loop is not None and self._loop.is_running():
            self._open()
        self._closed = True
        self._instance.close()  # In this thread: connections belong to their loop.

    @property
    def unpublished(self) -> tuple[str, ...]:
        """Once closed: which sinks did not take the newest checkpoint, and why."""
        return self._instance.unpublished

    def _open(self) -> opened.Instance:
        """Return what is open.

        Raises:
            InstanceClosed, OtherLoop: it cannot be used, or not from here.
        """
        if self._closed:
            raise InstanceClosed("this instance was closed", next_steps=("open_instance(…)",))
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            words = "this instance is used in another event loop; open one in each, or `open_instance_sync`"
            raise OtherLoop(words, next_steps=("open_instance(…)",))
        return self._instance

    def _functions(self) -> Functions:
        """Return the functions of this program that this instance governs, and runs from now on."""
        if self._registry is None:
            self._registry = Functions(self._instance)
            self._instance = self._registry.instance
        return self._registry

    # --- asking and running ---

    async def plan(
        self,
        intent: str,
        target: str | None = None,
        *,
        mode: Mode | str | None = None,
        parameters: Mapping[str, Json] | None = None,
        reason: str | None = None,
        idempotency_key: str | None = None,
        profile: str | None = None,
        env: StrPath | None = None,
        catalog: StrPath | None = None,
        observe: bool | None = None,
        break_glass: str | None = None,
        override_window: str | None = None,
    ) -> OperationView:
        """Record what would run, on what, under which rules and needing whose approval; nothing runs.

        Its `state` says what policy answered: `approved`, `waiting_for_approval` or `blocked`. What is not
        named is what `open_instance` or the settings say; the mode else is `dry_run`. The same
        `idempotency_key` and request give the same operation.

        Raises:
            ArgumentRefused: an argument is missing or of another kind. RequestConflict: the key stands for
            another request. OperationsError: the request is no plan. In each case nothing was stored.
        """
        instance, usual = self._open(), self._instance.settings.mode or Mode.DRY_RUN
        asked = self._named(intent, target, profile, env, catalog)
        return await instance.plan(
            replace(
                asked,
                mode=take.word("mode", take.usual("mode", mode, usual), Mode),
                parameters=None if parameters is None else take.parameters(parameters),
                reason=take.optional("reason", reason),
                idempotency_key=take.optional("idempotency_key", idempotency_key),
                observe=None if observe is None else observe is True,
                break_glass=take.optional("break_glass", break_glass),
                override_window=take.optional("override_window", override_window),
            )
        )

    def _named(
        self, intent: object, target: object, profile: object, env: object, catalog: object
    ) -> PlanInput:
        """Return the request as far as names and files go.

        Raises:
            ArgumentRefused: one is named nowhere. NotApplicable: a catalog says it is not for that target.
        """
        settings, wanted, through = self._instance.settings, take.text("intent", intent), None
        target = take.usual("target", target, settings.target)
        if catalog is not None:
            from rexecop.app.catalogs import base_of, route

            if env is not None:
                raise ArgumentRefused("`catalog` names the environment; give it or `env`", argument="env")
            base, file = base_of(settings.root), take.path("catalog", catalog)
            through = route(
                file, take.text("target", target), wanted, base, take.optional("profile", profile)
            )
            target, profile, env = through.target, through.profile, through.env
        return PlanInput(
            profile=take.text("profile", take.usual("profile", profile, settings.profile)),
            env=str(take.path("env", take.usual("env", env, settings.env))),
            intent=wanted,
            target=take.text("target", target),
            channel=CHANNEL,
            catalog=through,
        )

    async def start(
        self,
        operation: str,
        *,
        wait: bool = False,
        timeout: float | None = None,
        priority: Priority | None = None,
        detach: bool = False,
        as_planned: bool = False,
    ) -> OperationView:
        """Run an operation until it ends, or return at once where it may not run: `state`, `waiting` say why.

        With `wait` it waits here for its turn, for approval and for whoever drives it meanwhile; with
        `detach` a worker of the root starts it. With `as_planned` changed files of the plan do not count.

        Raises:
            TimedOut: `timeout` seconds passed; the call in flight was ended, and its record says how.
            IllegalMove: it ran already, or never will. PlanDrifted, CatalogDrifted: plan again.
        """
        instance, until, name = self._open(), take.seconds(timeout), take.text("operation", operation)
        rank = None if priority is None else take.word("priority", priority, get_args(Priority))
        if not detach:
            work = instance.start(name, timeout=until, wait=wait, priority=rank, as_planned=as_planned)
            return await self._until(name, until, work)
        if wait or timeout is not None:
            raise ArgumentRefused(DETACHED, argument="detach")
        return instance.enqueue(name, rank, as_planned=as_planned)

    async def resume(self, operation: str, **how: Unpack[Going]) -> OperationView:
        """Go on with a paused operation."""
        return await self._goes_on(self._open().resume, operation, **how)

    async def retry(self, operation: str, **how: Unpack[Going]) -> OperationView:
        """Try the failed step of a failed operation again."""
        return await self._goes_on(self._open().retry, operation, **how)

    async def rollback(self, operation: str, **how: Unpack[Going]) -> OperationView:
        """Undo what an operation did, latest step first."""
        return await self._goes_on(self._open().rollback, operation, **how)

    async def _goes_on(
        self,
        work: Callable[[str, str | None, Waits], Awaitable[OperationView]],
        operation: str,
        *,
        reason: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
        detach: bool = False,
    ) -> OperationView:
        until, name = take.seconds(timeout), take.text("operation", operation)
        if detach and (wait or timeout is not None):
            raise ArgumentRefused(DETACHED, argument="detach")
        waits = Waits(timeout=until, wait=wait, detach=detach)
        return await self._until(name, until, work(name, take.optional("reason", reason), waits))

    async def reconcile(
        self,
        operation: str,
        *,
        happened: bool | None = None,
        reason: str | None = None,
        step: str | None = None,
    ) -> OperationView:
        """Settle outcomes nobody knows, or that of `step`: by looking, or on your word that it `happened`.

        Raises:
            ArgumentRefused: a word without its reason. NothingToSettle, TooEarly: not now.
        """
        if happened is not None and reason is None:
            raise ArgumentRefused("`happened` is your word; it takes a `reason`", argument="reason")
        return await self._open().reconcile(
            take.text("operation", operation),
            probe=happened is None,
            happened=happened,
            reason=take.optional("reason", reason),
            step=take.optional("step", step),
        )

    async def pause(self, operation: str, *, reason: str | None = None) -> OperationView:
        """Stop an operation before its next step."""
        return await self._open().pause(take.text("operation", operation), take.optional("reason", reason))

    async def cancel(self, operation: str, *, reason: str | None = None) -> OperationView:
        """End an operation before it is done; what it did stays done."""
        return await self._open().cancel(take.text("operation", operation), take.optional("reason", reason))

    async def wait(self, operation: str, *, timeout: float | None = None) -> OperationView:
        """Look until an operation is over, whoever drives it: it ended, or its outcome is unknown.

        Looking changes nothing and starts nothing.

        Raises:
            TimedOut: `timeout` seconds passed.
        """
        name, until = self._open().resolve(take.text("operation", operation)), take.seconds(timeout)
        return await self._until(name, until, self._over(name, until))

    async def _over(self, operation: str, until: float | None) -> OperationView:
        async with asyncio.timeout(until):
            while True:
                began = time.monotonic()
                view = await asyncio.to_thread(self._open().status, operation)
                if is_over(view):
                    return view
                await asyncio.sleep(max(LOOK_SECONDS, SHARE * (time.monotonic() - began)))

    async def _until(
        self, operation: str, until: float | None, work: Awaitable[OperationView]
    ) -> OperationView:
        try:
            return await work
        except TimeoutError as error:
            if until is None:
                raise
            raise TimedOut(until, await self.status(operation)) from error

    # --- approving ---

    async def approve(self, operation: str, **said: Unpack[Saying]) -> OperationView:
        """Sign a yes to what `preview` shows, with the approver's own key.

        Raises:
            ApprovalRefused: the approver may not. ApprovalNotAsked: the operation does not ask.
            IdentityRefused, KeyRefused: there is no key to sign with.
        """
        return await self._say(operation, approves=True, **said)

    async def deny(self, operation: str, **said: Unpack[Saying]) -> OperationView:
        """Sign a no, which blocks the operation until it is taken back; else as `approve`."""
        return await self._say(operation, approves=False, **said)

    async def _say(
        self,
        operation: str,
        *,
        approves: bool,
        key: StrPath | None = None,
        agent: bool = False,
        reason: str | None = None,
        step: str | None = None,
        behalf: str | None = None,
    ) -> OperationView:
        return await self._open().approve(
            take.text("operation", operation),
            key=take.optional_path("key", key),
            agent=agent,
            approves=approves,
            reason=take.optional("reason", reason),
            step=take.optional("step", step),
            behalf=take.optional("behalf", behalf),
        )

    # --- looking ---

    async def status(self, operation: str) -> OperationView:
        """Return where an operation stands, as its records say."""
        return await asyncio.to_thread(self._open().status, take.text("operation", operation))

    async def preview(self, operation: str) -> str:
        """Return the plan as its approvers see and sign it."""
        return await asyncio.to_thread(self._open().preview, take.text("operation", operation))

    async def why(self, operation: str) -> WhyView:
        """Return why an operation is where it is, and the commands that may follow."""
        return await asyncio.to_thread(self._open().why, take.text("operation", operation))

    async def history(self, operation: str, *, seen: int = 0) -> tuple[RecordView, ...]:
        """Return every record behind the first `seen`, in causal order."""
        name, seen = take.text("operation", operation), take.whole("seen", seen, 0, INTEGER_MAX)
        return await asyncio.to_thread(self._open().history, name, seen)

    async def operations(
        self, *, state: State | str | None = None, after: int = 0, limit: int = 100
    ) -> tuple[OperationLine, ...]:
        """Return at most `limit` operations below number `after` (0: all), newest first."""
        return await asyncio.to_thread(
            self._open().list,
            state=None if state is None else take.word("state", state, State),
            after=take.whole("after", after, 0, INTEGER_MAX),
            limit=take.whole("limit", limit, 1, LISTED_MAX),
        )

    # --- proof ---

    async def export(
        self,
        operation: str,
        path: StrPath,
        *,
        format: str = "bundle",
        with_outputs: bool = False,
        witnessed: bool = False,
        stamped: bool = False,
    ) -> ExportView:
        """Write evidence of an operation, in one of the forms of `rexecop export`; the export is recorded.

        It is cut where a witness cosigned last if `witnessed`, where the log was stamped last if `stamped`.

        Raises:
            FileRefused: it cannot be written. FormatRefused: the form is not of one operation.
        """
        if witnessed and stamped:
            raise ArgumentRefused("it is cut at one checkpoint: `witnessed` or `stamped`", argument="stamped")
        asked = Asked(
            form=take.word("format", format, FORMATS),
            path=take.path("path", path),
            with_outputs=with_outputs,
            witnessed=witnessed,
            stamped=stamped,
        )
        return await asyncio.to_thread(self._open().export, take.text("operation", operation), asked)

    async def verify(self, bundle: StrPath, **judged: Unpack[Judging]) -> Report:
        """Do as `verify_bundle`, by the keys that this root has enrolled where no folder is named."""
        known = self._open().settings
        return await asyncio.to_thread(verified, bundle, known.root, known.kernel_guard_key, **judged)
