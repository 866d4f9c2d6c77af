"""Python functions as actions: a profile made from their registration, and plans of one call.

A plan of a function is like any other. That the function is called only through it is the word of
the program that registered it: this runs in that program, and nothing keeps it from calling what is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Final
from weakref import WeakValueDictionary

from rexecop.app.instance import Instance
from rexecop.app.planner import PlanInput, Prepared
from rexecop.app.views import OperationView
from rexecop.app.waiting import LOOK_SECONDS
from rexecop.app.watching import is_over
from rexecop.engines.closing import stored_output
from rexecop.engines.driver import Driver
from rexecop.engines.errors import NotWaiting, RunnerBusy
from rexecop.lanes.functions import GIVEN, Function, FunctionLane, Given
from rexecop.lanes.port import Lane
from rexecop.operations.environment import load_environment
from rexecop.operations.inline_secrets import refuse_secret_values
from rexecop.operations.pinned_files import environment_snapshot, profile_snapshot
from rexecop.operations.planning import PlanDraft
from rexecop.operations.ports import PinnedInput
from rexecop.operations.profile import load_profile
from rexecop.proof.call import Call, HandlerRequest, Limits
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.records.intent import EnvironmentRef, ProfileRef
from rexecop.proof.records.plan import CallStep, PlannedTarget
from rexecop.proof.vocabulary import Effect, Grade, Isolation, Mode, State

CHANNEL: Final = "python"
CONNECTOR: Final = "function"  # What policy sees of such a call: `call:PROFILE/function/ACTION`.
STEP: Final = "call"
NORMALIZER: Final = "answer"
TARGET_TYPE: Final = "function"
OUTPUT_BYTES_MAX: Final = 64 * 1024  # An answer, as over HTTP; what is more belongs into a file.


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """What a function was registered as; `says` is its name, signature and the digest of its source.

    `parameters` is a JSON Schema of an object; what else it takes is as for `lanes.functions.Function`.
    """

    profile: str
    action: str
    effect: Effect
    risk: str
    target: str
    criticality: str
    parameters: Mapping[str, Json]
    says: str
    timeout_ms: int
    awaits: bool
    run: Callable[[Mapping[str, Json], Mapping[str, str]], object]
    answer: Callable[[object], Json]
    secrets: Mapping[str, str]
    unsure: tuple[type[Exception], ...]

    @property
    def function(self) -> Function:
        """What the lane calls."""
        return Function(
            effect=self.effect,
            awaits=self.awaits,
            run=self.run,
            answer=self.answer,
            secrets=self.secrets,
            unsure=self.unsure,
        )

    @property
    def mode(self) -> Mode:
        """The mode it runs in: what reads may not change."""
        return Mode.READ_ONLY if self.effect is Effect.READ else Mode.APPLY

    def profile_files(self) -> dict[str, bytes]:
        """Return the profile it comes to: whatever is another of the registration has another digest."""
        action = self.action
        call: Json = {"type": "connector", "connector": CONNECTOR, "normalize": NORMALIZER}
        assert isinstance(call, dict)
        rule: Json = {"type": "require_equals", "path": f"{STEP}.status_code", "value": 0}
        assert isinstance(rule, dict)
        texts: dict[str, Json] = {
            "profile.yaml": {"profile_contract": {"name": self.profile, "version": "1"}},
            f"connectors/{CONNECTOR}.yaml": {
                "connector": {
                    "name": CONNECTOR,
                    "description": self.says,
                    "capabilities": [action],
                    "actions": {action: {"effect": str(self.effect)}},
                }
            },
            f"intents/{action}.yaml": {
                "intent": {
                    "workflow": f"workflows/{action}.yaml",
                    "risk": self.risk,
                    "modes": [str(self.mode)],
                    "enforce_declared_modes": True,
                    "parameters": dict(self.parameters),
                }
            },
            f"normalizers/{NORMALIZER}.yaml": {
                "normalizer": {
                    "description": "Whether it returned.",
                    "facts": {"status_code": {"exit_status": True, "type": "integer"}},
                }
            },
            f"validation_rules/{action}.yaml": {
                "validation_rule": {"intent": action, "steps": [{**rule, "rule": f"{action}.returned"}]}
            },
            f"workflows/{action}.yaml": {
                "workflow": {
                    "intent": action,
                    "mode": str(self.mode),
                    "risk": self.risk,
                    "steps": [{**call, "id": STEP, "action": action}],
                }
            },
        }
        return {path: canonical_bytes(text) for path, text in texts.items()}

    def environment_file(self) -> dict[str, bytes]:
        """Return the environment it comes to: this program, and the one target it was registered for."""
        target: Json = {"type": TARGET_TYPE, "criticality": self.criticality}
        environment: Json = {"id": self.profile, "profile": self.profile, "connectors": {}}
        assert isinstance(environment, dict)
        safety: Json = {"default_mode": str(self.mode)}
        whole: Json = {"environment": {**environment, "targets": {self.target: target}, "safety": safety}}
        return {"environment.yaml": canonical_bytes(whole)}


async def start_here(instance: Instance, operation: str) -> OperationView:
    """Do as `Instance.start`; what may not begin yet is left in no queue, so that nobody else begins it."""
    view = await instance.start(operation)
    if view.place is not None:
        with suppress(NotWaiting):
            instance.parts.lifecycle.queue.leave(instance.operation(operation))
    return view


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """Where an operation of a function stands, and what the function gave if it was called just now."""

    view: OperationView
    given: Given


class Registered:
    """One registered function: what plans of it are made from, and how they run."""

    def __init__(self, instance: Instance, registration: Registration) -> None:
        files, environment_file = registration.profile_files(), registration.environment_file()
        profile, environment = load_profile(files), load_environment(environment_file)
        self._instance = instance
        self._registration = registration
        self._parameters = profile.intents[registration.action].parameters
        self._profile = ProfileRef(name=profile.name, version=profile.version, digest=profile.digest)
        self._environment = EnvironmentRef(id=environment.id, digest=environment.digest)
        self._inputs = (
            PinnedInput(digest=profile.digest, role="profile", data=profile_snapshot(files)),
            PinnedInput(
                digest=environment.digest, role="environment", data=environment_snapshot(environment_file)
            ),
        )
        # Which policy is in force is asked before anything of it is stored.
        self._keep = (profile, files, environment)
        # A turn lasts as long as somebody has it or waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.name = f"{registration.profile}/{registration.action}"

    async def plan(self, given: Mapping[str, Json], reason: str | None, key: str | None) -> OperationView:
        """Record what would be called with the parameters `given`, and what policy answers.

        Raises:
            ParameterRefused: the function does not take them. SecretInline: one looks like a secret.
            RequestConflict: the idempotency `key` stands for another request.
        """
        profile, files, environment = self._keep
        registration, planner = self._registration, self._instance.parts.planner
        planner.remember(profile, files, environment)
        refuse_secret_values(given)
        assert self._parameters is not None
        prepared = Prepared(draft=self._draft(self._parameters.check(given)), inputs=self._inputs)
        return await self._instance.plan(
            PlanInput(
                profile=registration.profile,
                env=self._environment.id,
                intent=registration.action,
                target=registration.target,
                mode=registration.mode.value,
                parameters=prepared.draft.parameters,
                reason=reason,
                idempotency_key=key,
                channel=CHANNEL,
                prepared=prepared,
            )
        )

    def _draft(self, values: Mapping[str, Json]) -> PlanDraft:
        known, target = self._registration, self._registration.target
        call = Call(
            target=target,
            connector=CONNECTOR,
            action=known.action,
            effect=known.effect,
            request=HandlerRequest(action=self.name, payload=canonical_bytes(dict(values)).decode()),
        )
        step = CallStep(
            id=STEP,
            target=target,
            call=call,
            limits=Limits(timeout_ms=known.timeout_ms, output_bytes=OUTPUT_BYTES_MAX),
            isolation=Isolation.NONE,
            idempotent=known.effect is Effect.READ,
            grade=Grade.SHAPE if known.effect is Effect.READ else None,
            normalizer=NORMALIZER,
        )
        return PlanDraft(
            profile=self._profile,
            environment=self._environment,
            intent=known.action,
            target=target,
            mode=known.mode,
            parameters=values or None,
            effect=known.effect,
            risk=known.risk,
            targets=(PlannedTarget(id=target, type=TARGET_TYPE, criticality=known.criticality),),
            steps=(step,),
            notes=None,
        )

    def is_mine(self, operation: str) -> bool:
        """Return whether the operation was planned from this very registration."""
        op = self._instance.operation(operation)
        return (op.the_plan.profile, op.the_intent.intent) == (
            self._profile.digest,
            self._registration.action,
        )

    async def run(self, operation: str, *, wait: bool, seconds: float | None) -> Ran:
        """Drive an operation of this function until it is over, or return where it may not begin.

        With `wait` it waits here for approval and for its turn, at most so many `seconds`; then it is called.

        Raises:
            RunnerBusy: somebody else drives it, and nobody waits. TimeoutError: the seconds passed first.
        """
        given, loop = Given(), asyncio.get_running_loop()
        until, token = None if seconds is None else loop.time() + seconds, GIVEN.set(given)
        try:
            async with self._alone(operation):
                while True:
                    view = await self._further(operation, wait=wait)
                    if is_over(view) or not wait:
                        return Ran(view=view, given=given)
                    if until is not None and loop.time() >= until:
                        raise TimeoutError
                    await asyncio.sleep(LOOK_SECONDS)
        finally:
            GIVEN.reset(token)

    async def _further(self, operation: str, *, wait: bool) -> OperationView:
        """Return where the operation stands once it went as far as it may now; it is in no queue then.

        From the queue a worker in another process would take it, which has no such function.
        """
        view = self._instance.status(operation)
        if is_over(view) or view.state == State.WAITING_FOR_APPROVAL:
            return view
        try:
            return await start_here(self._instance, operation)
        except RunnerBusy:
            if not wait:
                raise
            return view

    @asynccontextmanager
    async def _alone(self, operation: str) -> AsyncIterator[None]:
        """Let calls of one operation pass one by one: all but the first are answered from the ledger."""
        turn = self._turns.setdefault(operation, asyncio.Lock())
        async with turn:
            yield

    def recorded(self, operation: str) -> Json:
        """Return what evidence holds of the answer; None where it is not kept any more."""
        found = stored_output(self._instance.operation(operation), self._instance.parts.store, STEP).stdout
        return parse_json(found, bytes_max=OUTPUT_BYTES_MAX) if found else None


class _Lanes(Mapping[str, Lane]):
    """The lanes of an instance, and functions of this program in the place of those of the service."""

    def __init__(self, others: Mapping[str, Lane], functions: FunctionLane) -> None:
        self._others = others
        self._functions = functions

    def __getitem__(self, kind: str) -> Lane:
        return self._functions if kind == HandlerRequest.kind else self._others[kind]

    def __iter__(self) -> Iterator[str]:
        return iter(self._others)

    def __len__(self) -> int:
        return len(self._others)


class Functions:
    """The registered functions of one program; `instance` runs them beside everything else."""

    def __init__(self, instance: Instance) -> None:
        self._lane = FunctionLane(instance.parts.secrets)
        lanes = _Lanes(instance.parts.world.lanes, self._lane)
        self.instance: Final = instance.driven_by(lambda world: Driver(replace(world, lanes=lanes)))

    def register(self, registration: Registration) -> Registered | None:
        """Take a function in; None where its name is taken.

        Raises:
            OperationsError: a name or a schema in it is not usable.
        """
        found = Registered(self.instance, registration)
        if found.name in self._lane.functions:
            return None
        self._lane.functions[found.name] = registration.function
        return found
