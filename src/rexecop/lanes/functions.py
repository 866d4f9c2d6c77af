"""The lane of functions: Python of the program that opened the instance, called in its own process.

A function was registered by name and is called with what the plan holds, read back from there, and
with secrets leased for the call. Nothing bounds it: it can do whatever its program can. A coroutine
that runs out of time is cancelled; a thread cannot be ended, and goes on unseen.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rexecop.lanes.errors import RequestRefused
from rexecop.lanes.failures import Failure, describe
from rexecop.lanes.output import Redactor
from rexecop.lanes.port import Capabilities, Chunk, Clearance, LaneEvent, LaneResult
from rexecop.lanes.registry import ANSWERED, IN_PROCESS, MESSAGE_LENGTH_MAX, NOT_RUN, PAYLOAD_BYTES_MAX
from rexecop.lanes.secrets import Secrets
from rexecop.proof.call import Call, HandlerRequest, Limits
from rexecop.proof.canonical import Json, canonical_bytes, parse_json
from rexecop.proof.errors import RexecopError
from rexecop.proof.vocabulary import Effect, Ended, Grade, Isolation

_CAPABILITIES: Final = Capabilities(
    requests=frozenset({HandlerRequest.kind}),
    simulated=False,
    isolation=frozenset({Isolation.NONE}),
    grades=frozenset({Grade.SHAPE}),
)


@dataclass(slots=True)
class Given:
    """What a function gave to who called it: what evidence holds of that may be less."""

    returned: bool = False
    value: object = None
    error: Exception | None = None


GIVEN: Final[contextvars.ContextVar[Given | None]] = contextvars.ContextVar("rexecop-given", default=None)
"""Where what a function gives is put, by who waits for it in this context."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function: `run` takes parameters and secrets, and runs in a thread unless it `awaits`.

    `answer` is what evidence holds of its value. `secrets` gives parameters their references. Of a
    change that raises one of `unsure` nobody knows whether it happened.
    """

    effect: Effect
    awaits: bool
    run: Callable[[Mapping[str, Json], Mapping[str, str]], object]
    answer: Callable[[object], Json]
    secrets: Mapping[str, str]
    unsure: tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class FunctionLane:
    """Calls the registered functions, by the name a request has."""

    secrets: Secrets
    functions: dict[str, Function] = field(default_factory=dict)
    name: str = "functions"

    @property
    def capabilities(self) -> Capabilities:
        """Handler requests only, in this process and without isolation."""
        return _CAPABILITIES

    async def open(
        self, call: Call, limits: Limits, isolation: Isolation, attempt: int, clearance: Clearance
    ) -> AsyncIterator[LaneEvent]:
        """Call the function once; its answer is the output, as JSON text."""
        request = call.request
        function = self.functions.get(request.action) if isinstance(request, HandlerRequest) else None
        if function is None or not isinstance(request, HandlerRequest):
            words = f"no function `{call.action:.80}` is registered in this process"
            yield _refused(Failure.UNSUPPORTED, words)
            return
        if function.effect is not call.effect:
            yield _refused(Failure.EFFECT_REFUSED, f"the function is a {function.effect}")
            return
        lease = self.secrets.lease(function.secrets.values())
        try:
            payload = parse_json(request.payload, bytes_max=PAYLOAD_BYTES_MAX)
            held = await lease.begin()
            values = {name: held[ref].decode("utf-8") for name, ref in function.secrets.items()}
            redactor = Redactor([*held.values()])
            clearance()
            assert isinstance(payload, dict)
            result = _cut(await _call(function, payload, values, limits), redactor, limits)
        except RequestRefused as refused:
            result = _refused(refused.failure, refused.message)
        except UnicodeDecodeError:
            result = _refused(Failure.SECRET_UNUSABLE, "a secret is no text in UTF-8")
        except RexecopError as error:
            result = _refused(Failure.REQUEST_INVALID, error.message)
        finally:
            await lease.end()
        result = await lease.settle(result)
        if result.stdout:
            yield Chunk(n=0, stream="stdout", data=result.stdout)
        yield result


async def _call(
    function: Function, payload: Mapping[str, Json], secrets: Mapping[str, str], limits: Limits
) -> LaneResult:
    given, began, timer = GIVEN.get() or Given(), time.monotonic(), asyncio.timeout(limits.timeout_ms / 1000)
    GIVEN.set(None)  # What the function itself lets run gives nothing to who called it.
    unsure = Ended.FAILED if function.effect is Effect.READ else Ended.UNKNOWN

    def ended(how: Ended, failure: Failure, words: str) -> LaneResult:
        spent = int((time.monotonic() - began) * 1000)
        words = words[:MESSAGE_LENGTH_MAX]
        return LaneResult(ended=how, duration_ms=spent, measured=IN_PROCESS, failure=failure, message=words)

    def work() -> object:
        return function.run(payload, secrets)

    try:
        async with timer:
            made = work() if function.awaits else _in_thread(work)
            assert isinstance(made, Awaitable)
            given.value = await made
    except Exception as error:  # noqa: BLE001 - whatever a function raises is how its call ended
        if timer.expired() and isinstance(error, TimeoutError):
            return ended(unsure, Failure.TIMEOUT, describe(Failure.TIMEOUT))
        given.error, words = error, f"the function raised {type(error).__name__}"
        if isinstance(error, function.unsure):
            return ended(unsure, Failure.UNKNOWN_OUTCOME, words)
        # What else an exception says may be a secret.
        return ended(Ended.FAILED, Failure.REMOTE_ERROR, words)
    try:
        output = canonical_bytes(function.answer(given.value))
    except RexecopError as error:
        given.error = error
        return ended(Ended.FAILED, Failure.VALIDATION_FAILED, f"it ran, and {error.message}")
    given.returned = True
    return LaneResult(
        ended=Ended.OK,
        duration_ms=int((time.monotonic() - began) * 1000),
        measured=IN_PROCESS,
        status=ANSWERED,
        stdout=output,
        stdout_bytes=len(output),
    )


def _cut(result: LaneResult, redactor: Redactor, limits: Limits) -> LaneResult:
    """Return `result` without secrets and within its limit; half an answer is no JSON, and no answer."""
    shown = redactor.feed(result.stdout) + redactor.finish()
    result = replace(result, stdout=shown, redactions=redactor.redactions)
    if len(shown) <= limits.output_bytes:
        return result
    kept = replace(result, stdout=shown[: limits.output_bytes], ended=Ended.FAILED, status=None)
    return replace(kept, failure=Failure.OUTPUT_LIMIT, message=describe(Failure.OUTPUT_LIMIT))


async def _in_thread(work: Callable[[], object]) -> object:
    """Return what `work` returns in a thread of its own, which keeps nobody from ending the program."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    found: list[object] = []
    raised: list[BaseException] = []
    context = contextvars.copy_context()

    def run() -> None:
        try:
            found.append(context.run(work))
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            raised.append(error)
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:
            return  # Nobody waits any more, and the loop is closed.

    threading.Thread(target=run, name="rexecop-function", daemon=True).start()
    await done.wait()
    if raised:
        raise raised[0]
    return found[0]


def _refused(failure: Failure, message: str) -> LaneResult:
    return LaneResult(ended=Ended.REFUSED, duration_ms=0, measured=NOT_RUN, failure=failure, message=message)
