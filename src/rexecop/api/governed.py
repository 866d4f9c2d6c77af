"""`@governed`: a Python function behind policy, approval, attempt and receipt."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import update_wrapper
from typing import (
    Final,
    Generic,
    Literal,
    NoReturn,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from rexecop.api import arguments as take
from rexecop.api.errors import (
    ApprovalNeeded,
    ArgumentRefused,
    NotAllowed,
    NotCompleted,
    NotStarted,
    OutcomeUnknown,
    TimedOut,
)
from rexecop.api.instance import Instance
from rexecop.api.signatures import Shape, answer_of, digest_answer, shape_of
from rexecop.api.sync import SyncInstance
from rexecop.app.functions import Ran, Registered, Registration
from rexecop.app.views import OperationView
from rexecop.proof.canonical import Json
from rexecop.proof.vocabulary import Effect, State

P = ParamSpec("P")
T = TypeVar("T")

PROFILE: Final = "python"
CALL_SECONDS: Final = 60  # What takes longer says so; a call that hangs holds its target.
CRITICALITIES: Final = ("low", "medium", "high", "critical")
RESULTS: Final = ("evidence", "digest")


class Asking(TypedDict, total=False):
    """How one call is asked for: its `reason` is recorded; the same `idempotency_key` and arguments stand
    for one operation, which is called once. With `wait` the call waits for approval and for its turn, at
    most `timeout` seconds.
    """

    reason: str | None
    idempotency_key: str | None
    wait: bool
    timeout: float | None


class Governing(TypedDict, total=False):
    """What a function is registered as: see `governed`."""

    target: str
    profile: str
    criticality: str
    risk: str
    parameters: Mapping[str, Json] | None
    result: Literal["evidence", "digest"]
    secrets: Mapping[str, str]
    unsure: tuple[type[Exception], ...]
    seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """One way of asking, checked."""

    reason: str | None = None
    key: str | None = None
    wait: bool = False
    timeout: float | None = None


class Governed(Generic[P, T]):
    """A governed function: awaited, it is planned, decided, recorded and called; see `governed`.

    Every refusal is a `RexecopError`; what the function raises is recorded as a failure and raised again.
    """

    def __init__(
        self, instance: Instance, registered: Registered, shape: Shape, keeps: bool, how: _How = _How()
    ) -> None:
        """Stand for `registered`; with `keeps` evidence holds what the function returns."""
        self._instance = instance
        self._registered = registered
        self._shape = shape
        self._keeps = keeps
        self._how = how

    async def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function, if that is allowed now, and return what it returned.

        Raises:
            ApprovalNeeded, NotAllowed, NotStarted: it was not called. ParameterRefused: nor planned.
            NotCompleted, OutcomeUnknown: it has no answer. Also whatever the function raises.
        """
        view = await self.plan(*args, **kwargs)
        return await self.run(view.operation_id)

    def asking(self, **how: Unpack[Asking]) -> Governed[P, T]:
        """Return the same function, asked for in this way."""
        made = Governed[P, T](self._instance, self._registered, self._shape, self._keeps, _how(how))
        return _dressed(made, self)

    async def plan(self, *args: P.args, **kwargs: P.kwargs) -> OperationView:
        """Record what would be called and what policy answers; nothing is called."""
        self._instance._open()
        return await self._registered.plan(self._shape.given(args, kwargs), self._how.reason, self._how.key)

    async def run(self, operation: str) -> T:
        """Call the function as `operation` planned it, if it may now; once it ended, return its answer.

        Raises:
            ArgumentRefused: the operation is another's, or the function has changed since. Else as a call.
        """
        instance = self._instance._open()
        name, how = instance.resolve(take.text("operation", operation)), self._how
        if not self._registered.is_mine(name):
            words = f"operation `{operation:.60}` was not planned from `{self._registered.name}` as it is now"
            raise ArgumentRefused(words, argument="operation", next_steps=(f"rexecop show {name}",))
        try:
            ran = await self._registered.run(name, wait=how.wait, seconds=how.timeout)
        except TimeoutError as error:
            if how.timeout is None:
                raise
            raise TimedOut(how.timeout, await self._instance.status(name)) from error
        return self._answer(ran)

    def _answer(self, ran: Ran) -> T:
        if ran.view.state != State.COMPLETED:
            _fail(ran)
        if ran.given.returned:
            return cast(T, ran.given.value)
        if not self._keeps:
            raise NotCompleted("ran earlier, and evidence holds only the digest of its answer", ran.view)
        return cast(T, self._shape.returned(self._registered.recorded(ran.view.operation_id)))


class SyncGoverned(Generic[P, T]):
    """As `Governed`, for a program without an event loop: a call returns instead of being awaited."""

    def __init__(self, instance: SyncInstance, governed: Governed[P, T]) -> None:
        """Do what `governed` does, in the event loop of `instance`."""
        self._instance = instance
        self._governed = governed

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do as `Governed.__call__`."""
        return self._instance._run(self._governed(*args, **kwargs))

    def asking(self, **how: Unpack[Asking]) -> SyncGoverned[P, T]:
        """Return the same function, asked for in this way."""
        return _dressed(SyncGoverned[P, T](self._instance, self._governed.asking(**how)), self)

    def plan(self, *args: P.args, **kwargs: P.kwargs) -> OperationView:
        """Do as `Governed.plan`."""
        return self._instance._run(self._governed.plan(*args, **kwargs))

    def run(self, operation: str) -> T:
        """Do as `Governed.run`."""
        return self._instance._run(self._governed.run(operation))


class Decorating(Protocol):
    """What `governed` returns for an instance that is awaited."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[object, object, T]]) -> Governed[P, T]: ...
    @overload
    def __call__(self, function: Callable[P, T]) -> Governed[P, T]: ...


class SyncDecorating(Protocol):
    """What `governed` returns for an instance that is not awaited."""

    def __call__(self, function: Callable[P, T]) -> SyncGoverned[P, T]:
        """Return `function`, governed."""
        ...


@overload
def governed(
    instance: Instance, *, action: str, effect: Effect | str, **how: Unpack[Governing]
) -> Decorating: ...
@overload
def governed(
    instance: SyncInstance, *, action: str, effect: Effect | str, **how: Unpack[Governing]
) -> SyncDecorating: ...
def governed(
    instance: Instance | SyncInstance, *, action: str, effect: Effect | str, **how: Unpack[Governing]
) -> Decorating | SyncDecorating:
    """Put a function of this program behind policy, approval, attempt and receipt of `instance`.

    Policy is asked about `intent:PROFILE/ACTION` (`profile`, else `python`), an action in the group of its
    `effect`: read, change or destroy. `target` is what it acts on, of that `criticality`; changes of one
    target keep each other out. What it takes is said by its type hints, or by `parameters`, a JSON Schema.
    What it returns is in evidence, or only its digest (`result`). `secrets` gives parameters the names of
    secrets of the root, which are never in evidence. After `seconds` it has no answer. Of a change that
    raises one of `unsure` nobody knows whether it happened.

    Raises:
        ArgumentRefused: it cannot be registered so, or its name is taken. OperationsError: likewise.
    """
    inner = instance._instance if isinstance(instance, SyncInstance) else instance

    def decorate(function: Callable[..., object]) -> Governed[..., object] | SyncGoverned[..., object]:
        awaits = inspect.iscoroutinefunction(function)
        if awaits and isinstance(instance, SyncInstance):
            raise ArgumentRefused("a coroutine takes an instance of `open_instance`", argument="instance")
        made = _dressed(_registered(inner, function, action, effect, awaits, **how), function)
        return (
            _dressed(SyncGoverned(instance, made), function) if isinstance(instance, SyncInstance) else made
        )

    return cast(Decorating | SyncDecorating, decorate)


def _registered(
    instance: Instance,
    function: Callable[..., object],
    action: object,
    effect: object,
    awaits: bool,
    *,
    target: str = "program",
    profile: str = PROFILE,
    criticality: str = "low",
    risk: str = "low",
    parameters: Mapping[str, Json] | None = None,
    result: Literal["evidence", "digest"] = "evidence",
    secrets: Mapping[str, str] | None = None,
    unsure: tuple[type[Exception], ...] = (),
    seconds: int = CALL_SECONDS,
) -> Governed[..., object]:
    shape, hidden = shape_of(function, parameters, secrets or {}), dict(secrets or {})
    keeps = take.word("result", result, RESULTS) == "evidence"

    def run(values: Mapping[str, Json], held: Mapping[str, str]) -> object:
        args, kwargs = shape.taken(values)
        return function(*args, **kwargs, **held)

    registration = Registration(
        profile=take.text("profile", profile),
        action=take.text("action", action),
        effect=Effect(take.word("effect", effect, Effect)),
        risk=take.word("risk", risk, CRITICALITIES),
        target=take.text("target", target),
        criticality=take.word("criticality", criticality, CRITICALITIES),
        parameters=shape.schema,
        says=shape.says,
        timeout_ms=1000 * take.whole("seconds", seconds, 1, take.TIMEOUT_SECONDS_MAX),
        awaits=awaits,
        run=run,
        answer=answer_of if keeps else digest_answer,
        secrets=hidden,
        unsure=unsure,
    )
    found = instance._functions().register(registration)
    if found is None:
        words = f"a function is registered as `{profile}/{action}` already"
        raise ArgumentRefused(words, argument="action")
    return Governed(instance, found, shape, keeps)


def _fail(ran: Ran) -> NoReturn:
    """Raise why a call has no answer: what the function raised, where it was called just now."""
    view, error = ran.view, ran.given.error
    name = view.operation_id
    if view.state == State.WAITING_FOR_APPROVAL:
        raise ApprovalNeeded("needs approval", view, f"rexecop approve {name}", f"rexecop show {name}")
    if view.state == State.BLOCKED:
        raise NotAllowed(f"is not allowed: {view.decision.reason if view.decision else view.reason}", view)
    if view.state == State.INDETERMINATE:
        steps = (f"rexecop reconcile {name} --outcome happened --reason WHY", f"rexecop why {name}")
        raise OutcomeUnknown(
            "may have been called, and nobody knows what came of it", view, *steps
        ) from error
    if error is not None:
        raise error
    if view.waiting is not None or view.state not in (State.FAILED, State.CANCELLED):
        raise NotStarted(f"is not called yet: {view.waiting or view.reason or view.state}", view)
    said = next((step.message for step in reversed(view.steps) if step.message), view.reason)
    raise NotCompleted(f"did not complete: {said}", view)


def _how(how: Asking) -> _How:
    return _How(
        reason=take.optional("reason", how.get("reason")),
        key=take.optional("idempotency_key", how.get("idempotency_key")),
        wait=how.get("wait") is True,
        timeout=take.seconds(how.get("timeout")),
    )


W = TypeVar("W")


def _dressed(made: W, function: object) -> W:
    """Return `made` with name and documentation of `function`, and no way to it by a slip of the pen."""
    update_wrapper(cast(Callable[..., object], made), cast(Callable[..., object], function), updated=())
    del made.__wrapped__  # type: ignore[attr-defined]  # `update_wrapper` put it there
    return made
