"""An instance opened for the HTTP service: what it may ask, and whether it can be answered now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from types import TracebackType
from typing import Final

from rexecop import __version__
from rexecop.app.access import AccessPoint
from rexecop.app.build import open_instance
from rexecop.app.callers import Planned, Taken, event_called, events_of, tell_events
from rexecop.app.contract import Contract
from rexecop.app.demo_authority import DemoAuthority
from rexecop.app.door import Caller, Door
from rexecop.app.doors import RootDoor, Throttle
from rexecop.app.events import EventView
from rexecop.app.execute import DEMO_MODE, Answer, Executor
from rexecop.app.execute_intents import ActionLine, Intents
from rexecop.app.instance import Instance
from rexecop.app.measuring import Measuring
from rexecop.app.nodes import hub_of
from rexecop.app.root import Root
from rexecop.app.service_file import ServiceFileReader
from rexecop.app.settings import Settings
from rexecop.app.signing_in import SigningIn
from rexecop.app.tracing import Lines
from rexecop.app.webhooks import take_webhook
from rexecop.app.working import Works
from rexecop.lanes.registry import HANDLERS
from rexecop.operations.errors import AppendConflict
from rexecop.operations.ports import Batch, Lock
from rexecop.proof.call import HandlerRequest
from rexecop.proof.errors import RexecopError
from rexecop.proof.payload import Value
from rexecop.proof.publickey import verify

PROBE: Final = "readiness"  # The name of the lock a readiness check takes and gives back; no target has it.
PROBE_TRIES: Final = 3  # Records of the instance itself are rare; being overtaken twice is no accident.


class Serving:
    """One runtime root behind the service: two harmless actions, one built-in pack, in one mode."""

    version: Final = __version__

    def __init__(
        self,
        instance: Instance,
        contract: Contract = DEMO_MODE,
        door: Door | None = None,
        throttle: Throttle | None = None,
    ) -> None:
        self.contract: Final = contract
        self.instance: Final = instance
        self.works: Final = Works(instance)
        self._instance = instance
        self._leaving: list[Callable[[], None]] = []
        self._world = instance.parts.world
        self._chain = instance.parts.ledger.instance_id
        self._authority = DemoAuthority(instance.parts.authority, self._world.clock)
        self._executor = Executor(self._world, self._authority, contract)
        self._intents = Intents(instance, contract)
        self.nodes: Final = hub_of(instance)
        root, authority = Root(instance.parts.settings.root), instance.parts.authority
        self.access: Final = AccessPoint(root, authority, self._world.clock.now)
        self.throttle: Final = throttle or Throttle(self._world.clock)
        self.door: Door = door or RootDoor(root, authority, self.access, self._world.clock, self.throttle)
        self.signing_in: Final = SigningIn(ServiceFileReader(root), self._world.clock, instance.parts.secrets)
        self.measuring: Final = Measuring(instance)
        self.log: Final = Lines(log) if (log := instance.parts.settings.log) else None
        self.begun: Final = self._world.ids.nonce()  # Names this run of the service among others.

    def __enter__(self) -> Serving:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.works.close()
        self._instance.close()

    @property
    def settings(self) -> Settings:
        """The settings of the root that is served."""
        return self._instance.settings

    def on_leaving(self, work: Callable[[], None]) -> None:
        """Have `work` called when the service is told to stop, while answers are still under way."""
        self._leaving.append(work)

    def leave(self) -> None:
        """Let what is driven park before its next call, and answers without end come to one."""
        self.works.leave()
        for work in self._leaving:
            work()

    def now(self) -> datetime:
        """Return the time, UTC."""
        return self._world.clock.now()

    def nobody(self) -> Serving:
        """Return the same, with a door that lets nobody in, and takes the steps of ours to say so.

        Guesses count as at ours. It is opened and closed with this one.
        """
        root, clock, found = Root(self.settings.root / "nobody"), self._world.clock, copy(self)
        access = AccessPoint(root, self._instance.parts.authority, clock.now)
        found.door = RootDoor(root, self._instance.parts.authority, access, clock, self.throttle)
        return found

    async def knock(self, headers: Mapping[str, str], peer: str | None) -> None:
        """Return once the door can say at once who sent a request; raises as `doors.RootDoor.knock`."""
        if isinstance(self.door, RootDoor):
            await self.door.knock(headers, peer)

    async def execute(
        self, action: str, payload: Value, nonce: str, artifact: Mapping[str, Value] | None = None
    ) -> Answer:
        """Carry out a request of the `/execute` contract; see `Executor.execute` and `Intents.execute`."""
        if action not in HANDLERS and isinstance(payload, dict):
            named = self._intents.find(action)
            if named is not None:
                return await self._intents.execute(named, payload, nonce, artifact)
        return await self._executor.execute(action, payload, nonce, artifact)

    def actions(self) -> list[ActionLine]:
        """Return the actions that `/execute` takes in this mode, by name; raises as `Intents.lines`."""
        allowed = self.contract.allowed
        own = (
            ActionLine(action=one.action, title=one.action, effect=str(one.effect), payload=one.schema)
            for one in HANDLERS.values()
        )
        found = (one for one in (*own, *self._intents.lines()) if allowed is None or one.action in allowed)
        return sorted(found, key=lambda one: one.action)

    def holds(self, name: str, result: str, receipt: str) -> bool:
        """Return whether the ledger holds that execution; see `Executor.holds`."""
        return self._executor.holds(name, result, receipt) or self._intents.holds(name, result, receipt)

    async def webhook(self, name: str, headers: Mapping[str, str], body: bytes) -> EventView:
        """Take an event that came to the webhook `name`; see `app.webhooks.take_webhook`."""
        return await self.works.run(lambda: take_webhook(self._instance, name, headers, body))

    async def tell_events(self, caller: Caller, bodies: Sequence[bytes]) -> tuple[Taken, ...]:
        """Take the events that `caller` tells; see `app.callers.tell_events`."""
        return await self.works.run(lambda: tell_events(self._instance, caller, bodies))

    def events_of(self, caller: Caller, before: int, limit: int) -> tuple[list[Planned], int | None]:
        """Return events of `caller` that led to plans; see `app.callers.events_of`."""
        return events_of(self._instance, caller, before, limit)

    def event_called(self, caller: Caller, key: str) -> Planned | str | None:
        """Return one event; see `app.callers.event_called`."""
        return event_called(self._instance, caller, key)

    async def problems(self) -> tuple[str, ...]:
        """Return in words what keeps requests from being carried out now; nothing if they can be.

        The ledger is read, written and flushed; no record is left.
        """
        ledger = await self.ledger_problem()
        return (*self._engine_problems(), *(() if ledger is None else (f"ledger: {ledger}",)))

    async def ledger_problem(self) -> str | None:
        """Return in words why the ledger cannot be written to; None where it was, a moment ago."""
        try:
            await self._write()
        except RexecopError as error:
            return error.message
        return None

    def engine_problems(self) -> tuple[str, ...]:
        """Return in words what keeps requests from being carried out, but for the ledger."""
        return tuple(self._engine_problems())

    def _engine_problems(self) -> Iterator[str]:
        yield from (f"approvals: {problem}" for problem in self.contract.problems)
        problem = self._authority.policy().problem_at(self._world.clock.now())
        if problem is not None:
            yield f"policy: {problem}"
        if HandlerRequest.kind not in self._world.lanes:
            yield "engine: no lane runs handlers"
        try:
            self._intents.find("")
        except RexecopError as error:
            yield f"actions: {error.message}"
        signer = self._world.signer
        try:
            verify(signer.public, PROBE.encode(), signer.sign(PROBE.encode()))
        except RexecopError as error:
            yield f"instance key: {error.message}"

    async def _write(self) -> None:
        """Take and give back a lock in one flushed transaction on the instance's own chain."""
        store, instance = self._world.store, self._chain
        for left in reversed(range(PROBE_TRIES)):
            batch = Batch(
                operation=instance,
                expected=store.records_of(instance),
                records=(),
                locks=(
                    Lock(target=PROBE, exclusive=False),
                    Lock(target=PROBE, exclusive=False, release=True),
                ),
            )
            try:
                await store.append(batch)
            except AppendConflict:
                if not left:
                    raise
            else:
                return


def open_serving(
    settings: Settings, contract: Contract = DEMO_MODE, throttle: Throttle | None = None
) -> Serving:
    """Open the root of `settings` for the service in the mode that `contract` is; `throttle` counts guesses.

    Raises:
        RootMissing, RootUnsafe: there is no usable root. StoreError: the ledger cannot be opened.
    """
    return Serving(open_instance(settings), contract, throttle=throttle)
